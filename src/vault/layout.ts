/** Where the vault keeps what. Keys begin with one letter, numbers are big-endian so that they
 *  sort; a domain is its number, so that no name is in the files. */
export const PREFIX = {
  /** a ‖ domain u32 ‖ counter u64 → rules of a token, and what became of it. */
  rules: 0x61,
  /** b ‖ subject 16 ‖ domain u32 ‖ counter u64 → check u32: a token of the subject. */
  subject: 0x62,
  /** c ‖ domain u32 ‖ counter u64 ‖ subject 16 → check u32: a subject that shares the record. */
  sharer: 0x63,
  /** d ‖ domain id (UTF-8) → domain row. */
  domain: 0x64,
  /** e ‖ domain u32 ‖ counter u64 → commit u64 ‖ mode u8: erased for good, never minted or imported
   *  again. */
  erased: 0x65,
  /** g ‖ group u64 → commit number; the last GROUPS_KEPT of them, without a gap. */
  group: 0x67,
  /** i ‖ domain u32 ‖ index 16 → counter u64 ‖ check u32. */
  index: 0x69,
  /** k ‖ subject 16 ‖ other subject 16 ‖ merge (26 characters) → role 1 ‖ organisation (UTF-8): ids
   *  of one patient, a row for each direction. */
  alias: 0x6b,
  /** l ‖ domain u32 ‖ index 16 ‖ counter u64 → nothing: one of several tokens of a value. */
  listed: 0x6c,
  /** m ‖ name → identity and head. */
  meta: 0x6d,
  /** n ‖ domain u32 → running numbers of the domain. */
  running: 0x6e,
  /** o ‖ commit u64 → a leaf that may not be in the log yet. */
  outbox: 0x6f,
  /** q ‖ request key 16 → what the request did. */
  request: 0x71,
  /** r ‖ domain u32 ‖ counter u64 → sealed record. */
  record: 0x72,
  /** s ‖ name → state of another part of the engine. */
  state: 0x73,
  /** t ‖ domain u32 ‖ subject 16 → flags: what was erased or restricted of a subject in a domain
   *  without records. */
  tombstone: 0x74,
  /** x ‖ expiry u64 ‖ request key 16 → nothing: the order in which requests are forgotten. */
  expiry: 0x78,
} as const;

export const INDEX_BYTES = 16;
export const REQUEST_KEY_BYTES = 16;
export const RECORD_KEY_BYTES = 13;
export const INDEX_KEY_BYTES = 21;
export const LISTED_KEY_BYTES = 29;
export const INDEX_ROW_BYTES = 12;

const TWO_32 = 0x1_0000_0000;

export function putU32(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 24;
  bytes[at + 1] = value >>> 16;
  bytes[at + 2] = value >>> 8;
  bytes[at + 3] = value;
}

/** `value` is a whole number from 0 to 2^53. */
export function putU64(bytes: Uint8Array, at: number, value: number): void {
  putU32(bytes, at, Math.floor(value / TWO_32));
  putU32(bytes, at + 4, value >>> 0);
}

export const getU32 = (bytes: Uint8Array, at: number): number =>
  ((bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!) >>> 0;

export const getU64 = (bytes: Uint8Array, at: number): number =>
  getU32(bytes, at) * TWO_32 + getU32(bytes, at + 4);

/** One key of a letter and some text. */
export const textKey = (prefix: number, text: string): Uint8Array =>
  Buffer.concat([Uint8Array.of(prefix), Buffer.from(text, 'utf8')]);

export function numberKey(prefix: number, value: number): Uint8Array {
  const key = new Uint8Array(9);
  key[0] = prefix;
  putU64(key, 1, value);
  return key;
}

export function domainKey(prefix: number, domain: number): Uint8Array {
  const key = new Uint8Array(5);
  key[0] = prefix;
  putU32(key, 1, domain);
  return key;
}

export function requestKey(key: Uint8Array): Uint8Array {
  const row = new Uint8Array(1 + REQUEST_KEY_BYTES);
  row[0] = PREFIX.request;
  row.set(key, 1);
  return row;
}

export function expiryKey(expiresMs: number, key: Uint8Array): Uint8Array {
  const row = new Uint8Array(9 + REQUEST_KEY_BYTES);
  row[0] = PREFIX.expiry;
  putU64(row, 1, expiresMs);
  row.set(key, 9);
  return row;
}

/** The first key after all those that begin with `prefix` bytes. */
export function after(prefix: Uint8Array): Uint8Array {
  const end = Uint8Array.from(prefix); // Not slice: a Buffer's is a view.
  for (let i = end.length - 1; i >= 0; i--) {
    end[i] = (end[i]! + 1) & 0xff;
    if (end[i] !== 0) return end.subarray(0, i + 1);
  }
  return Uint8Array.of(0xff);
}

/** Keys of a whole column in one buffer, as views: row i is `size` bytes from i × size. */
export function viewsOf(bytes: Uint8Array, size: number): Uint8Array[] {
  const count = bytes.length / size;
  const views = new Array<Uint8Array>(count);
  for (let i = 0; i < count; i++) {
    views[i] = new Uint8Array(bytes.buffer, bytes.byteOffset + i * size, size);
  }
  return views;
}

export function recordKeys(domain: number, counters: Float64Array): Uint8Array {
  const keys = new Uint8Array(counters.length * RECORD_KEY_BYTES);
  for (let i = 0, at = 0; i < counters.length; i++, at += RECORD_KEY_BYTES) {
    keys[at] = PREFIX.record;
    putU32(keys, at + 1, domain);
    putU64(keys, at + 5, counters[i]!);
  }
  return keys;
}

/** `indexes` holds 16 bytes a row. */
export function indexKeys(domain: number, indexes: Uint8Array): Uint8Array {
  const count = indexes.length / INDEX_BYTES;
  const keys = new Uint8Array(count * INDEX_KEY_BYTES);
  for (let i = 0, at = 0, from = 0; i < count; i++, at += INDEX_KEY_BYTES) {
    keys[at] = PREFIX.index;
    putU32(keys, at + 1, domain);
    for (let j = 0; j < INDEX_BYTES; j++) keys[at + 5 + j] = indexes[from++]!;
  }
  return keys;
}

export function listedKeys(
  domain: number,
  indexes: Uint8Array,
  counters: Float64Array,
): Uint8Array {
  const keys = new Uint8Array(counters.length * LISTED_KEY_BYTES);
  for (let i = 0, at = 0, from = 0; i < counters.length; i++, at += LISTED_KEY_BYTES) {
    keys[at] = PREFIX.listed;
    putU32(keys, at + 1, domain);
    for (let j = 0; j < INDEX_BYTES; j++) keys[at + 5 + j] = indexes[from++]!;
    putU64(keys, at + 21, counters[i]!);
  }
  return keys;
}

/** Indexes as aligned 32-bit words, four a row: hashing and comparing by words is what keeps a
 *  batch's own work small. The words' value depends on the machine, equality does not. */
export function wordsOf(indexes: Uint8Array): Uint32Array {
  const words = new Uint32Array(indexes.length / 4);
  new Uint8Array(words.buffer).set(indexes);
  return words;
}
