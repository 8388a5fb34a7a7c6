import { createPublicKey, verify } from 'node:crypto';
import { BackupError } from './backup-error.ts';

/** First part of the manifest: what is known when a backup begins. */
export interface ManifestHead {
  readonly format: 1;
  /** ULID of the backup. */
  readonly backup: string;
  readonly installation: string;
  /** Of the log. */
  readonly origin: string;
  /** Ed25519 public key of the log's checkpoints, which signs the backup too; base64. */
  readonly publicKey: string;
  readonly createdMs: number;
  /** Of the module, for people. */
  readonly module: string;
  /** Last commit and group of the vault. */
  readonly commit: number;
  readonly group: number;
  /** The log as it stood: a signed checkpoint. Every leaf below its size has its rows in here. */
  readonly checkpoint: string;
  readonly logSize: number;
  readonly epoch: number;
  readonly catalogueGeneration: number;
  readonly catalogueHash: string;
}

/** Second part: what is known at its end. */
export interface ManifestTail {
  readonly rows: number;
  /** Records by domain id. */
  readonly records: Readonly<Record<string, number>>;
  /** Over every byte before the tail's frame, hex. */
  readonly sha256: string;
}

export const encodeManifest = (manifest: ManifestHead | ManifestTail): Uint8Array =>
  Buffer.from(JSON.stringify(manifest), 'utf8');

type Fields = Readonly<Record<string, 'string' | 'number' | 'object'>>;

const HEAD_FIELDS: Fields = {
  backup: 'string',
  installation: 'string',
  origin: 'string',
  publicKey: 'string',
  createdMs: 'number',
  module: 'string',
  commit: 'number',
  group: 'number',
  checkpoint: 'string',
  logSize: 'number',
  epoch: 'number',
  catalogueGeneration: 'number',
  catalogueHash: 'string',
};
const TAIL_FIELDS: Fields = { rows: 'number', records: 'object', sha256: 'string' };

/** Throws `BackupError`: `other-format`, `damaged`. */
export function decodeHead(bytes: Uint8Array): ManifestHead {
  const value = parse(bytes);
  if (value['format'] !== 1) throw new BackupError('other-format');
  check(value, HEAD_FIELDS);
  return value as unknown as ManifestHead;
}

/** Throws `BackupError('damaged')`. */
export function decodeTail(bytes: Uint8Array): ManifestTail {
  const value = parse(bytes);
  check(value, TAIL_FIELDS);
  return value as unknown as ManifestTail;
}

function parse(bytes: Uint8Array): Readonly<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(Buffer.from(bytes).toString('utf8'));
    if (typeof value === 'object' && value !== null) return value as Record<string, unknown>;
  } catch (cause) {
    throw new BackupError('damaged', cause);
  }
  throw new BackupError('damaged');
}

function check(value: Readonly<Record<string, unknown>>, fields: Fields): void {
  for (const [name, type] of Object.entries(fields)) {
    const field = value[name];
    const whole = type !== 'number' || (Number.isSafeInteger(field) && Number(field) >= 0);
    if (typeof field !== type || field === null || !whole) throw new BackupError('damaged');
  }
}

/** What is signed: `digest` is SHA-256 over every byte before the signature's frame, hex. The first
 *  line has spaces, so no checkpoint or certificate can ever say the same. */
export const signedText = (origin: string, digest: string): Uint8Array =>
  Buffer.from(`lockstep backup signature 1\n${origin}\n${digest}\n`, 'utf8');

/** RFC 8410 §4: the fixed DER head of an Ed25519 SubjectPublicKeyInfo. */
const SPKI_HEAD = Buffer.from('302a300506032b6570032100', 'hex');

/** Throws `BackupError('signature')`. */
export function verifySignature(head: ManifestHead, digest: string, signature: Uint8Array): void {
  const raw = Buffer.from(head.publicKey, 'base64');
  if (raw.length !== 32 || signature.length !== 64) throw new BackupError('signature');
  const key = createPublicKey({
    key: Buffer.concat([SPKI_HEAD, raw]),
    format: 'der',
    type: 'spki',
  });
  if (!verify(null, signedText(head.origin, digest), key, signature)) {
    throw new BackupError('signature');
  }
}
