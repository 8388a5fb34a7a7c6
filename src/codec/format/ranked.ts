import { type Column, ColumnWriter, rowStart } from '../../base/column.ts';
import { FAULT, type FormatBase, type Sorted, Sorter } from './format.ts';

/** Fixed shapes with rules, where a plain radix string would produce non-members: each member
 *  has a number (its rank) in [0, size), and FF1 permutes the numbers by cycle walking. */
export interface RankedFormat extends FormatBase {
  readonly family: 'ranked';
  /** The members, one language a shape (E.164: one a length). A token of FPE stays in its
   *  value's language, so it keeps the shape. */
  readonly valid: readonly Language[];
  /** Mode X: members certain to fail the reader of values. FPE in X maps by rank from `valid[0]`,
   *  so it must be at least as large; undefined where the format has no such range. */
  readonly neverReal: Language | undefined;
  /** The language of `valid` that vaulted tokens are drawn from in mode V. */
  readonly drawn: Language;
  /** Written before a token that has no template, e.g. `+`. */
  readonly lead: Uint8Array;
  /** Byte → 1 where it is a symbol, 0 where it is punctuation that a template keeps. */
  readonly symbolBytes: Uint8Array;
  /** Symbols of a row (case folded, punctuation dropped) into `symbols`; answers their count, or
   *  −1 where the punctuation or a byte is not of the format. Never writes past `symbols`. */
  squeeze(bytes: Uint8Array, start: number, end: number, symbols: Uint8Array): number;
  /** Which of `valid` a value of these symbols belongs to by its shape; −1 for none. */
  shapeOf(symbols: Uint8Array, count: number): number;
  /** Whether a member is a well-known placeholder. */
  isFiller(symbols: Uint8Array, count: number): boolean;
}

/** A finite language of equally long strings with numbers for its members. */
export interface Language {
  /** Below 2^53. */
  readonly size: number;
  /** Symbols of every member. */
  readonly length: number;
  /** Number of the member in `symbols[0, length)`, or minus a fault. */
  rank(symbols: Uint8Array): number;
  /** Writes the member of that number to `symbols[0, length)`. */
  unrank(rank: number, symbols: Uint8Array): void;
}

export interface RankedRead extends Sorted {
  /** By good row, in order: its number, and its place in `languages`. */
  readonly ranks: Float64Array;
  readonly shapes: Uint8Array;
}

/** One row's symbols; the codec is synchronous inside one thread, so one is enough. */
const scratch = new Uint8Array(64);

/** Reads values: members of `valid`, placeholders refused. */
export function readMembers(format: RankedFormat, column: Column): RankedRead {
  return read(column, (bytes, start, end, out) => {
    const count = format.squeeze(bytes, start, end, scratch);
    const shape = count < 0 ? -1 : format.shapeOf(scratch, count);
    if (shape < 0) return -FAULT.malformed;
    const rank = format.valid[shape]!.rank(scratch);
    if (rank >= 0 && format.isFiller(scratch, count)) return -FAULT.placeholder;
    out.shape = shape;
    return rank;
  });
}

/** Reads tokens of the languages. Members numbered `limit` and up were never made. */
export function readTokens(
  format: RankedFormat,
  languages: readonly Language[],
  limit: number,
  column: Column,
): RankedRead {
  const single = languages.length === 1 ? languages[0]! : undefined;
  return read(column, (bytes, start, end, out) => {
    const count = format.squeeze(bytes, start, end, scratch);
    if (count < 0) return -FAULT.malformed;
    const shape = single === undefined ? format.shapeOf(scratch, count) : 0;
    const language = languages[shape];
    if (language === undefined || count !== language.length) return -FAULT.malformed;
    out.shape = shape;
    const rank = language.rank(scratch);
    return rank >= limit ? -FAULT.malformed : rank;
  });
}

function read(
  column: Column,
  readRow: (bytes: Uint8Array, start: number, end: number, out: { shape: number }) => number,
): RankedRead {
  const { bytes, ends } = column;
  const ranks = new Float64Array(ends.length);
  const shapes = new Uint8Array(ends.length);
  const sorter = new Sorter(ends.length);
  const out = { shape: 0 };
  let kept = 0;
  let start = 0;
  for (let row = 0; row < ends.length; row++) {
    const end = ends[row]!;
    const rank = end === start ? -FAULT.empty : readRow(bytes, start, end, out);
    if (rank < 0) sorter.fail(row, -rank);
    else {
      ranks[kept] = rank;
      shapes[kept++] = out.shape;
    }
    start = end;
  }
  return { ranks: ranks.subarray(0, kept), shapes: shapes.subarray(0, kept), ...sorter.finish() };
}

/** Writes members. Row i takes its punctuation from row `good[i]` of the template where that has
 *  as many symbols, or more by ones that stay in front (a country code). */
export function writeMembers(
  format: RankedFormat,
  languages: readonly Language[],
  ranks: Float64Array,
  shapes: Uint8Array,
  template: { column: Column; good: Uint32Array | null } | undefined,
): Column {
  const hint = template?.column.bytes.length ?? ranks.length * (languages[0]!.length + 1);
  const out = new ColumnWriter(ranks.length, hint + 16);
  for (let row = 0; row < ranks.length; row++) {
    const language = languages[shapes[row]!]!;
    language.unrank(ranks[row]!, scratch);
    if (template === undefined) {
      out.append(format.lead);
      out.append(scratch, 0, language.length);
    } else {
      const source = template.good === null ? row : template.good[row]!;
      const from = rowStart(template.column, source);
      writeLike(format, language.length, template.column, from, source, out);
    }
    out.endRow();
  }
  return out.finish();
}

function writeLike(
  format: RankedFormat,
  length: number,
  like: Column,
  from: number,
  row: number,
  out: ColumnWriter,
): void {
  const { symbolBytes } = format;
  const to = like.ends[row]!;
  let front = -length;
  for (let i = from; i < to; i++) front += symbolBytes[like.bytes[i]!]!;
  // A country code may stand in front (phone); more than that is another shape.
  if (front < 0 || front > 1) {
    out.append(format.lead);
    out.append(scratch, 0, length);
    return;
  }
  out.reserve(to - from);
  // Not −front: that would be −0, which the compiler cannot keep as an integer.
  let next = 0 - front;
  for (let i = from; i < to; i++) {
    const byte = like.bytes[i]!;
    if (symbolBytes[byte] === 0) out.bytes[out.length++] = byte;
    else {
      out.bytes[out.length++] = next < 0 ? byte : scratch[next]!;
      next++;
    }
  }
}

/** A reader for fixed groups: punctuation of one kind, in every gap or in none. `fold` maps a
 *  byte to its symbol, 0 for none; `gaps` counts symbols before each gap. */
export function squeezeGroups(fold: Uint8Array, punctuation: string, gaps: readonly number[]) {
  return (bytes: Uint8Array, start: number, end: number, symbols: Uint8Array): number => {
    let count = 0;
    let seen = 0;
    let mark = 0;
    for (let i = start; i < end; i++) {
      const byte = bytes[i]!;
      const symbol = fold[byte]!;
      if (symbol !== 0) {
        if (count === symbols.length) return -1;
        symbols[count++] = symbol;
        continue;
      }
      if (!punctuation.includes(String.fromCharCode(byte))) return -1;
      if (count !== gaps[seen] || (seen > 0 && byte !== mark)) return -1;
      mark = byte;
      seen++;
    }
    return seen === 0 || seen === gaps.length ? count : -1;
  };
}

/** Byte → itself for the characters of `alphabet`, lower case folded up; 0 for all others. */
export function foldTable(alphabet: string): Uint8Array {
  const table = new Uint8Array(256);
  for (const char of alphabet) {
    table[char.charCodeAt(0)] = char.charCodeAt(0);
    table[char.toLowerCase().charCodeAt(0)] = char.charCodeAt(0);
  }
  return table;
}

/** Byte → 1 for what `fold` keeps. */
export const symbolTable = (fold: Uint8Array): Uint8Array => fold.map((byte) => (byte ? 1 : 0));

export const DIGITS = '0123456789';
const ZERO = 0x30;

/** Number in the decimal digits [start, end) of `symbols`. */
export function decimal(symbols: Uint8Array, start: number, end: number): number {
  let value = 0;
  for (let i = start; i < end; i++) value = value * 10 + symbols[i]! - ZERO;
  return value;
}

/** Decimal digits of `value` into [start, end), zeros in front. */
export function setDecimal(symbols: Uint8Array, start: number, end: number, value: number): void {
  let rest = value;
  let i = end - 1;
  // Numbers beyond 31 bits divide as floats until they fit; integer division is much cheaper.
  for (; rest > 0x7fffffff && i >= start; i--) {
    const next = Math.floor(rest / 10);
    symbols[i] = ZERO + rest - next * 10;
    rest = next;
  }
  let small = rest | 0;
  for (; i >= start; i--) {
    const next = (small / 10) | 0;
    symbols[i] = ZERO + small - next * 10;
    small = next;
  }
}
