import { readFileSync } from 'node:fs';
import type { Command } from 'commander';
import { verifierKey } from '../audit/note.ts';
import { BackupError } from '../engine/backup/backup-error.ts';
import type { ManifestHead, ManifestTail } from '../engine/backup/manifest.ts';
import { again } from './arguments.ts';
import { Refusal } from './frame.ts';

/** What reading a backup takes. */
export interface BackupFileOptions {
  readonly identity: readonly string[];
  readonly verifier?: string;
  readonly json?: boolean;
}

export const addFileOptions = (command: Command): Command =>
  command
    .argument('<file>', 'the backup')
    .requiredOption('--identity <file>', 'age identity that opens it; may be repeated', again)
    .option('--verifier <key or file>', "the log's public key that must have signed it")
    .option('--json', 'answer in JSON');

/** Reads the identity files and the public key. */
export async function readKeys(
  options: BackupFileOptions,
): Promise<{ identities: readonly string[]; signer: Uint8Array | undefined }> {
  const { identitiesOf } = await import('../engine/backup/age.ts');
  const identities = options.identity.flatMap((path) =>
    identitiesOf(readFile(path).toString('utf8')),
  );
  const { verifier } = options;
  return { identities, signer: verifier === undefined ? undefined : keyOf(verifier) };
}

const VERIFIER = /^[^\s+/]\S*\+[0-9a-f]{8}\+(\S+)$/;

/** The key itself, as `lockstep log key` prints it, or a file that holds it. */
function keyOf(text: string): Uint8Array {
  const form = VERIFIER.exec(text) ?? VERIFIER.exec(readFile(text).toString('utf8').trim());
  const bytes = Buffer.from(form?.[1] ?? '', 'base64');
  if (bytes.length !== 33 || bytes[0] !== 1) throw new Refusal('--verifier is no Ed25519 key');
  return Uint8Array.from(bytes.subarray(1));
}

export function readFile(path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (cause) {
    throw unreadable(path, cause);
  }
}

function unreadable(path: string, cause: unknown): Refusal {
  const code = cause instanceof Error && 'code' in cause ? String(cause.code) : 'failed';
  return new Refusal(`${path} cannot be read: ${code}`, {}, cause);
}

/** Runs work on a backup; what is refused comes out in words for officers. */
export async function refusingBackup<T>(file: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    if (cause instanceof BackupError) {
      throw new Refusal(cause.message, { reason: cause.fault, file }, cause);
    }
    if (cause instanceof Error && 'syscall' in cause) throw unreadable(file, cause);
    throw cause;
  }
}

/** What a backup says of itself, for `--json`. */
export const shownManifest = (head: ManifestHead, tail: ManifestTail) => ({
  backup: head.backup,
  installation: head.installation,
  created: new Date(head.createdMs).toISOString(),
  origin: head.origin,
  /** As --verifier takes it. */
  signer: verifierKey(head.origin, Buffer.from(head.publicKey, 'base64')),
  module: head.module,
  commit: head.commit,
  logSize: head.logSize,
  catalogueGeneration: head.catalogueGeneration,
  rows: tail.rows,
  records: tail.records,
  sha256: tail.sha256,
});

/** The same as rows of a table. */
export function manifestRows(head: ManifestHead, tail: ManifestTail): string[][] {
  const { records, ...fields } = shownManifest(head, tail);
  return [
    ...Object.entries(fields).map(([name, value]) => [name, String(value)]),
    ...Object.entries(records).map(([domain, count]) => [`records of ${domain}`, String(count)]),
  ];
}
