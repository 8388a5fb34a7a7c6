import { createHash } from 'node:crypto';
import { endianness } from 'node:os';
import type { Column } from '../base/column.ts';
import { type ItemError, REASONS, type Reason } from '../base/reason.ts';
import { AuditError } from './audit-error.ts';

export const SALT_BYTES = 32;
export const SUBJECT_BYTES = 16;

/** What a leaf's sealed body holds: enough to answer a retry again, to list a patient's
 *  disclosures, and to reserve the tokens of small formats after a restore. */
export interface Body {
  /** 32 random bytes, given to the caller alone: they open the entry's body hash. */
  readonly salt: Uint8Array;
  /** Tokens of the call: those made, looked up or revealed; for Exchange the source tokens. Rows
   *  are empty where `errors` names them. */
  readonly tokens: Column;
  /** Exchange: the tokens of the target domain, row by row; left out elsewhere. */
  readonly targets?: Column;
  /** Keyed subject indexes: none, 16 bytes for the whole call, or 16 a row (zeros for none). */
  readonly subjects: Uint8Array;
  /** Ascending by index. */
  readonly errors: readonly ItemError[];
  /** 1 where the item minted a record; as many as rows, or none. */
  readonly created: Uint8Array;
  /** Remarks on items that succeeded; places ascend. */
  readonly notices: readonly BodyNotice[];
}

export interface BodyNotice {
  readonly reason: string;
  readonly indexes: readonly number[];
}

// Columns are written as the processor has them. Every platform that Node 24 runs on but s390x
// and old PowerPC is little-endian; there the log would not be portable, so it is refused.
if (endianness() !== 'LE') throw new Error('Lockstep needs a little-endian processor');

const VERSION = 1;
/** salt 32 ‖ version 1 ‖ flags 1 ‖ two zeros ‖ seven lengths of 4 bytes. */
const HEAD_BYTES = SALT_BYTES + 4 + 7 * 4;
const HAS_TARGETS = 1;
/** All tokens have one length, so their ends are left out: a third of a body of nine digits. */
const FIXED_WIDTH = 2;
const EMPTY = new Uint8Array(0);

/** The body's bytes, before sealing. Little-endian: salt ‖ version, flags, 2 zeros ‖ lengths
 *  (token rows, token bytes, target rows, target bytes, subject bytes, created bytes, tail bytes)
 *  ‖ token ends (left out where all tokens have one length) ‖ target ends ‖ token bytes ‖ target
 *  bytes ‖ subjects ‖ created ‖ tail. The tail is JSON of errors and notices, and empty without
 *  any, so the common case is a few block copies.
 *  The salt comes first, so SHA-256 of these bytes is SHA-256(salt ‖ body). */
export function encodeBody(body: Body): Uint8Array {
  if (body.salt.length !== SALT_BYTES) throw new RangeError('a salt has 32 bytes');
  const rows = body.tokens.ends.length;
  const targets = body.targets;
  if (!subjectsFit(body.subjects.length, rows)) throw new RangeError('subjects and rows differ');
  if (!createdFit(body.created.length, rows)) throw new RangeError('created and rows differ');
  const tail = tailOf(body);
  const tokenBytes = used(body.tokens);
  const fixed = isFixed(body.tokens.ends, tokenBytes.length);
  const tokenEnds = fixed ? EMPTY : bytesOf(body.tokens.ends);
  const targetEnds = targets === undefined ? EMPTY : bytesOf(targets.ends);
  const targetBytes = targets === undefined ? EMPTY : used(targets);
  const parts = [tokenEnds, targetEnds, tokenBytes, targetBytes, body.subjects, body.created, tail];
  let length = HEAD_BYTES;
  for (const part of parts) length += part.length;
  const out = new Uint8Array(length);
  const view = new DataView(out.buffer);
  out.set(body.salt);
  out[SALT_BYTES] = VERSION;
  out[SALT_BYTES + 1] = (targets === undefined ? 0 : HAS_TARGETS) | (fixed ? FIXED_WIDTH : 0);
  const lengths = [
    rows,
    tokenBytes.length,
    targets?.ends.length ?? 0,
    targetBytes.length,
    body.subjects.length,
    body.created.length,
    tail.length,
  ];
  for (const [i, value] of lengths.entries()) view.setUint32(SALT_BYTES + 4 + 4 * i, value, true);
  let at = HEAD_BYTES;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

/** The hash that the entry carries: SHA-256(salt ‖ body), 32 bytes, over `encodeBody`'s bytes. */
export const bodyHash = (encoded: Uint8Array): Uint8Array =>
  createHash('sha256').update(encoded).digest();

/** The body again; columns are copies. Strict: every length, order and reason is checked.
 *  Throws AuditError `malformed`. */
export function decodeBody(encoded: Uint8Array): Body {
  try {
    return parse(encoded);
  } catch (cause) {
    throw new AuditError('malformed', 'a body does not parse', undefined, cause);
  }
}

function parse(encoded: Uint8Array): Body {
  check(encoded.length >= HEAD_BYTES, 'too short');
  const view = new DataView(encoded.buffer, encoded.byteOffset, encoded.byteLength);
  const flags = encoded[SALT_BYTES + 1]!;
  check(encoded[SALT_BYTES] === VERSION && flags <= (HAS_TARGETS | FIXED_WIDTH), 'version');
  check(view.getUint16(SALT_BYTES + 2) === 0, 'padding');
  const length = (i: number): number => view.getUint32(SALT_BYTES + 4 + 4 * i, true);
  let at = HEAD_BYTES;
  const take = (count: number): Uint8Array => {
    check(at + count <= encoded.length, 'too short');
    at += count;
    return encoded.slice(at - count, at);
  };
  const rows = length(0);
  const hasTargets = (flags & HAS_TARGETS) !== 0;
  check(hasTargets || (length(2) === 0 && length(3) === 0), 'targets');
  const tokenEnds = (flags & FIXED_WIDTH) === 0 ? take(4 * rows) : fixedEnds(rows, length(1));
  const targetEnds = take(4 * length(2));
  const tokens = columnFrom(tokenEnds, take(length(1)));
  // One body has one encoding, so one hash.
  check(isFixed(tokens.ends, length(1)) === ((flags & FIXED_WIDTH) !== 0), 'width');
  const targets = columnFrom(targetEnds, take(length(3)));
  const subjects = take(length(4));
  const created = take(length(5));
  const tail = take(length(6));
  check(at === encoded.length, 'trailing bytes');
  check(subjectsFit(subjects.length, rows) && createdFit(created.length, rows), 'columns');
  return {
    salt: encoded.slice(0, SALT_BYTES),
    tokens,
    ...(hasTargets ? { targets } : {}),
    subjects,
    created,
    ...tailFrom(tail),
  };
}

const subjectsFit = (bytes: number, rows: number): boolean =>
  bytes === 0 || bytes === SUBJECT_BYTES || bytes === SUBJECT_BYTES * rows;

const createdFit = (bytes: number, rows: number): boolean => bytes === 0 || bytes === rows;

/** More than one row, and all of one length above 0. */
function isFixed(ends: Uint32Array, bytes: number): boolean {
  const rows = ends.length;
  if (rows < 2 || bytes === 0 || bytes % rows !== 0) return false;
  const width = bytes / rows;
  for (let i = 0, end = width; i < rows; i++, end += width) if (ends[i] !== end) return false;
  return true;
}

function fixedEnds(rows: number, bytes: number): Uint8Array {
  check(rows >= 2 && bytes > 0 && bytes % rows === 0, 'width');
  const ends = new Uint32Array(rows);
  for (let i = 0; i < rows; i++) ends[i] = (i + 1) * (bytes / rows);
  return bytesOf(ends);
}

const used = (column: Column): Uint8Array =>
  column.bytes.subarray(0, column.ends[column.ends.length - 1] ?? 0);

const bytesOf = (ends: Uint32Array): Uint8Array =>
  new Uint8Array(ends.buffer, ends.byteOffset, ends.byteLength);

function columnFrom(endBytes: Uint8Array, bytes: Uint8Array): Column {
  const ends = new Uint32Array(endBytes.length / 4);
  bytesOf(ends).set(endBytes);
  let last = 0;
  for (const end of ends) {
    check(end >= last, 'order of a column');
    last = end;
  }
  check(last === bytes.length, 'length of a column');
  return { bytes, ends };
}

/** Errors as [reason, [index…]] groups would lose their order; they are [index, reason] pairs. */
function tailOf(body: Body): Uint8Array {
  if (body.errors.length === 0 && body.notices.length === 0) return EMPTY;
  return Buffer.from(
    JSON.stringify({
      errors: body.errors.map(({ index, reason }) => [index, reason]),
      notices: body.notices.map(({ reason, indexes }) => [reason, indexes]),
    }),
  );
}

function tailFrom(tail: Uint8Array): Pick<Body, 'errors' | 'notices'> {
  if (tail.length === 0) return { errors: [], notices: [] };
  const json: unknown = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(tail));
  check(typeof json === 'object' && json !== null, 'tail');
  const { errors, notices } = json as { errors?: unknown; notices?: unknown };
  const found = {
    errors: list(errors).map((pair): ItemError => {
      const [index, reason] = list(pair);
      check(typeof reason === 'string' && Object.hasOwn(REASONS, reason), 'reason');
      return { index: place(index), reason: reason as Reason };
    }),
    notices: list(notices).map((pair): BodyNotice => {
      const [reason, indexes] = list(pair);
      check(typeof reason === 'string', 'reason');
      return { reason: reason as string, indexes: list(indexes).map(place) };
    }),
  };
  ascending(found.errors.map(({ index }) => index));
  for (const { indexes } of found.notices) ascending(indexes);
  return found;
}

function list(value: unknown): readonly unknown[] {
  if (!Array.isArray(value)) throw new RangeError('list');
  return value;
}

function place(value: unknown): number {
  if (!Number.isSafeInteger(value) || (value as number) < 0) throw new RangeError('place');
  return value as number;
}

function ascending(places: readonly number[]): void {
  for (let i = 1; i < places.length; i++) check(places[i]! > places[i - 1]!, 'order of places');
}

function check(holds: boolean, what: string): void {
  if (!holds) throw new RangeError(what);
}
