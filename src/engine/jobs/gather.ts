import { type Column, ColumnWriter, rowCount, rowStart } from '../../base/column.ts';
import type { ItemError } from '../../base/reason.ts';
import type { PerItem } from '../../codec/domain.ts';
import type { Cells } from '../job.ts';

const NO_BYTES = new Uint8Array(0);

/** Columns one after the other; one alone is taken as it is. */
export function joinColumns(columns: readonly Column[]): Column {
  if (columns.length === 1) return columns[0]!;
  let rows = 0;
  let length = 0;
  for (const column of columns) {
    rows += rowCount(column);
    length += usedBytes(column);
  }
  const bytes = new Uint8Array(length);
  const ends = new Uint32Array(rows);
  let row = 0;
  let start = 0;
  for (const column of columns) {
    const used = usedBytes(column);
    bytes.set(column.bytes.subarray(0, used), start);
    for (const end of column.ends) ends[row++] = start + end;
    start += used;
  }
  return { bytes, ends };
}

const usedBytes = (column: Column): number => column.ends[column.ends.length - 1] ?? 0;

/** Rows from `from` up to `to`; their bytes are a view. */
export function rowsBetween(column: Column, from: number, to: number): Column {
  const start = rowStart(column, from);
  const end = to === from ? start : column.ends[to - 1]!;
  const bytes = column.bytes.subarray(start, end);
  if (start === 0) return { bytes, ends: column.ends.subarray(from, to) };
  const ends = column.ends.slice(from, to);
  for (let i = 0; i < ends.length; i++) ends[i] = ends[i]! - start;
  return { bytes, ends };
}

/** One value for all rows of all calls where they agree, else a column with a row an item. */
export function joinCells(cells: readonly Cells[], rows: readonly number[]): PerItem {
  const first = cells[0] ?? NO_BYTES;
  if (cells.length === 1) return first;
  if (cells.every((cell) => sameOne(cell ?? NO_BYTES, first))) return first;
  let total = 0;
  for (const count of rows) total += count;
  const out = new ColumnWriter(total, total * 16);
  for (const [i, cell] of cells.entries()) {
    for (let row = 0; row < rows[i]!; row++) {
      if (cell instanceof Uint8Array) out.append(cell);
      else if (cell !== undefined) out.append(cell.bytes, rowStart(cell, row), cell.ends[row]!);
      out.endRow();
    }
  }
  return out.finish();
}

function sameOne(one: Uint8Array | Column, other: Uint8Array | Column): boolean {
  if (!(one instanceof Uint8Array) || !(other instanceof Uint8Array)) return false;
  return Buffer.compare(one, other) === 0;
}

/** Those of ascending places that one call has, counted from its first row. By halving: a message
 *  of thousands of calls whose items all failed must not be read once a call. */
export function placesWithin(places: readonly number[], from: number, to: number): number[] {
  return cut(places, (place) => place, from, to).map((place) => place - from);
}

/** Likewise of errors. */
export function errorsWithin(errors: readonly ItemError[], from: number, to: number): ItemError[] {
  const own = cut(errors, ({ index }) => index, from, to);
  return own.map(({ index, reason }) => ({ index: index - from, reason }));
}

function cut<T>(list: readonly T[], at: (item: T) => number, from: number, to: number): T[] {
  const lower = (bound: number): number => {
    let low = 0;
    let high = list.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (at(list[middle]!) < bound) low = middle + 1;
      else high = middle;
    }
    return low;
  };
  return list.slice(lower(from), lower(to));
}

/** Where each call's rows start among the joined ones, and where the last ends. */
export function startsOf(rows: readonly number[]): number[] {
  const starts = [0];
  for (const count of rows) starts.push(starts.at(-1)! + count);
  return starts;
}

/** The named rows of fixed width. */
export function takeFixed(bytes: Uint8Array, width: number, rows: Uint32Array): Uint8Array {
  const out = new Uint8Array(rows.length * width);
  for (const [i, row] of rows.entries()) {
    out.set(bytes.subarray(row * width, (row + 1) * width), i * width);
  }
  return out;
}

/** The named rows of a column, copied. */
export function pickRows(column: Column, rows: ArrayLike<number> & Iterable<number>): Column {
  const out = new ColumnWriter(rows.length, rows.length * 16);
  for (const row of rows) {
    out.append(column.bytes, rowStart(column, row), column.ends[row]!);
    out.endRow();
  }
  return out.finish();
}

/** Rows of a narrower column at the places of a wider one, the others empty. */
export function spreadRows(column: Column, places: ArrayLike<number>, total: number): Column {
  const out = new ColumnWriter(total, usedBytes(column));
  for (let row = 0, next = 0; row < total; row++) {
    if (next < places.length && places[next] === row) {
      out.append(column.bytes, rowStart(column, next), column.ends[next]!);
      next += 1;
    }
    out.endRow();
  }
  return out.finish();
}

/** Equal widths as a column. */
export function fixedColumn(bytes: Uint8Array, width: number): Column {
  const ends = new Uint32Array(bytes.length / width);
  for (let i = 0; i < ends.length; i++) ends[i] = (i + 1) * width;
  return { bytes, ends };
}
