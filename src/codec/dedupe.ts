import { randomBytes } from 'node:crypto';
import type { Column } from '../base/column.ts';
import type { PerItem } from './domain.ts';

/** The distinct items of a batch: equal rows in every column are one item. */
export interface Distinct {
  readonly count: number;
  /** By row: the first row equal to it. */
  readonly first: Uint32Array;
  /** The first rows, ascending; null where every row is distinct. */
  readonly rows: Uint32Array | null;
  /** By row: its place in `rows`; null likewise. */
  readonly places: Uint32Array | null;
}

/** Finds equal items by an open-addressing table over the rows' bytes; no strings, no objects an
 *  item. A single `PerItem` value is the same for all and is not looked at. The hash is seeded per
 *  process, so that nobody can send rows that all collide. */
export function dedupe(values: Column, ...others: readonly PerItem[]): Distinct {
  const columns = [values];
  for (const other of others) if (!(other instanceof Uint8Array)) columns.push(other);
  const rows = values.ends.length;
  const hashes = new Uint32Array(rows).fill(SEED);
  for (const column of columns) hashColumn(column, hashes);
  const mask = tableSize(rows) - 1;
  if (table.length <= mask) table = new Uint32Array(mask + 1);
  else table.fill(0, 0, mask + 1);
  const first = new Uint32Array(rows);
  let count = 0;
  for (let row = 0; row < rows; row++) {
    const hash = hashes[row]!;
    let slot = hash & mask;
    let seen = table[slot]!;
    // A slot holds the row plus one; 0 is free.
    while (seen !== 0 && !(hashes[seen - 1] === hash && equalRows(columns, seen - 1, row))) {
      slot = (slot + 1) & mask;
      seen = table[slot]!;
    }
    if (seen === 0) {
      table[slot] = row + 1;
      first[row] = row;
      count++;
    } else first[row] = seen - 1;
  }
  return count === rows ? { count, first, rows: null, places: null } : listed(first, count);
}

const SEED = randomBytes(4).readUInt32LE();
/** Kept by the thread; holds row numbers only. */
let table = new Uint32Array(4096);

/** A power of two, at most half full. */
const tableSize = (rows: number): number => 2 ** Math.ceil(Math.log2(Math.max(8, rows * 2)));

function listed(first: Uint32Array, count: number): Distinct {
  const rows = new Uint32Array(count);
  const places = new Uint32Array(first.length);
  let at = 0;
  for (let row = 0; row < first.length; row++) {
    if (first[row] === row) {
      places[row] = at;
      rows[at++] = row;
    } else places[row] = places[first[row]!]!;
  }
  return { count, first, rows, places };
}

/** Folds each row, with its length, into its hash. */
function hashColumn(column: Column, hashes: Uint32Array): void {
  const { bytes, ends } = column;
  let start = 0;
  for (let row = 0; row < ends.length; row++) {
    const end = ends[row]!;
    let hash = hashes[row]! ^ (end - start);
    let i = start;
    for (; i + 3 < end; i += 4) {
      const word = bytes[i]! | (bytes[i + 1]! << 8) | (bytes[i + 2]! << 16) | (bytes[i + 3]! << 24);
      hash = Math.imul(hash ^ word, 0x9e3779b1);
      hash ^= hash >>> 15;
    }
    for (; i < end; i++) hash = Math.imul(hash ^ bytes[i]!, 0x85ebca6b) ^ (hash >>> 13);
    hash = Math.imul(hash ^ (hash >>> 16), 0xc2b2ae35);
    hashes[row] = hash ^ (hash >>> 13);
    start = end;
  }
}

function equalRows(columns: readonly Column[], a: number, b: number): boolean {
  for (const { bytes, ends } of columns) {
    const startA = a === 0 ? 0 : ends[a - 1]!;
    const startB = b === 0 ? 0 : ends[b - 1]!;
    const length = ends[a]! - startA;
    if (length !== ends[b]! - startB) return false;
    for (let i = 0; i < length; i++) if (bytes[startA + i] !== bytes[startB + i]) return false;
  }
  return true;
}
