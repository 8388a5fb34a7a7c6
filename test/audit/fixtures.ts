import { generateKeyPairSync, type KeyObject, randomBytes, sign } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach } from 'vitest';
import { type AuditLog, type LogOptions, type LogRecord, openLog } from '../../src/audit/log.ts';
import { verifierKey } from '../../src/audit/note.ts';
import { systemClock } from '../../src/base/clock.ts';

export const ORIGIN = 'lockstep.test/log';

/** A key pair of Node's own, as the module's Ed25519 pair would be. */
export function newSigner(): {
  publicKey: Uint8Array;
  sign: (message: Uint8Array) => Promise<Uint8Array>;
} {
  const pair = generateKeyPairSync('ed25519');
  return { publicKey: rawKey(pair.publicKey), sign: async (m) => sign(null, m, pair.privateKey) };
}

const rawKey = (key: KeyObject): Uint8Array =>
  new Uint8Array(key.export({ format: 'der', type: 'spki' }).subarray(-32));

export const signer = newSigner();
export const VERIFIER_KEY = verifierKey(ORIGIN, signer.publicKey);

const folders: string[] = [];
const logs: AuditLog[] = [];

afterEach(async () => {
  for (const log of logs.splice(0)) await log.close();
  for (const folder of folders.splice(0)) await rm(folder, { recursive: true, force: true });
});

export async function newFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'lockstep-log-'));
  folders.push(folder);
  return folder;
}

/** Opens a log that is closed after the test. */
export async function open(
  folder: string,
  options: Partial<LogOptions> = {},
  before?: (operation: string) => void,
): Promise<AuditLog> {
  const all = { folder, origin: ORIGIN, clock: systemClock, checkpointMs: 60_000, ...signer };
  const log = await openLog({ ...all, ...options }, before);
  logs.push(log);
  return log;
}

/** Entry `i` of a test log: known from its index, of a length of its own. */
export const entryOf = (i: number): Uint8Array => Buffer.from(`entry ${i} ${'.'.repeat(i % 50)}`);

export const bodyOf = (i: number): Uint8Array => randomBytes(20 + (i % 30));

export const recordOf = (i: number): LogRecord => ({ entry: entryOf(i), body: bodyOf(i) });

/** Appends entries [from, to) in groups of the given size. */
export async function fill(log: AuditLog, from: number, to: number, group = 7): Promise<void> {
  for (let at = from; at < to; at += group) {
    const records = Array.from({ length: Math.min(group, to - at) }, (_, i) => recordOf(at + i));
    await log.append(records);
  }
}
