import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  createReadStream,
  existsSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  decryptStream,
  identitiesOf,
  isRecipient,
  newIdentity,
} from '../../src/engine/backup/age.ts';
import { verifyBackup } from '../../src/engine/backup/verify.ts';
import type { Engine } from '../../src/engine/calls.ts';
import { backUp } from '../engine/backing-up.ts';
import { DEV, domain, type Installation, installation, tokenizeCall } from '../engine/harness.ts';

const BIN = join(homedir(), '.cache/lockstep/bin');
const AGE = join(BIN, 'age');
const KEYGEN = join(BIN, 'age-keygen');

/** Builds filippo.io/age 1.3 or newer, which reads post-quantum recipients; false, and said aloud,
 *  where Go or its module proxy is not at hand. */
function built(): boolean {
  try {
    if (!existsSync(AGE) || !existsSync(KEYGEN)) {
      const commands = ['filippo.io/age/cmd/age', 'filippo.io/age/cmd/age-keygen'];
      const env = { ...process.env, GOBIN: BIN };
      for (const command of commands) {
        execFileSync('go', ['install', `${command}@v1.3.2`], { env, stdio: 'pipe' });
      }
    }
    return true;
  } catch (error) {
    console.warn(`skipped: age cannot be built here (${(error as Error).message})`);
    return false;
  }
}

const scratch = mkdtempSync(join(tmpdir(), 'lockstep-age-'));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

async function ours(path: string, identity: string): Promise<Buffer> {
  const file = Readable.toWeb(createReadStream(path)) as ReadableStream<Uint8Array>;
  const plain = await decryptStream(file, [identity]);
  return Buffer.from(await new Response(plain).arrayBuffer());
}

describe.skipIf(!built())('filippo.io/age, another implementation', () => {
  let home: Installation;
  let engine: Engine;

  beforeAll(async () => {
    home = installation();
    engine = await home.open();
    await engine.createDomain(DEV, domain('mrn', 'static', 'digits:9'));
    const values = Array.from({ length: 3_000 }, (_, i) => String(100_000_000 + i));
    await engine.tokenize(tokenizeCall('mrn', values));
  });
  afterAll(async () => {
    await engine.close();
    home.remove();
  });

  const theirs = (path: string, identity: string): Buffer => {
    const file = join(scratch, 'identity');
    writeFileSync(file, `${identity}\n`, { mode: 0o600 });
    return execFileSync(AGE, ['-d', '-i', file, path], { maxBuffer: 1 << 28, stdio: 'pipe' });
  };

  test.each([
    ['post-quantum', false],
    ['classic', true],
  ])('reads a %s backup, the same bytes', async (_, classic) => {
    const { identity, recipient } = await newIdentity(classic);
    const path = await backUp(engine, home.folder, `${classic}.age`, [recipient], classic);
    const plain = theirs(path, identity);
    expect(plain.equals(await ours(path, identity))).toBe(true);
    expect(plain.subarray(0, 18).toString()).toBe('lockstep backup 1\n');
    // The hash of the manifest, computed without our reader: kind 4 stands before it.
    const { tail } = await verifyBackup(path, { identities: [identity] });
    const tailAt = plain.lastIndexOf(`{"rows":${tail.rows}`) - 5;
    expect(plain[tailAt]).toBe(4);
    const digest = createHash('sha256').update(plain.subarray(0, tailAt)).digest('hex');
    expect(digest).toBe(tail.sha256);
    expect(readFileSync(path).includes('lockstep backup')).toBe(false);
    const other = await newIdentity(classic);
    expect(() => theirs(path, other.identity)).toThrow(/no identity matched/);
  });

  test.each([
    ['post-quantum', ['-pq']],
    ['classic', []],
  ])('makes %s keys that ours takes', async (_, options) => {
    const text = execFileSync(KEYGEN, options, { encoding: 'utf8', stdio: 'pipe' });
    const [identity] = identitiesOf(text);
    const recipient = /public key: (\S+)/.exec(text)![1]!;
    const classic = options.length === 0;
    expect(isRecipient(recipient, classic)).toBe(true);
    expect(isRecipient(recipient, false)).toBe(!classic);
    const path = await backUp(engine, home.folder, `go-${classic}.age`, [recipient], classic);
    await verifyBackup(path, { identities: [identity!] });
  });
});
