import { type Change, type Row, StoreError } from '../storage/store.ts';
import { getU32, getU64, PREFIX, putU32, putU64 } from './layout.ts';
import { indexCheck } from './rows.ts';

/* Two rows tie a subject to a record: b finds the records of a subject, c the subjects of a record
 * that several share. What is erased and what may be revealed hangs on them, so their value is a
 * check over the key: a flipped bit must not show as another patient. */

export const SUBJECT_BYTES = 16;
export const SUBJECT_KEY_BYTES = 29;
export const SHARER_KEY_BYTES = 29;
const CHECK_BYTES = 4;

/** b ‖ subject ‖ domain ‖ counter; the subject is the 16 bytes from `at`. */
export function subjectKey(
  domain: number,
  subjects: Uint8Array,
  at: number,
  counter: number,
): Uint8Array {
  const key = new Uint8Array(SUBJECT_KEY_BYTES);
  key[0] = PREFIX.subject;
  key.set(subjects.subarray(at, at + SUBJECT_BYTES), 1);
  putU32(key, 17, domain);
  putU64(key, 21, counter);
  return key;
}

/** c ‖ domain ‖ counter ‖ subject; likewise. */
export function sharerKey(
  domain: number,
  subjects: Uint8Array,
  at: number,
  counter: number,
): Uint8Array {
  const key = new Uint8Array(SHARER_KEY_BYTES);
  key[0] = PREFIX.sharer;
  putU32(key, 1, domain);
  putU64(key, 5, counter);
  key.set(subjects.subarray(at, at + SUBJECT_BYTES), 13);
  return key;
}

export function subjectChange(
  domain: number,
  subjects: Uint8Array,
  at: number,
  counter: number,
): Change {
  const key = subjectKey(domain, subjects, at, counter);
  return { type: 'put', key, value: checkOf(domain, subjects, at, counter) };
}

export function sharerChange(
  domain: number,
  subjects: Uint8Array,
  at: number,
  counter: number,
): Change {
  const key = sharerKey(domain, subjects, at, counter);
  return { type: 'put', key, value: checkOf(domain, subjects, at, counter) };
}

function checkOf(domain: number, subjects: Uint8Array, at: number, counter: number): Uint8Array {
  const value = new Uint8Array(CHECK_BYTES);
  putU32(value, 0, indexCheck(domain, subjects, at, counter));
  return value;
}

/** A b or c row, read back. */
export interface SubjectRow {
  /** Number of the domain. */
  readonly domain: number;
  readonly counter: number;
  /** 16 bytes, a copy. */
  readonly subject: Uint8Array;
}

/** Throws `StoreError('corrupt')` where the row does not prove itself. */
export function subjectRowOf({ key, value }: Row): SubjectRow {
  if (!provesItself(key, value)) {
    throw new StoreError('corrupt', new Error('a subject row of the vault does not prove itself'));
  }
  const shared = key[0] === PREFIX.sharer;
  const at = shared ? 13 : 1;
  return {
    domain: getU32(key, shared ? 1 : 17),
    counter: getU64(key, shared ? 5 : 21),
    subject: Uint8Array.from(key.subarray(at, at + SUBJECT_BYTES)),
  };
}

/** Of a b or c row: its check is over its key. */
export function provesItself(key: Uint8Array, value: Uint8Array): boolean {
  if (key.length !== SUBJECT_KEY_BYTES || value.length !== CHECK_BYTES) return false;
  const shared = key[0] === PREFIX.sharer;
  const domain = getU32(key, shared ? 1 : 17);
  const counter = getU64(key, shared ? 5 : 21);
  return getU32(value, 0) === indexCheck(domain, key, shared ? 13 : 1, counter);
}

/** Adds a row for each record with a subject; `subjects` holds 16 bytes a record, zeros for none.
 *  */
export function pushSubjectRows(
  changes: Change[],
  domain: number,
  subjects: Uint8Array,
  counters: Float64Array,
): void {
  for (let i = 0, at = 0; i < counters.length; i++, at += SUBJECT_BYTES) {
    if (isNobody(subjects, at)) continue;
    changes.push(subjectChange(domain, subjects, at, counters[i]!));
  }
}

export function isNobody(subjects: Uint8Array, at: number): boolean {
  for (let i = 0; i < SUBJECT_BYTES; i++) if (subjects[at + i] !== 0) return false;
  return true;
}
