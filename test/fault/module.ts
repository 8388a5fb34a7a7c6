import assert from 'node:assert';
import { existsSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { initialiseRoots } from '../../src/keys/roots.ts';
import { createSoftHsmToken } from '../../src/keys/softhsm.ts';
import { assertClear } from './damage.ts';
import type { Bench, Counts, Fault } from './fault.ts';
import type { Home } from './home.ts';

/** Of a process that ends for its supervisor, because the module hangs or the key worker died. */
const EXIT_FATAL = 70;

export const gone: Fault = {
  id: 'T15',
  title: 'the token is taken away while it serves',
  run: goneRuns,
};

const MAY_SAY: ReadonlySet<string> = new Set(['MODULE_UNAVAILABLE', 'LOG_UNAVAILABLE']);

async function goneRuns(bench: Bench): Promise<Counts> {
  const rig = await bench.fork();
  const counts = { removals: 0, acks: 0, failures: 0, exits: 0 };
  for (let run = 0; run < bench.times(1, 10); run++) {
    const server = await rig.home.start();
    const load = rig.load({ random: bench.random, server: () => server });
    await pause(100 + bench.random.below(400));
    const away = `${rig.home.tokens}.away`;
    renameSync(rig.home.tokens, away);
    await pause(bench.short ? 1_500 : 4_000);
    const { alive } = server;
    renameSync(away, rig.home.tokens);
    await pause(200);
    await load.stop();
    const { code } = await server.end(alive ? 'SIGTERM' : 'SIGKILL');
    assert.equal(code, alive ? 0 : EXIT_FATAL, 'how the process ended');
    const others = Object.keys(load.failures).filter((reason) => !MAY_SAY.has(reason));
    assert.deepEqual(others, alive ? [] : [''], 'reasons while the module is away');
    const again = await rig.home.start();
    await rig.assertWhole(again);
    await again.end();
    counts.removals += 1;
    counts.acks += load.acks;
    counts.failures += Object.values(load.failures).reduce((sum, count) => sum + count, 0);
    counts.exits += alive ? 0 : 1;
  }
  return counts;
}

/** OpenSC's module that writes down every call and hands it on. */
const SPY = [
  '/usr/lib/x86_64-linux-gnu/pkcs11-spy.so',
  '/usr/lib/aarch64-linux-gnu/pkcs11-spy.so',
  '/usr/lib64/pkcs11/pkcs11-spy.so',
  '/usr/lib64/pkcs11-spy.so',
].find((path) => existsSync(path));

export const pin: Fault = {
  id: 'T18',
  title: 'a wrong PIN is tried once',
  lacks: () => (SPY === undefined ? "OpenSC's pkcs11-spy is not installed" : undefined),
  run: pinRuns,
};

async function pinRuns(bench: Bench): Promise<Counts> {
  const { home } = await bench.fork();
  await home.adopt(); // With the right PIN, or that is what would be refused.
  const right = readFileSync(pinOf(home), 'utf8');
  const wrong = `${right.startsWith('0') ? '1' : '0'}${right.slice(1)}`;
  assert.equal(await loginsWith(home, wrong, /CKR_PIN_INCORRECT/), 1, 'a wrong PIN');
  // Also shows that the spy sees logins.
  assert.equal(await loginsWith(home, right), 1, 'the right PIN still opens the token');
  if (bench.short) return { starts: 2, logins: 2 };
  assert.equal(await loginsWith(home, '\n', /CKR_PIN_INVALID/), 0, 'no PIN');
  return { starts: 3, logins: 2 };
}

const pinOf = (home: Home): string => join(home.folder, 'softhsm', 'pin');

/** C_Login calls of one start with this PIN, which is refused with `why`, or serves. */
async function loginsWith(home: Home, text: string, why?: RegExp): Promise<number> {
  const config = join(home.folder, 'spied.toml');
  const output = join(home.folder, 'spied.log');
  const plain = readFileSync(home.config, 'utf8');
  const library = /^library = "(.*)"$/m.exec(plain)?.[1];
  assert(library !== undefined && SPY !== undefined);
  writeFileSync(config, plain.replace(/^library = .*$/m, `library = "${SPY}"`));
  writeFileSync(pinOf(home), text);
  rmSync(output, { force: true });
  const env = { PKCS11SPY: library, PKCS11SPY_OUTPUT: output };
  const refused = await home.refusal({ production: true, config, env });
  if (why === undefined) assert.equal(refused?.message, undefined);
  else {
    assertClear(refused, 'a bad PIN');
    assert.match(refused?.message ?? '', why);
  }
  const log = existsSync(output) ? readFileSync(output, 'utf8') : '';
  return log.match(/: C_Login$/gm)?.length ?? 0;
}

export const another: Fault = {
  id: 'T20',
  title: 'another token under the same label',
  run: anotherRuns,
};

async function anotherRuns(bench: Bench): Promise<Counts> {
  const rig = await bench.fork();
  const { home } = rig;
  const away = `${home.tokens}.away`;
  renameSync(home.tokens, away);
  const library = /^library = "(.*)"$/m.exec(readFileSync(home.config, 'utf8'))?.[1];
  assert(library !== undefined);
  const secret = readFileSync(pinOf(home), 'utf8').trim();
  const made = createSoftHsmToken({
    library,
    folder: join(home.folder, 'softhsm'),
    label: 'lockstep-dev',
    pin: secret,
    soPin: secret,
  });
  assert(made.made);
  initialiseRoots({ library, token: made.token, pinSource: made.pinSource });
  assertClear(await home.refusal(), 'another token');
  if (!bench.short) assertClear(await home.refusal({}), 'another token, --dev');
  rmSync(home.tokens, { recursive: true });
  renameSync(away, home.tokens);
  const server = await home.start();
  await rig.assertWhole(server);
  await server.end();
  return { tokens: 1, refused: bench.short ? 1 : 2 };
}
