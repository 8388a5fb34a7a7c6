import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { CallError } from '../../src/base/call-error.ts';
import { newIdentity } from '../../src/engine/backup/age.ts';
import { BackupError } from '../../src/engine/backup/backup-error.ts';
import { openBackup } from '../../src/engine/backup/reader.ts';
import { verifyBackup } from '../../src/engine/backup/verify.ts';
import type { Engine } from '../../src/engine/calls.ts';
import { PREFIX } from '../../src/vault/layout.ts';
import { ended } from './backing-up.ts';
import {
  callerOf,
  DEV,
  domain,
  type Installation,
  installation,
  readLog,
  textOf,
  tokenizeCall,
} from './harness.ts';

const scratch = mkdtempSync(join(tmpdir(), 'lockstep-backup-'));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

describe('an online backup', () => {
  let home: Installation;
  let engine: Engine;
  let keys: Awaited<ReturnType<typeof newIdentity>>;
  const request = (file: string, more = {}) => ({
    file,
    recipients: [keys.recipient],
    classic: false,
    requestId: '',
    ...more,
  });
  const fileOf = (name: string): string => join(home.folder, 'backups', name);
  const values = (first: number, count: number): string[] =>
    Array.from({ length: count }, (_, i) => String(100_000_000 + first + i));

  beforeAll(async () => {
    keys = await newIdentity(false);
    home = installation();
    engine = await home.open();
    await engine.createDomain(DEV, domain('mrn', 'static', 'digits:9'));
    await engine.createDomain(DEV, domain('visit', 'dynamic', 'digits:9'));
    await engine.createDomain(DEV, domain('note', 'siv', 'text'));
    await engine.tokenize(tokenizeCall('mrn', values(0, 3_000)));
    await engine.tokenize(tokenizeCall('visit', values(0, 500), { requestId: 'v' }));
  });
  afterAll(async () => {
    await engine.close();
    home.remove();
  });

  test('holds what was acknowledged before, counts it, and is signed', async () => {
    const { job, receipt } = await engine.backUpVault(DEV, request('one.age'));
    const done = await ended(engine, job.id);
    expect(done).toMatchObject({ kind: 'backup', target: 'vault', state: 'done' });
    expect(done.done).toBe(done.total);
    const { head, tail, fileBytes } = await verifyBackup(fileOf('one.age'), {
      identities: [keys.identity],
    });
    expect(tail.records).toEqual({ 'clinic/mrn': 3_000, 'clinic/visit': 500 });
    expect(done.result).toMatchObject({
      file: 'one.age',
      records: '3500',
      rows: String(tail.rows),
      bytes: String(fileBytes),
      sha256: tail.sha256,
      backup: head.backup,
    });
    expect(head).toMatchObject({ format: 1, origin: 'test.example/lockstep' });
    expect(head.logSize).toBeGreaterThan(receipt.leafIndex);
    expect(statSync(fileOf('one.age')).mode & 0o777).toBe(0o600);
    expect(readdirSync(join(home.folder, 'backups'))).toEqual(['one.age']);
  });

  test('holds the rows in the order of their keys, and not where the vault lies', async () => {
    const reader = await openBackup(fileOf('one.age'), [keys.identity]);
    expect(JSON.parse(Buffer.from(reader.catalogue).toString('utf8'))).toHaveProperty('mac');
    const names: string[] = [];
    let last = Buffer.alloc(0);
    for await (const rows of reader.rows()) {
      for (const [key] of rows) {
        expect(Buffer.compare(last, key)).toBe(-1);
        last = Buffer.from(key);
        if (key[0] === PREFIX.meta) names.push(last.toString('utf8', 1));
      }
    }
    expect(names).toEqual(['epoch', 'head', 'identity']);
    await reader.close();
  });

  test('is refused by whom it was not made for, and by another signer', async () => {
    const other = await newIdentity(false);
    const path = fileOf('one.age');
    const refused = (options: Parameters<typeof verifyBackup>[1]) => verifyBackup(path, options);
    await expect(refused({ identities: [other.identity] })).rejects.toEqual(
      new BackupError('identity'),
    );
    await expect(refused({ identities: ['nonsense'] })).rejects.toEqual(
      new BackupError('identity-malformed'),
    );
    const signer = new Uint8Array(32).fill(9);
    const identities = [other.identity, keys.identity];
    await expect(refused({ identities, signer })).rejects.toEqual(new BackupError('other-signer'));
    await refused({ identities });
  });

  test('is refused with any bit flipped, cut anywhere, or longer', async () => {
    const whole = readFileSync(fileOf('one.age'));
    const path = join(scratch, 'changed.age');
    const refused = async (bytes: Uint8Array, what: string): Promise<void> => {
      writeFileSync(path, bytes);
      const reading = verifyBackup(path, { identities: [keys.identity] });
      await expect(reading, what).rejects.toBeInstanceOf(BackupError);
    };
    const places = [0, 30, 200, 1_700, 1_790, 2_000, whole.length >> 1, whole.length - 1];
    for (const at of places) {
      const flipped = Buffer.from(whole);
      flipped[at]! ^= 0x10;
      await refused(flipped, `a bit at ${at}`);
      await refused(whole.subarray(0, at), `cut at ${at}`);
    }
    // Where a chunk of age ends, the cut file is well-formed up to there.
    const headBytes = whole.indexOf('\n', whole.indexOf('\n---') + 1) + 1 + 16;
    await refused(whole.subarray(0, headBytes + 64 * 1024 + 16), 'cut after a chunk');
    await refused(Buffer.concat([whole, Buffer.alloc(1)]), 'a byte more');
    await refused(Buffer.from('not an age file at all'), 'another file');
  });

  test('never replaces a file; names and recipients that are none are FIELD_INVALID', async () => {
    const classic = await newIdentity(true);
    const bad: [object, string][] = [
      [request('one.age'), 'RESOURCE_EXISTS'],
      [request('two.age', { recipients: [] }), 'FIELD_REQUIRED'],
      [request('two.age', { recipients: [classic.recipient] }), 'FIELD_INVALID'],
      [request('two.age', { recipients: [`${keys.recipient.slice(0, -1)}x`] }), 'FIELD_INVALID'],
      [request('two.age', { recipients: [keys.identity] }), 'FIELD_INVALID'],
      [request('two.age', { recipients: ['age1x'], classic: true }), 'FIELD_INVALID'],
      ...['', '.two', '../two', 'a/b', 'a b', '/etc/x', 'x'.repeat(102)].map(
        (file): [object, string] => [request(file), 'FIELD_INVALID'],
      ),
    ];
    for (const [wrong, reason] of bad) {
      await expect(engine.backUpVault(DEV, wrong as never), reason).rejects.toMatchObject({
        reason,
      });
    }
    expect(readdirSync(join(home.folder, 'backups'))).toEqual(['one.age']);
    const recipients = [classic.recipient, keys.recipient];
    const { job } = await engine.backUpVault(DEV, request('c.age', { recipients, classic: true }));
    expect((await ended(engine, job.id)).state).toBe('done');
    for (const { identity } of [classic, keys]) {
      await verifyBackup(fileOf('c.age'), { identities: [identity] });
    }
  });

  test('a repeated request gives the same job and receipt', async () => {
    const again = request('again.age', { requestId: 'r-1' });
    const first = await engine.backUpVault(DEV, again);
    await ended(engine, first.job.id);
    const second = await engine.backUpVault(DEV, again);
    expect(second.job.id).toBe(first.job.id);
    expect(second.receipt).toEqual({ ...first.receipt, salt: second.receipt.salt });
    const other = engine.backUpVault(DEV, { ...again, file: 'other.age' });
    await expect(other).rejects.toEqual(new CallError('REQUEST_ID_REUSED'));
    const check = await engine.checkVault(DEV, false, 'r-1');
    expect((await engine.checkVault(DEV, false, 'r-1')).id).toBe(check.id);
    await ended(engine, check.id);
    expect((await engine.checkVault(DEV, false, 'r-1')).id).toBe(check.id);
  });

  test('is a right of its own', async () => {
    const caller = callerOf('ehr');
    for (const denied of [
      engine.backUpVault(caller, request('x.age')),
      engine.getVault(caller),
      engine.checkVault(caller, false, ''),
      engine.listJobs(caller, '', '', 10),
    ]) {
      await expect(denied).rejects.toEqual(new CallError('ACCESS_DENIED'));
    }
  });

  test('writes go on meanwhile: what is in it is whole', async () => {
    let going = true;
    let acked = 0;
    const writing = (async () => {
      for (let i = 0; going; i++) {
        await engine.tokenize(tokenizeCall('mrn', values(10_000 + 100 * i, 100)));
        acked += 100;
      }
    })();
    const before = 3_000;
    const { job } = await engine.backUpVault(DEV, request('busy.age'));
    const done = await ended(engine, job.id);
    going = false;
    await writing;
    expect(done.state).toBe('done');
    const { tail } = await verifyBackup(fileOf('busy.age'), { identities: [keys.identity] });
    const there = tail.records['clinic/mrn']!;
    expect(there).toBeGreaterThanOrEqual(before);
    expect(there).toBeLessThanOrEqual(before + acked);
    expect(there % 100).toBe(0);
  });

  test('a cancelled one leaves nothing', async () => {
    const { job } = await engine.backUpVault(DEV, request('gone.age'));
    await engine.cancelJob(DEV, job.id);
    expect((await ended(engine, job.id)).state).toBe('cancelled');
    const left = readdirSync(join(home.folder, 'backups')).filter((name) => /gone/.test(name));
    expect(left).toEqual([]);
  });

  test('what a crash left of one goes with the next', async () => {
    const left = fileOf('.crash.age.partial');
    writeFileSync(left, 'x');
    const { job } = await engine.backUpVault(DEV, request('next.age'));
    expect((await ended(engine, job.id)).state).toBe('done');
    expect(existsSync(left)).toBe(false);
  });

  test('the vault is shown, and checked', async () => {
    const before = await engine.getVault(DEV);
    expect(before).toMatchObject({ state: 'serving', faults: 0, restoredFrom: '' });
    expect(before.liveTokens).toBeGreaterThanOrEqual(3_500);
    expect(before.freeBytes).toBeGreaterThan(0);
    const job = await engine.checkVault(DEV, false, '');
    expect(await ended(engine, job.id)).toMatchObject({ state: 'done', result: { faults: '0' } });
    expect((await engine.getVault(DEV)).checkedMs).toBeGreaterThan(0);
    const jobs = await engine.listJobs(DEV, 'vault', '', 100);
    expect(jobs[0]!.id).toBe(job.id);
    expect(await engine.getJob(DEV, job.id)).toEqual(jobs[0]);
  });

  test('nothing of it is readable in the file, and the leaf says who made it', async () => {
    const tokens = textOf((await engine.tokenize(tokenizeCall('mrn', values(0, 2)))).tokens);
    const bytes = readFileSync(fileOf('one.age'));
    for (const text of [...tokens, ...values(0, 2), 'clinic/mrn', 'lockstep backup']) {
      expect(bytes.includes(text)).toBe(false);
    }
    await engine.close();
    const leaves = (await readLog(home.folder)).map(({ entry }) => entry);
    const leaf = leaves.find(({ verb }) => verb === 'BackUpVault')!;
    expect(leaf).toMatchObject({ caller: 'dev:dev', extra: { file: 'one.age', recipients: 1 } });
    engine = await home.open();
  });
});
