import { cp, open, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { AuditError } from '../../audit/audit-error.ts';
import { checkpointBody, openCheckpoint } from '../../audit/checkpoint.ts';
import { decodeEntry, encodeEntry } from '../../audit/entry.ts';
import { fsckLog } from '../../audit/fsck.ts';
import { type AuditLog, type LogOptions, openLog } from '../../audit/log.ts';
import { formatNote, verifierKey, verifierOf } from '../../audit/note.ts';
import { CHECKPOINT_FILE } from '../../audit/publisher.ts';
import { BackupError } from './backup-error.ts';
import type { ManifestHead } from './manifest.ts';

/** The catalogue as the log names it last. */
export interface NamedCatalogue {
  readonly generation: number;
  readonly hash: string;
}

/** Proves that the log of this folder grew from the one that the backup was made beside: every
 *  leaf, tile and checkpoint is read. Rejects with `BackupError('log-differs')`. */
export async function proveLog(folder: string, head: ManifestHead): Promise<void> {
  const key = verifierKey(head.origin, Buffer.from(head.publicKey, 'base64'));
  const older = Buffer.from(head.checkpoint, 'utf8');
  const report = await fsckLog(folder, key, { older }).catch((cause: unknown) => {
    throw new BackupError('log-differs', cause);
  });
  if (!report.ok) throw new BackupError('log-differs');
}

/** Copies the log, every file durable, and signs its checkpoint anew where the module has another
 *  key: the tree is the same, so old checkpoints and proofs still hold under the old one. Resolves
 *  with the catalogue that the log names after the backup, if it does. */
export async function copyLog(
  from: string,
  head: ManifestHead,
  options: LogOptions,
): Promise<NamedCatalogue | undefined> {
  const { folder, publicKey } = options;
  await cp(from, folder, { recursive: true, errorOnExist: true, force: false });
  await signAnew(head, options);
  await syncTree(folder);
  const log = await openLog({ ...options, publicKey, create: false });
  try {
    return await catalogueSince(log, head.logSize);
  } finally {
    await log.close();
  }
}

async function signAnew(head: ManifestHead, options: LogOptions): Promise<void> {
  const { folder, origin, publicKey, sign } = options;
  const was = Buffer.from(head.publicKey, 'base64');
  if (was.equals(publicKey)) return;
  const path = join(folder, CHECKPOINT_FILE);
  const { size, root } = openCheckpoint(await readFile(path), verifierOf(head.origin, was));
  const text = checkpointBody(origin, size, root);
  const signature = await sign(Buffer.from(text, 'utf8'));
  await writeFile(path, formatNote(text, verifierOf(origin, publicKey), signature));
}

async function catalogueSince(log: AuditLog, size: number): Promise<NamedCatalogue | undefined> {
  let named: NamedCatalogue | undefined;
  for await (const { entry } of log.entriesFrom(size)) {
    const { generation, hash } = decodeEntry(entry).extra ?? {};
    if (typeof generation === 'number' && typeof hash === 'string') named = { generation, hash };
  }
  return named;
}

/** Makes every file and folder below durable. */
async function syncTree(folder: string): Promise<void> {
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) await syncTree(path);
    else await sync(path);
  }
  await sync(folder);
}

export async function sync(path: string): Promise<void> {
  const file = await open(path, 'r');
  try {
    await file.sync();
  } finally {
    await file.close();
  }
}

/** A log that takes the place of a lost one. Its first leaf says so, names the lost one as the
 *  backup knew it, and why an officer went on without it. */
export async function beginLog(
  head: ManifestHead,
  note: string,
  timeMs: number,
  options: LogOptions,
): Promise<void> {
  const log = await openLog({ ...options, create: true });
  try {
    const { root } = openCheckpoint(
      Buffer.from(head.checkpoint, 'utf8'),
      verifierOf(head.origin, Buffer.from(head.publicKey, 'base64')),
    );
    const entry = encodeEntry({
      timeMs,
      verb: 'LogLost',
      domain: '',
      caller: '',
      purpose: '',
      view: '',
      policyHash: '',
      keyVersions: [],
      done: 0,
      failed: 0,
      distinct: 0,
      extra: {
        note,
        backup: head.backup,
        lostSize: head.logSize,
        lostRoot: Buffer.from(root).toString('hex'),
      },
    });
    await log.append([{ entry, body: new Uint8Array(0) }]);
  } catch (cause) {
    if (cause instanceof AuditError) throw new BackupError('damaged', cause);
    throw cause;
  } finally {
    await log.close();
  }
}
