import { crc32 } from 'node:zlib';
import { StoreError } from '../storage/store.ts';
import { getU32, getU64, INDEX_ROW_BYTES, putU32, putU64 } from './layout.ts';

/* LevelDB gives back a flipped bit as a value (facts.md F2), so each row of the vault proves
 * itself: records by their seal, all others by a check over key and value. The check finds
 * accidents, not a hand that writes to the disk: against that stand the seals, and the log. */

const CHECK_BYTES = 4;

/** The value with its check appended. */
export function checked(key: Uint8Array, value: Uint8Array): Uint8Array {
  const row = new Uint8Array(value.length + CHECK_BYTES);
  row.set(value);
  putU32(row, value.length, crc32(value, crc32(key)));
  return row;
}

/** The value without its check, a view; throws `StoreError('corrupt')`. */
export function proven(key: Uint8Array, row: Uint8Array): Uint8Array {
  const end = row.length - CHECK_BYTES;
  if (end < 0) throw new StoreError('corrupt', new Error('a row of the vault is cut off'));
  const value = row.subarray(0, end);
  if (crc32(value, crc32(key)) !== getU32(row, end)) {
    throw new StoreError('corrupt', new Error('a row of the vault does not prove itself'));
  }
  return value;
}

/** Check of an index row, over its key (domain number and 16 index bytes from `at`) and its
 *  counter: crc32 would cost a native call a row. The mixing is MurmurHash3's (public domain). */
export function indexCheck(domain: number, index: Uint8Array, at: number, counter: number): number {
  let hash = mix(0x6c6f636b, domain);
  hash = mix(hash, getU32(index, at));
  hash = mix(hash, getU32(index, at + 4));
  hash = mix(hash, getU32(index, at + 8));
  hash = mix(hash, getU32(index, at + 12));
  hash = mix(hash, Math.floor(counter / 0x1_0000_0000));
  hash = mix(hash, counter >>> 0);
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}

function mix(hash: number, word: number): number {
  let k = Math.imul(word, 0xcc9e2d51);
  k = Math.imul((k << 15) | (k >>> 17), 0x1b873593);
  const h = hash ^ k;
  return (Math.imul((h << 13) | (h >>> 19), 5) + 0xe6546b64) | 0;
}

/** Index rows of a column, in one buffer; `indexes` and `counters` row by row. */
export function indexRows(domain: number, indexes: Uint8Array, counters: Float64Array): Uint8Array {
  const rows = new Uint8Array(counters.length * INDEX_ROW_BYTES);
  for (let i = 0, at = 0; i < counters.length; i++, at += INDEX_ROW_BYTES) {
    putU64(rows, at, counters[i]!);
    putU32(rows, at + 8, indexCheck(domain, indexes, i * 16, counters[i]!));
  }
  return rows;
}

/** The counter of an index row; −1 where the row does not prove itself. */
export function counterOf(
  row: Uint8Array,
  domain: number,
  indexes: Uint8Array,
  at: number,
): number {
  if (row.length !== INDEX_ROW_BYTES) return -1;
  const counter = getU64(row, 0);
  return getU32(row, 8) === indexCheck(domain, indexes, at, counter) ? counter : -1;
}

/** How a domain finds its records again: `unique`, one counter an index (static tokens);
 *  `listed`, several counters an index (dynamic ones); `none`, by counter only. */
export type IndexKind = 'unique' | 'listed' | 'none';
const KINDS: readonly IndexKind[] = ['unique', 'listed', 'none'];

export interface DomainRow {
  readonly number: number;
  readonly index: IndexKind;
  /** Counters are below this. */
  readonly countersMax: number;
  /** Counters are drawn by chance and are the tokens' own ranks: the format is too small for a
   *  permutation (below 1,000,000 tokens). Elsewhere they ascend. */
  readonly drawn: boolean;
}

export function encodeDomain(row: DomainRow): Uint8Array {
  const bytes = new Uint8Array(14);
  putU32(bytes, 0, row.number);
  bytes[4] = KINDS.indexOf(row.index);
  putU64(bytes, 5, row.countersMax);
  bytes[13] = row.drawn ? 1 : 0;
  return bytes;
}

export function decodeDomain(bytes: Uint8Array): DomainRow {
  const index = KINDS[bytes[4] ?? 255];
  if (index === undefined || bytes.length !== 14) throw new StoreError('corrupt');
  return {
    number: getU32(bytes, 0),
    index,
    countersMax: getU64(bytes, 5),
    drawn: bytes[13] === 1,
  };
}

/** Running numbers of a domain. */
export interface RunningRow {
  /** No record, and so no answer, has a counter from here on; those below are not given out again.
   *  Only a counter whose call died before its commit can come a second time, after a crash. */
  readonly mark: number;
  /** Records there are. */
  readonly live: number;
  /** Tokens with a rules row; while there are none, reveals need not look for any. */
  readonly ruled: number;
  /** Counters, in use or erased since, that were not given out in order: imported, drawn, or set
   *  aside after a restore. While there are none, every counter from the mark on is free. */
  readonly placed: number;
  /** Erased for good. */
  readonly erased: number;
  /** Restored with neither log nor mark: nobody knows which counters are free, so none is given
   *  out any more. */
  readonly closed: boolean;
}

/** Of a domain without any row yet. */
export const RUNNING_START: RunningRow = {
  mark: 0,
  live: 0,
  ruled: 0,
  placed: 0,
  erased: 0,
  closed: false,
};

export function encodeRunning(row: RunningRow): Uint8Array {
  const bytes = new Uint8Array(41);
  putU64(bytes, 0, row.mark);
  putU64(bytes, 8, row.live);
  putU64(bytes, 16, row.ruled);
  putU64(bytes, 24, row.placed);
  putU64(bytes, 32, row.erased);
  bytes[40] = row.closed ? 1 : 0;
  return bytes;
}

export const decodeRunning = (bytes: Uint8Array): RunningRow => ({
  mark: getU64(bytes, 0),
  live: getU64(bytes, 8),
  ruled: getU64(bytes, 16),
  placed: getU64(bytes, 24),
  erased: getU64(bytes, 32),
  closed: bytes[40] === 1,
});

export interface HeadRow {
  /** Highest commit number there is. */
  readonly commit: number;
  /** Number of the last group, from 1. */
  readonly group: number;
  /** No outbox row has a lower commit number. */
  readonly outboxFrom: number;
  /** Leaves that the log holds at least: those whose outbox rows are gone. */
  readonly leaves: number;
}

export function encodeHead(row: HeadRow): Uint8Array {
  const bytes = new Uint8Array(32);
  putU64(bytes, 0, row.commit);
  putU64(bytes, 8, row.group);
  putU64(bytes, 16, row.outboxFrom);
  putU64(bytes, 24, row.leaves);
  return bytes;
}

export const decodeHead = (bytes: Uint8Array): HeadRow => ({
  commit: getU64(bytes, 0),
  group: getU64(bytes, 8),
  outboxFrom: getU64(bytes, 16),
  leaves: getU64(bytes, 24),
});
