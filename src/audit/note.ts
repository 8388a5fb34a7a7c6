import { createHash, createPublicKey, type KeyObject, verify } from 'node:crypto';
import { AuditError } from './audit-error.ts';

/** C2SP signed-note signature type of Ed25519, the only one that Go's note accepts. */
const ED25519 = 0x01;
/** Most signature lines of a note; Go's note has the same bound. */
const SIGNATURES_MAX = 100;

/** Who a note may be signed by. */
export interface Verifier {
  /** Key name; for a log its origin. No spaces, no plus. */
  readonly name: string;
  /** First 4 bytes of SHA-256(name ‖ LF ‖ type ‖ public key), big-endian. */
  readonly keyId: number;
  verify(text: string, signature: Uint8Array): boolean;
}

export interface OpenedNote {
  /** Signed text, with its last newline. */
  readonly text: string;
  /** Names of known keys whose signatures hold, each once. */
  readonly verified: readonly string[];
  /** Names of keys that are not known here, one a distinct line; nothing is
   *  claimed about them. */
  readonly unverified: readonly string[];
}

/** A verifier from a name and a raw Ed25519 public key, 32 bytes. */
export function verifierOf(name: string, publicKey: Uint8Array): Verifier {
  if (!isName(name)) throw new AuditError('malformed', 'not a key name');
  if (publicKey.length !== 32) throw new AuditError('malformed', 'not an Ed25519 public key');
  const key = ed25519Key(publicKey);
  return {
    name,
    keyId: keyIdOf(name, typed(publicKey)),
    verify: (text, signature) =>
      signature.length === 64 && verify(null, Buffer.from(text, 'utf8'), key, signature),
  };
}

/** The form to hand to verifiers: `name+keyid+base64(type ‖ public key)`. */
export function verifierKey(name: string, publicKey: Uint8Array): string {
  const { keyId } = verifierOf(name, publicKey);
  const key = Buffer.from(typed(publicKey)).toString('base64');
  return `${name}+${keyIdHex(keyId)}+${key}`;
}

/** Reads such a form. Strict: one spelling only. Throws AuditError `malformed`. */
export function parseVerifierKey(text: string): Verifier {
  const [name, id, key64, ...more] = text.split('+');
  // A plus is base64 too, so the rest belongs to the key.
  const key = base64([key64 ?? '', ...more].join('+'));
  if (name === undefined || id === undefined || key === undefined || key[0] !== ED25519) {
    throw new AuditError('malformed', 'not an Ed25519 verifier key');
  }
  const verifier = verifierOf(name, key.subarray(1));
  if (id !== keyIdHex(verifier.keyId)) throw new AuditError('malformed', 'the key id differs');
  return verifier;
}

/** Adds one signature: text, blank line, `— name base64(key id ‖ signature)`. */
export function formatNote(text: string, verifier: Verifier, signature: Uint8Array): string {
  if (!text.endsWith('\n')) throw new AuditError('malformed', 'a note ends in a newline');
  const id = Buffer.alloc(4);
  id.writeUInt32BE(verifier.keyId);
  const base = Buffer.concat([id, signature]).toString('base64');
  return `${text}\n— ${verifier.name} ${base}\n`;
}

/** Why a note is refused; the words of the published vectors. */
export type NoteFault = 'malformed' | 'ambiguous' | 'invalid' | 'unverified';

export class NoteError extends Error {
  override readonly name = 'NoteError';
  readonly fault: NoteFault;
  constructor(fault: NoteFault) {
    super(`the note is refused: ${fault}`);
    this.fault = fault;
  }
}

const strict = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
// signed-note: no control characters below U+0020 but the newline; those from U+007F on may stand.
const CONTROL = /[^\P{Cc}\n\x7f-\x9f]/u;
const SIGNATURE = /^— (\S+) (\S+)$/u;

/** Reads a note and checks each signature by a known key: one that fails refuses the note, and so
 *  does a note that no known key signed. Throws NoteError. */
export function openNote(bytes: Uint8Array, known: readonly Verifier[]): OpenedNote {
  const { text, lines } = split(bytes);
  const verified = new Set<string>();
  const unverified: string[] = [];
  const seen = new Set<string>();
  const strange = new Set<string>();
  for (const line of lines) {
    const [, name, base] = SIGNATURE.exec(line) ?? [];
    const raw = base === undefined ? undefined : base64(base);
    if (name === undefined || !isName(name) || raw === undefined || raw.length < 5) {
      throw new NoteError('malformed');
    }
    const keyId = Buffer.from(raw).readUInt32BE(0);
    const keys = known.filter((key) => key.name === name && key.keyId === keyId);
    if (keys.length > 1) throw new NoteError('ambiguous');
    const key = keys[0];
    if (key === undefined) {
      if (!strange.has(line)) unverified.push(name);
      strange.add(line);
      continue;
    }
    // A second line by the same key says nothing new; Go's note skips it too.
    if (seen.has(`${name}+${keyId}`)) continue;
    seen.add(`${name}+${keyId}`);
    if (!key.verify(text, raw.subarray(4))) throw new NoteError('invalid');
    verified.add(name);
  }
  if (verified.size === 0) throw new NoteError('unverified');
  return { text, verified: [...verified], unverified };
}

function split(bytes: Uint8Array): { text: string; lines: readonly string[] } {
  let note: string;
  try {
    note = strict.decode(bytes);
  } catch {
    throw new NoteError('malformed');
  }
  const blank = note.lastIndexOf('\n\n');
  if (CONTROL.test(note) || blank < 0 || !note.endsWith('\n')) throw new NoteError('malformed');
  const lines = note.slice(blank + 2, -1).split('\n');
  if (lines.length > SIGNATURES_MAX) throw new NoteError('malformed');
  return { text: note.slice(0, blank + 1), lines };
}

/** Standard base64 (RFC 4648 §4), one spelling only; undefined for anything else. */
export function base64(text: string): Uint8Array | undefined {
  const bytes = Buffer.from(text, 'base64');
  return bytes.toString('base64') === text ? bytes : undefined;
}

const isName = (name: string): boolean => name !== '' && !/[\s+\u0085]/u.test(name);

const typed = (publicKey: Uint8Array): Uint8Array => Uint8Array.of(ED25519, ...publicKey);

const keyIdHex = (keyId: number): string => keyId.toString(16).padStart(8, '0');

function keyIdOf(name: string, typedKey: Uint8Array): number {
  return createHash('sha256').update(`${name}\n`).update(typedKey).digest().readUInt32BE(0);
}

/** RFC 8410 §4: the fixed DER head of an Ed25519 SubjectPublicKeyInfo. */
const SPKI_HEAD = Buffer.from('302a300506032b6570032100', 'hex');

function ed25519Key(publicKey: Uint8Array): KeyObject {
  const key = Buffer.concat([SPKI_HEAD, publicKey]);
  return createPublicKey({ key, format: 'der', type: 'spki' });
}
