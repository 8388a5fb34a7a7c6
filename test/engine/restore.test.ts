import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { systemClock } from '../../src/base/clock.ts';
import { newIdentity } from '../../src/engine/backup/age.ts';
import { BackupError } from '../../src/engine/backup/backup-error.ts';
import { drillBackup } from '../../src/engine/backup/drill.ts';
import { type RestoreOptions, restoreBackup } from '../../src/engine/backup/restore.ts';
import type { Engine } from '../../src/engine/calls.ts';
import { CHECKPOINT_LABEL, ROOT_LABEL } from '../../src/keys/roots.ts';
import { backUp } from './backing-up.ts';
import {
  DEV,
  detokenizeCall,
  domain,
  type Installation,
  installation,
  ORIGIN,
  one,
  readLog,
  SEED,
  textOf,
  tokenizeCall,
} from './harness.ts';

const scratch = mkdtempSync(join(tmpdir(), 'lockstep-restore-'));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

const values = (first: number, count: number): string[] =>
  Array.from({ length: count }, (_, i) => String(100_000_000 + first + i));

describe('a backup and what was done after it', () => {
  let home: Installation;
  let keys: Awaited<ReturnType<typeof newIdentity>>;
  let file: string;
  /** The log as it was before the backup. */
  const older = join(scratch, 'older-log');
  /** The data folder as the disaster found it. */
  let after: string;
  const tokens = new Map<string, readonly string[]>();
  let certificate = '';

  beforeAll(async () => {
    keys = await newIdentity(false);
    home = installation();
    const engine = await home.open();
    await engine.createDomain(DEV, domain('mrn', 'static', 'digits:9'));
    await engine.createDomain(DEV, domain('visit', 'dynamic', 'digits:9'));
    await engine.createDomain(DEV, domain('note', 'siv', 'text'));
    const made = async (id: string, name: string, first: number, count: number, more = {}) => {
      const { tokens: column } = await engine.tokenize(
        tokenizeCall(id, values(first, count), { requestId: name, ...more }),
      );
      tokens.set(name, textOf(column));
    };
    await made('mrn', 'before', 0, 2_000);
    await made('visit', 'visits', 0, 200);
    await made('note', 'notes', 0, 5);
    await made('mrn', 'anna', 5_000, 20, { subject: one('anna') });
    cpSync(join(home.folder, 'log'), older, { recursive: true });
    file = await backUp(engine, home.folder, 'night.age', [keys.recipient]);
    await made('mrn', 'since', 8_000, 300);
    await made('visit', 'visits-since', 0, 50);
    const erased = await engine.erase({
      caller: DEV,
      domain: 'mrn',
      purpose: 'PATRQT',
      deadlineMs: Date.now() + 30_000,
      cancelled: () => false,
      items: { by: 'subject' },
      delivery: 'best-effort',
      context: { kind: 'none' },
      subject: one('anna'),
      requestId: 'e',
      mode: 'delete',
    });
    certificate = erased.certificate;
    await engine.close();
    after = home.folder;
  });
  afterAll(() => home.remove());

  const optionsOf = (folder: string, more: Partial<RestoreOptions> = {}): RestoreOptions => ({
    file,
    identities: [keys.identity],
    folder,
    module: { kind: 'insecure-memory', seed: SEED },
    root: ROOT_LABEL,
    checkpointKey: CHECKPOINT_LABEL,
    origin: ORIGIN,
    clock: systemClock,
    log: { kind: 'kept', folder: join(after, 'log') },
    ...more,
  });
  const newFolder = (): string => join(mkdtempSync(join(scratch, 'r-')), 'data');
  const lost = { kind: 'lost', note: 'the whole machine burned', certificates: [] } as const;

  /** What was restored; it lies where it lies, and not where the tests say. */
  const there = (folder: string, more = {}): Installation =>
    installation({ folder, place: undefined, ...more });

  async function revealed(engine: Engine, id: string, name: string, more = {}) {
    const answer = await engine.detokenize(detokenizeCall(id, tokens.get(name)!, more));
    return { values: textOf(answer.values), reasons: answer.errors.map(({ reason }) => reason) };
  }

  test('tokens of before resolve; erased ones stay gone; none comes twice', async () => {
    const folder = newFolder();
    const { tail, newSigner } = await restoreBackup(optionsOf(folder));
    expect(newSigner).toBe(false);
    expect(tail.records).toEqual({ 'clinic/mrn': 2_020, 'clinic/visit': 200 });
    const engine = await there(folder).open();
    expect((await revealed(engine, 'mrn', 'before')).values).toEqual(values(0, 2_000));
    expect((await revealed(engine, 'visit', 'visits')).values).toEqual(values(0, 200));
    expect((await revealed(engine, 'note', 'notes')).values).toEqual(values(0, 5));
    const anna = await revealed(engine, 'mrn', 'anna', { subject: one('anna') });
    expect(anna.reasons).toEqual(new Array(20).fill('TOKEN_NOT_FOUND'));
    // Lost with the vault: known to be unknown, and never another's.
    const since = await revealed(engine, 'mrn', 'since');
    expect(since.reasons).toEqual(new Array(300).fill('TOKEN_NOT_FOUND'));
    const again = await engine.tokenize(tokenizeCall('mrn', values(20_000, 1_000)));
    const old = new Set([...tokens.values()].flat());
    expect(textOf(again.tokens).filter((token) => old.has(token))).toEqual([]);
    const view = await engine.getVault(DEV);
    expect(view).toMatchObject({ state: 'serving', erasuresReplayed: 20 });
    expect(view.restoredFrom).toMatch(/^[0-9A-Z]{26}$/);
    const check = await engine.checkVault(DEV, false, '');
    for await (const job of engine.watchJob(DEV, check.id)) {
      if (job.state !== 'running') expect(job.result).toEqual({ faults: '0' });
    }
    await engine.close();
    const second = await there(folder).open();
    expect((await revealed(second, 'mrn', 'before')).values).toEqual(values(0, 2_000));
    expect((await second.getVault(DEV)).restoredFrom).toBe(view.restoredFrom);
    await second.close();
    const verbs = (await readLog(folder)).map(({ entry }) => entry.verb);
    expect(verbs.filter((verb) => verb === 'VaultRestored')).toHaveLength(1);
    expect(verbs.indexOf('VaultRestored')).toBeGreaterThan(verbs.indexOf('Erase'));
  });

  test('an open that dies while it finishes the restore is done again', async () => {
    const folder = newFolder();
    await restoreBackup(optionsOf(folder));
    const vault = join(folder, 'vault');
    const crashed = join(scratch, 'crashed');
    cpSync(vault, crashed, { recursive: true });
    await (await there(folder).open()).close();
    // The vault as it was before, and the log as it is: of the finishing nothing but its leaf is
    // left. In the same folder, for the vault knows where it lies.
    for (const name of readdirSync(vault)) rmSync(join(vault, name));
    cpSync(crashed, vault, { recursive: true });
    const engine = await there(folder).open();
    expect((await revealed(engine, 'mrn', 'before')).values).toEqual(values(0, 2_000));
    const anna = await revealed(engine, 'mrn', 'anna', { subject: one('anna') });
    expect(anna.reasons).toEqual(new Array(20).fill('TOKEN_NOT_FOUND'));
    expect(await engine.getVault(DEV)).toMatchObject({ erasuresReplayed: 20 });
    await engine.close();
  });

  test('without the log: certificates erase, and nothing is minted', async () => {
    const folder = newFolder();
    const log = { ...lost, certificates: [certificate] };
    await restoreBackup(optionsOf(folder, { log }));
    const engine = await there(folder).open();
    expect((await revealed(engine, 'mrn', 'before')).values).toEqual(values(0, 2_000));
    const anna = await revealed(engine, 'mrn', 'anna', { subject: one('anna') });
    expect(anna.reasons).toEqual(new Array(20).fill('TOKEN_NOT_FOUND'));
    const known = await engine.tokenize(tokenizeCall('mrn', values(0, 5)));
    expect(textOf(known.tokens)).toEqual(tokens.get('before')!.slice(0, 5));
    const minting = engine.tokenize(
      tokenizeCall('mrn', values(30_000, 1), { delivery: 'all-or-nothing' }),
    );
    await expect(minting).rejects.toMatchObject({ reason: 'MINTING_CLOSED' });
    await engine.close();
    const [first] = await readLog(folder);
    expect(first!.entry).toMatchObject({ verb: 'LogLost', extra: { note: lost.note } });
    const engine2 = await there(folder).open();
    await engine2.close();
  });

  test('a module with another root is refused, and nothing is left', async () => {
    const folder = newFolder();
    const cases: [Partial<RestoreOptions>, string][] = [
      [{ module: { kind: 'insecure-memory', seed: SEED.map((byte) => byte + 1) } }, 'keys-differ'],
      [{ root: 'another.root.v1' }, 'keys-differ'],
      [{ identities: [(await newIdentity(false)).identity] }, 'identity'],
      [{ checkpointKey: 'another.checkpoint.v1' }, 'signer-unknown'],
      [{ signer: new Uint8Array(32) }, 'other-signer'],
      [{ origin: 'another.example/log' }, 'origin-differs'],
      [{ log: { ...lost, certificates: [certificate.replace('E', 'F')] } }, 'certificate-invalid'],
    ];
    for (const [more, fault] of cases) {
      await expect(restoreBackup(optionsOf(folder, more)), fault).rejects.toMatchObject({ fault });
      expect(existsSync(folder), fault).toBe(false);
    }
  });

  test('a log that is older, another, or damaged is refused at once', async () => {
    const other = installation();
    await (await other.open()).close();
    const damaged = mkdtempSync(join(scratch, 'damaged-'));
    cpSync(join(after, 'log'), damaged, { recursive: true });
    const journal = join(damaged, 'journal');
    const segment = join(journal, readdirSync(journal)[0]!);
    const bytes = readFileSync(segment);
    bytes[bytes.length >> 1]! ^= 1;
    writeFileSync(segment, bytes);
    const folder = newFolder();
    for (const log of [join(other.folder, 'log'), older, damaged, join(scratch, 'absent')]) {
      const refused = restoreBackup(optionsOf(folder, { log: { kind: 'kept', folder: log } }));
      await expect(refused, log).rejects.toEqual(new BackupError('log-differs'));
      expect(existsSync(folder)).toBe(false);
    }
    other.remove();
  });

  test('a folder that is not empty is left alone; one with backups in it is taken', async () => {
    const folder = newFolder();
    mkdirSync(join(folder, 'backups'), { recursive: true });
    writeFileSync(join(folder, 'other'), 'x');
    await expect(restoreBackup(optionsOf(folder))).rejects.toEqual(
      new BackupError('folder-in-use'),
    );
    expect(readFileSync(join(folder, 'other'), 'utf8')).toBe('x');
    rmSync(join(folder, 'other'));
    await restoreBackup(optionsOf(folder));
    expect(readdirSync(folder).sort()).toEqual(['backups', 'catalogue.json', 'log', 'vault']);
  });

  test('a backup that turns out damaged at its end leaves nothing', async () => {
    const bytes = readFileSync(file);
    bytes[bytes.length - 5]! ^= 1;
    const damaged = join(scratch, 'end.age');
    writeFileSync(damaged, bytes);
    const folder = newFolder();
    const refused = restoreBackup(optionsOf(folder, { file: damaged }));
    await expect(refused).rejects.toEqual(new BackupError('damaged'));
    expect(readdirSync(folder)).toEqual([]);
  });

  test('a stopped one leaves nothing; one that was killed is refused', async () => {
    const folder = newFolder();
    const stop = new AbortController();
    const progress = (): void => stop.abort(new Error('stopped'));
    const stopped = restoreBackup(optionsOf(folder, { progress, signal: stop.signal }));
    await expect(stopped).rejects.toThrow('stopped');
    expect(readdirSync(folder)).toEqual([]);
    writeFileSync(join(folder, 'restore.unfinished'), '');
    mkdirSync(join(folder, 'vault'));
    await expect(restoreBackup(optionsOf(folder))).rejects.toMatchObject({
      fault: 'folder-in-use',
    });
    await expect(there(folder).open()).rejects.toThrow(/restore .* did not end/);
  });

  test('another checkpoint key goes on with the log, where the old one is named', async () => {
    const folder = newFolder();
    const { head } = await restoreBackup(optionsOf(newFolder()));
    const signer = Uint8Array.from(Buffer.from(head.publicKey, 'base64'));
    const checkpointKey = 'another.checkpoint.v1';
    const { newSigner } = await restoreBackup(optionsOf(folder, { checkpointKey, signer }));
    expect(newSigner).toBe(true);
    const engine = await there(folder, { checkpointKey }).open();
    expect((await revealed(engine, 'mrn', 'before')).values).toEqual(values(0, 2_000));
    await engine.close();
  });

  test('a domain made since needs the newer catalogue, and is empty', async () => {
    const folder = newFolder();
    const engine = await home.open();
    await engine.createDomain(DEV, domain('late', 'static', 'digits:9'));
    const late = await engine.tokenize(tokenizeCall('late', values(0, 10)));
    await engine.close();
    await expect(restoreBackup(optionsOf(folder))).rejects.toMatchObject({
      fault: 'catalogue-older',
    });
    expect(readdirSync(folder)).toEqual([]);
    const catalogue = readFileSync(join(after, 'catalogue.json'));
    await restoreBackup(optionsOf(folder, { catalogue }));
    const restored = await there(folder).open();
    const back = await restored.detokenize(detokenizeCall('late', late.tokens));
    expect(back.errors.map(({ reason }) => reason)).toEqual(new Array(10).fill('TOKEN_NOT_FOUND'));
    const fresh = await restored.tokenize(tokenizeCall('late', values(50, 100)));
    const old = new Set(textOf(late.tokens));
    expect(textOf(fresh.tokens).filter((token) => old.has(token))).toEqual([]);
    await restored.close();
  });

  test('a drill opens a sample and leaves nothing', async () => {
    const folder = mkdtempSync(join(scratch, 'drill-'));
    const { log: _, folder: __, ...rest } = optionsOf('');
    const drilled = await drillBackup({ ...rest, folder, sample: 150 });
    expect(drilled.faults).toBe(0);
    expect(drilled.domains).toEqual([
      { domain: 'clinic/mrn', records: 2_020, sampled: 150, opened: 150 },
      { domain: 'clinic/visit', records: 200, sampled: 150, opened: 150 },
    ]);
    expect(readdirSync(folder)).toEqual([]);
  });
});
