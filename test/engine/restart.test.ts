import { cpSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { Engine } from '../../src/engine/calls.ts';
import {
  copyOf,
  DEV,
  detokenizeCall,
  domain,
  type Installation,
  type InstallationOptions,
  installation,
  lookupCall,
  readLog,
  textOf,
  tokenizeCall,
} from './harness.ts';

let homes: Installation[] = [];
const engines = new Set<Engine>();

const opened = async (home: Installation): Promise<Engine> => {
  const engine = await home.open();
  engines.add(engine);
  return engine;
};
const closed = async (engine: Engine): Promise<void> => {
  engines.delete(engine);
  await engine.close();
};
const at = (folder?: string, options: InstallationOptions = {}): Installation => {
  const home = installation(folder === undefined ? options : { ...options, folder });
  homes.push(home);
  return home;
};

// Without the running record of each second these tests know exactly what is on the disk.
beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
});

afterEach(async () => {
  vi.useRealTimers();
  for (const engine of [...engines]) await closed(engine);
  for (const home of homes) home.remove();
  homes = [];
});

async function start(): Promise<{ home: Installation; engine: Engine }> {
  const home = at();
  const engine = await opened(home);
  await engine.createDomain(DEV, domain('visit', 'dynamic', 'digits:9'));
  await engine.createDomain(DEV, domain('ssn', 'static', 'ssn'));
  await engine.createDomain(DEV, domain('note', 'siv', 'text'));
  return { home, engine };
}

const visit = (value: string, requestId: string) => tokenizeCall('visit', [value], { requestId });
const tokenOf = ({ tokens }: Awaited<ReturnType<Engine['tokenize']>>) => textOf(tokens)[0]!;
const shown = async (engine: Engine, id: string, token: string) =>
  textOf((await engine.detokenize(detokenizeCall(id, [token]))).values)[0]!;

/** The folder as a crash could leave it, but with `part` of an older copy. */
function mixed(older: string, newer: string, part: 'vault' | 'log' | 'catalogue.json'): string {
  const folder = copyOf(newer);
  rmSync(join(folder, part), { recursive: true });
  cpSync(join(older, part), join(folder, part), { recursive: true });
  return folder;
}

describe('after a restart', () => {
  test('everything resolves, and counters go on', async () => {
    const { home, engine } = await start();
    const first = tokenOf(await engine.tokenize(visit('123456789', 'a')));
    const ssn = tokenOf(await engine.tokenize(tokenizeCall('ssn', ['529-31-0047'])));
    const note = tokenOf(await engine.tokenize(tokenizeCall('note', ['Zoë'])));
    await closed(engine);
    const again = await opened(home);
    expect(await shown(again, 'visit', first)).toBe('123456789');
    expect(await shown(again, 'ssn', ssn)).toBe('529-31-0047');
    expect(await shown(again, 'note', note)).toBe('Zoë');
    expect(tokenOf(await again.tokenize(tokenizeCall('ssn', ['529-31-0047'])))).toBe(ssn);
    expect(tokenOf(await again.tokenize(visit('123456789', 'b')))).not.toBe(first);
    expect((await again.getDomain(DEV, 'visit')).liveTokens).toBe(2);
  });

  test('a crash loses nothing that was acknowledged', async () => {
    const { home, engine } = await start();
    const made = await Promise.all(
      Array.from({ length: 20 }, (_, i) => engine.tokenize(visit(String(1e8 + i), `r${i}`))),
    );
    const crashed = await opened(at(copyOf(home.folder)));
    for (const [i, answer] of made.entries()) {
      expect(await shown(crashed, 'visit', tokenOf(answer))).toBe(String(1e8 + i));
      const again = await crashed.tokenize(visit(String(1e8 + i), `r${i}`));
      expect(textOf(again.tokens)).toEqual(textOf(answer.tokens));
      expect(again.receipt).toEqual(answer.receipt);
    }
    const later = await crashed.tokenize(visit('123456789', 'later'));
    expect(made.map(tokenOf)).not.toContain(tokenOf(later));
  });

  test('leaves that the log had not yet are recovered from the outbox', async () => {
    const { home, engine } = await start();
    for (const call of [
      visit('123456789', 'r'),
      tokenizeCall('ssn', ['529-31-0047'], { requestId: 's' }),
    ]) {
      const before = copyOf(home.folder);
      const made = await engine.tokenize(call);
      const crashed = at(mixed(before, home.folder, 'log'));
      const again = await opened(crashed);
      expect(await shown(again, call.domain, tokenOf(made))).toBe(textOf(call.values)[0]);
      const replayed = await again.tokenize(call);
      expect(textOf(replayed.tokens)).toEqual(textOf(made.tokens));
      expect(replayed.receipt).toEqual(made.receipt);
      await closed(again);
      const leaves = await readLog(crashed.folder);
      expect(leaves[made.receipt.leafIndex]!.entry).toMatchObject({ verb: 'Tokenize', done: 1 });
      await closed(await opened(crashed));
      expect(await readLog(crashed.folder)).toHaveLength(leaves.length);
    }
  });

  test('a catalogue change without its leaf gets one, and cannot be taken back', async () => {
    const { home, engine } = await start();
    const before = copyOf(home.folder);
    await engine.createDomain(DEV, domain('late', 'siv', 'text'));
    const note = tokenOf(await engine.tokenize(tokenizeCall('late', ['Zoë'])));
    const crashed = at(mixed(before, home.folder, 'log'));
    const again = await opened(crashed);
    expect(await shown(again, 'late', note)).toBe('Zoë');
    await closed(again);
    const verbs = (await readLog(crashed.folder)).map(({ entry }) => entry.verb);
    expect(verbs).toEqual([...Array(3).fill('CreateDomain'), 'CatalogueChanged', 'Detokenize']);
    const back = at(mixed(before, crashed.folder, 'catalogue.json'));
    await expect(back.open()).rejects.toThrow('the catalogue is older than the log');
  });
});

describe('an older copy is refused', () => {
  const history = async () => {
    const { home, engine } = await start();
    await engine.tokenize(visit('123456789', 'a'));
    await closed(engine);
    const older = copyOf(home.folder);
    const again = await opened(home);
    await again.createDomain(DEV, domain('more', 'static', 'digits:9'));
    await again.tokenize(visit('123456789', 'b'));
    return { home, older, engine: again };
  };

  for (const ending of ['shutdown', 'crash']) {
    test(`of the vault, the log or the catalogue, after a ${ending}`, async () => {
      const { home, older, engine } = await history();
      if (ending === 'shutdown') await closed(engine);
      const newer = copyOf(home.folder);
      const refusals = {
        // A vault before a domain that the catalogue has, or before commits that the log has.
        vault: /the vault lacks a domain|the vault is older than the log/,
        'catalogue.json': /the catalogue is older than the log/,
      };
      for (const [part, why] of Object.entries(refusals)) {
        const rolled = at(mixed(older, newer, part as keyof typeof refusals));
        await expect(rolled.open(), part).rejects.toThrow(why);
      }
      if (ending === 'shutdown') {
        const log = at(mixed(older, newer, 'log'));
        await expect(log.open()).rejects.toThrow('the log is older than the vault');
      }
      const whole = await opened(at(newer));
      expect((await whole.getDomain(DEV, 'visit')).liveTokens).toBe(2);
    });
  }

  test('of the vault alone, where no domain tells', async () => {
    const { home, engine } = await start();
    const older = copyOf(home.folder);
    await engine.tokenize(visit('123456789', 'a'));
    const rolled = at(mixed(older, home.folder, 'vault'));
    await expect(rolled.open()).rejects.toThrow('the vault is older than the log');
  });

  test('of the log alone, once the outbox has let go of its leaves', async () => {
    const { home, engine } = await start();
    const older = copyOf(home.folder);
    await engine.tokenize(visit('123456789', 'a'));
    // The next commit deletes the outbox row of the one before.
    await engine.tokenize(visit('123456789', 'b'));
    const rolled = at(mixed(older, home.folder, 'log'));
    await expect(rolled.open()).rejects.toThrow('the log is older than the vault');
  });
});

describe('a start that is refused', () => {
  const reasons: Record<string, (home: Installation) => [InstallationOptions, object]> = {
    'with other roots': () => [
      { module: { kind: 'insecure-memory', seed: new Uint8Array(32) } },
      { reason: 'MODULE_UNAVAILABLE', cause: 'CKR_WRAPPED_KEY_INVALID' },
    ],
    'with a module that is not there': () => [
      { module: { kind: 'pkcs11', library: '/absent.so', token: 't', pinSource: '/absent' } },
      { reason: 'MODULE_UNAVAILABLE' },
    ],
    'with a key that is not the one it was': ({ folder }) => {
      const path = join(folder, 'catalogue.json');
      const changed = readFileSync(path, 'utf8').replace(
        /("checkValue":")([0-9a-f])/g,
        (_, name: string, digit: string) => name + (digit === '0' ? '1' : '0'),
      );
      writeFileSync(path, changed);
      return [{}, { reason: 'MODULE_UNAVAILABLE', cause: 'CKR_KEY_CHANGED' }];
    },
    'with a catalogue that was touched': ({ folder }) => {
      const path = join(folder, 'catalogue.json');
      writeFileSync(path, readFileSync(path, 'utf8').replace('clinic/note', 'clinic/nose'));
      return [{}, { reason: 'KEY_VERSION_UNUSABLE' }];
    },
    'without its catalogue': ({ folder }) => {
      rmSync(join(folder, 'catalogue.json'));
      return [{}, { name: 'RecoveryError' }];
    },
    'without its vault': ({ folder }) => {
      rmSync(join(folder, 'vault'), { recursive: true });
      return [{}, { name: 'StoreError', fault: 'missing' }];
    },
    'without its log': ({ folder }) => {
      rmSync(join(folder, 'log'), { recursive: true });
      return [{}, { name: 'AuditError' }];
    },
  };

  test('leaves nothing open: the next start succeeds', async () => {
    const { home, engine } = await start();
    const token = tokenOf(await engine.tokenize(visit('123456789', 'a')));
    await closed(engine);
    const kept = copyOf(home.folder);
    for (const [name, damage] of Object.entries(reasons)) {
      const [options, why] = damage(home);
      await expect(at(home.folder, options).open(), name).rejects.toMatchObject(why);
      for (const part of ['catalogue.json', 'vault', 'log']) {
        rmSync(join(home.folder, part), { recursive: true, force: true });
        cpSync(join(kept, part), join(home.folder, part), { recursive: true });
      }
      const again = await opened(at(home.folder));
      expect(await shown(again, 'visit', token), name).toBe('123456789');
      await closed(again);
      rmSync(kept, { recursive: true });
      cpSync(home.folder, kept, { recursive: true });
    }
  });

  test('a second engine on the folder is refused, and the first one goes on', async () => {
    const { home, engine } = await start();
    await expect(at(home.folder).open()).rejects.toMatchObject({ fault: 'in-use' });
    const made = await engine.tokenize(visit('123456789', 'a'));
    expect(await shown(engine, 'visit', tokenOf(made))).toBe('123456789');
    const found = await engine.lookup(lookupCall('ssn', ['529-31-0047']));
    expect(found.errors).toHaveLength(1);
  });
});
