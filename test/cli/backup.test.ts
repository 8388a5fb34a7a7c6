import { createHash, generateKeyPairSync, sign } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { encryptStream } from '../../src/engine/backup/age.ts';
import { lockstep } from './process.ts';

const folder = mkdtempSync(join(tmpdir(), 'lockstep-cli-backup-'));
afterAll(() => rmSync(folder, { recursive: true }));

/* A backup written by hand from the description of its format, so that reader and writer cannot
 * agree on a mistake. */

const u32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
};
const frame = (kind: number, payload: Buffer): Buffer =>
  Buffer.concat([Buffer.of(kind), u32(payload.length), payload]);
const row = (key: Buffer, value: Buffer): Buffer =>
  Buffer.concat([Buffer.of(0, key.length), u32(value.length), key, value]);
const json = (value: object): Buffer => Buffer.from(JSON.stringify(value));
const sha256 = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');

const { privateKey, publicKey } = generateKeyPairSync('ed25519');
const rawKey = publicKey.export({ format: 'der', type: 'spki' }).subarray(-32);

function domainRow(): Buffer {
  const key = Buffer.from('dclinic/mrn');
  const value = Buffer.concat([u32(7), Buffer.of(0, 0, 0, 0, 0, 0, 0, 0, 99, 0)]);
  return row(key, Buffer.concat([value, u32(crc32(value, crc32(key)))]));
}

const record = (counter: number): Buffer =>
  row(Buffer.concat([Buffer.from('r'), u32(7), u32(0), u32(counter)]), Buffer.alloc(40, 1));

const HEAD = {
  format: 1,
  backup: '01J0000000000000000000000A',
  installation: 'ab'.repeat(16),
  origin: 'by.hand/log',
  publicKey: rawKey.toString('base64'),
  createdMs: 1_800_000_000_000,
  module: 'by hand',
  commit: 3,
  group: 3,
  checkpoint: 'none',
  logSize: 3,
  epoch: 1,
  catalogueGeneration: 2,
  catalogueHash: 'cd'.repeat(32),
};

async function backup(name: string, recipient: string, changed: object = {}): Promise<string> {
  const before = Buffer.concat([
    Buffer.from('lockstep backup 1\n'),
    frame(1, json({ ...HEAD, ...changed })),
    frame(2, Buffer.from('{}')),
    frame(3, Buffer.concat([domainRow(), record(0), record(1)])),
    frame(3, record(2)),
  ]);
  const tail = { rows: 4, records: { 'clinic/mrn': 3 }, sha256: sha256(before), ...changed };
  const whole = Buffer.concat([before, frame(4, json(tail))]);
  const text = `lockstep backup signature 1\nby.hand/log\n${sha256(whole)}\n`;
  const plain = Buffer.concat([whole, frame(5, sign(null, Buffer.from(text), privateKey))]);
  const stream = new Blob([plain]).stream() as ReadableStream<Uint8Array>;
  const cipher = await new Response(
    (await encryptStream(stream, [recipient])) as ReadableStream<Uint8Array<ArrayBuffer>>,
  ).arrayBuffer();
  const path = join(folder, name);
  writeFileSync(path, Buffer.from(cipher));
  return path;
}

describe('backup keygen and verify', () => {
  const identity = join(folder, 'identity');
  let recipient: string;
  let file: string;

  beforeAll(async () => {
    const { code, out } = await lockstep(['backup', 'keygen', '--output', identity]);
    expect(code).toBe(0);
    recipient = out.trim();
    file = await backup('by-hand.age', recipient);
  });

  test('keygen makes a post-quantum pair, for its owner alone, and replaces nothing', async () => {
    expect(recipient).toMatch(/^age1pq1/);
    expect(statSync(identity).mode & 0o777).toBe(0o600);
    expect(readFileSync(identity, 'utf8')).toMatch(/^# public key: age1pq1.*\nAGE-SECRET-KEY-PQ-1/);
    const again = await lockstep(['backup', 'keygen', '--output', identity]);
    expect([again.code, again.err]).toEqual([1, expect.stringContaining('EEXIST')]);
    const classic = join(folder, 'classic');
    const { out } = await lockstep([
      'backup',
      'keygen',
      '--classic',
      '--json',
      '--output',
      classic,
    ]);
    expect(JSON.parse(out)).toMatchObject({ recipient: expect.stringMatching(/^age1[^p]/) });
  });

  test('verify reads a backup that was written by hand', async () => {
    const { code, out, err } = await lockstep(['backup', 'verify', file, '--identity', identity]);
    expect([code, err]).toEqual([0, '']);
    expect(out).toMatch(/^verdict +whole$/m);
    expect(out).toMatch(/^records of clinic\/mrn +3$/m);
    const json = await lockstep(['backup', 'verify', '--identity', identity, file, '--json']);
    expect(JSON.parse(json.out)).toMatchObject({
      whole: true,
      backup: HEAD.backup,
      rows: 4,
      records: { 'clinic/mrn': 3 },
    });
  });

  test.each([
    ['another count of rows', { rows: 5 }],
    ['another count of records', { records: { 'clinic/mrn': 2 } }],
    ['another hash', { sha256: sha256(Buffer.alloc(0)) }],
    ['a head without its fields', { origin: undefined }],
    ['another format', { format: 2 }],
    ['a name that it did not sign', { origin: 'somebody.else/log' }],
    ['a key that did not sign it', { publicKey: Buffer.alloc(32, 9).toString('base64') }],
  ])('verify refuses %s', async (what, changed) => {
    const bad = await backup(`${what.replaceAll(' ', '-')}.age`, recipient, changed);
    const { code, out, err } = await lockstep(['backup', 'verify', bad, '--identity', identity]);
    expect([code, out]).toEqual([1, '']);
    expect(err).toMatch(/^lockstep: the backup is /);
  });

  test('verify tells a wrong identity from a damaged file and from none', async () => {
    const other = join(folder, 'other');
    await lockstep(['backup', 'keygen', '--output', other]);
    const reason = async (path: string, key: string): Promise<string> => {
      const { code, err } = await lockstep(['backup', 'verify', path, '--identity', key, '--json']);
      expect(code).toBe(1);
      return (JSON.parse(err) as { reason?: string }).reason ?? err;
    };
    expect(await reason(file, other)).toBe('identity');
    expect(await reason(identity, identity)).toBe('not-a-backup');
    expect(await reason(file, file)).toBe('identity-malformed');
    expect(await reason(join(folder, 'none'), identity)).toContain('ENOENT');
    const cut = join(folder, 'cut.age');
    writeFileSync(cut, readFileSync(file).subarray(0, -20));
    expect(await reason(cut, identity)).toBe('damaged');
  });

  test('verify holds it to a key that is given', async () => {
    const key = (raw: Buffer): string =>
      `by.hand/log+00000000+${Buffer.concat([Buffer.of(1), raw]).toString('base64')}`;
    const verify = (verifier: string) =>
      lockstep(['backup', 'verify', file, '--identity', identity, '--verifier', verifier]);
    expect((await verify(key(rawKey))).code).toBe(0);
    const { code, err } = await verify(key(Buffer.alloc(32, 9)));
    expect([code, err]).toEqual([1, expect.stringContaining('another key than the one given')]);
  });
});

describe('restore and drill', () => {
  test('want to be told what becomes of the log', async () => {
    const restore = ['restore', 'x.age', '--identity', 'y'];
    for (const more of [
      [],
      ['--log', 'l', '--without-log', '--note', 'n'],
      ['--without-log'],
      ['--without-log', '--note', ''],
      ['--without-log', '--note', 'x'.repeat(501)],
      ['--log', 'l', '--note', 'n'],
    ]) {
      const { code } = await lockstep([...restore, ...more]);
      expect([code, more]).toEqual([2, more]);
    }
  });

  test('say what they do', async () => {
    for (const command of [
      ['restore'],
      ['backup'],
      ['backup', 'create'],
      ['backup', 'verify'],
      ['backup', 'drill'],
      ['backup', 'keygen'],
    ]) {
      const { code, out } = await lockstep([...command, '--help']);
      expect(code).toBe(0);
      expect(out).toMatch(/^Usage: lockstep /);
    }
  });
});
