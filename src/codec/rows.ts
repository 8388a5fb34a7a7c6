import { type Column, ColumnWriter, rowStart } from '../base/column.ts';
import type { ItemError } from '../base/reason.ts';
import type { Distinct } from './dedupe.ts';
import type { CompiledDomain, PerItem } from './domain.ts';
import { FAULT, type Fault, hasReplacement, reasonOf } from './format/format.ts';

/** What a batch transform answers. Rows keep the items' order. */
export interface Encoded {
  /** Empty rows where `errors` names them. */
  readonly column: Column;
  /** Ascending by index. */
  readonly errors: readonly ItemError[];
  /** Distinct items of the batch: what quotas count. */
  readonly distinct: number;
  /** Items outside the format that got an opaque token, or gave one back; ascending. */
  readonly opaque: readonly number[];
  /** Items outside the format that were left as they are; ascending. */
  readonly passed: readonly number[];
}

/** The named rows of a column, copied; null means all, uncopied. */
export function takeRows(column: Column, rows: Uint32Array | null): Column {
  if (rows === null) return column;
  let total = 0;
  for (const row of rows) total += column.ends[row]! - rowStart(column, row);
  const out = new ColumnWriter(rows.length, total);
  for (const row of rows) {
    out.append(column.bytes, rowStart(column, row), column.ends[row]!);
    out.endRow();
  }
  return out.finish();
}

/** The named rows of a value an item; one value for all stays as it is. */
export const takeItems = (items: PerItem, rows: Uint32Array | null): PerItem =>
  items instanceof Uint8Array ? items : takeRows(items, rows);

/** `rows` of `outer`, which are themselves places in it: null stands for all. */
export function compose(outer: Uint32Array | null, inner: Uint32Array | null): Uint32Array | null {
  if (outer === null) return inner;
  if (inner === null) return outer;
  return inner.map((place) => outer[place]!);
}

/** What becomes of a value that a format's reader refused. Nothing damaged, empty or too long is
 *  ever passed or made opaque. */
export type Fate = 'reject' | 'opaque' | 'pass';

/** The fault to report, which may be graver than the reader's, and what becomes of the row. */
export function judgeRefused(
  domain: CompiledDomain,
  column: Column,
  row: number,
  fault: number,
): { fate: Fate; fault: Fault } {
  const start = rowStart(column, row);
  const end = column.ends[row]!;
  const grave = graveFault(domain, column.bytes, start, end);
  if (grave !== FAULT.none) return { fate: 'reject', fault: grave };
  const { onInvalid } = domain.spec;
  const fate = onInvalid === 'reject' ? 'reject' : onInvalid === 'pass' ? 'pass' : 'opaque';
  return { fate, fault: fault as Fault };
}

/** Faults that no setting forgives. */
export function graveFault(
  domain: CompiledDomain,
  bytes: Uint8Array,
  start: number,
  end: number,
): Fault {
  if (end === start) return FAULT.empty;
  if (end - start > domain.format.bytesMax) return FAULT.tooLong;
  return hasReplacement(bytes, start, end) ? FAULT.malformed : FAULT.none;
}

/** Puts the results of a batch together: distinct items back to all rows that equal them. Each
 *  distinct item has at most one source: a row of one of the added columns, or an error. */
export class Assembly {
  readonly #rows: number;
  readonly #distinct: Distinct;
  readonly #columns: Column[] = [];
  /** By distinct item: 0 nothing yet, n: row `#from` of column n − 1, FAILED: an error. */
  readonly #source: Uint8Array;
  readonly #from: Uint32Array;
  readonly #faults: Map<number, ItemError['reason']> = new Map();
  readonly #opaque: Set<number> = new Set();
  readonly #passed: Set<number> = new Set();

  constructor(rows: number, distinct: Distinct) {
    this.#rows = rows;
    this.#distinct = distinct;
    this.#source = new Uint8Array(distinct.count);
    this.#from = new Uint32Array(distinct.count);
  }

  /** Row i of `column` is the result of distinct item `items[i]` (null: of item i). */
  add(column: Column, items: Uint32Array | null, remark?: 'opaque' | 'passed'): void {
    this.#columns.push(column);
    const source = this.#columns.length;
    for (let i = 0; i < column.ends.length; i++) {
      const item = items === null ? i : items[i]!;
      this.#source[item] = source;
      this.#from[item] = i;
      if (remark === 'opaque') this.#opaque.add(item);
      if (remark === 'passed') this.#passed.add(item);
    }
  }

  fail(item: number, reason: ItemError['reason']): void {
    this.#faults.set(item, reason);
  }

  failFault(item: number, fault: number): void {
    this.fail(item, reasonOf(fault));
  }

  finish(): Encoded {
    const { places, count } = this.#distinct;
    const remarks = this.#opaque.size + this.#passed.size;
    if (places === null && this.#columns.length === 1 && this.#faults.size + remarks === 0) {
      const column = this.#columns[0]!;
      return { column, errors: [], distinct: count, opaque: [], passed: [] };
    }
    const errors: ItemError[] = [];
    const opaque: number[] = [];
    const passed: number[] = [];
    const hint = this.#columns.reduce((sum, column) => sum + column.bytes.length, 16);
    const out = new ColumnWriter(this.#rows, Math.ceil((hint * this.#rows) / Math.max(1, count)));
    for (let row = 0; row < this.#rows; row++) {
      const item = places === null ? row : places[row]!;
      const column = this.#columns[this.#source[item]! - 1];
      const reason = this.#faults.get(item);
      if (reason !== undefined) errors.push({ index: row, reason });
      else if (column !== undefined) {
        const from = this.#from[item]!;
        out.append(column.bytes, rowStart(column, from), column.ends[from]!);
        if (this.#opaque.has(item)) opaque.push(row);
        if (this.#passed.has(item)) passed.push(row);
      }
      out.endRow();
    }
    return { column: out.finish(), errors, distinct: count, opaque, passed };
  }
}
