import { type Column, ColumnWriter, rowStart } from '../../base/column.ts';
import type { NumeralRows } from '../../modes/ff1.ts';
import { FAULT, type FormatBase, type Sorted, Sorter } from './format.ts';
import { luhnDigit } from './luhn-digit.ts';

/** Strings over one alphabet, permuted digit for digit (SP 800-38G FF1): the numerals of a row
 *  are its characters in order, separators left where they stand, so any other FF1 library gives
 *  the same token for the same key and tweak. */
export interface RadixFormat extends FormatBase {
  readonly family: 'radix';
  /** Numeral → byte; its length is the radix. */
  readonly alphabet: Uint8Array;
  /** Byte → numeral, `SEPARATOR` or `FOREIGN`; 256 entries. */
  readonly classes: Int16Array;
  /** Characters a value has, a check digit included. */
  readonly min: number;
  readonly max: number;
  /** The last character is a Luhn digit over the others; FF1 does not see it. */
  readonly luhn: boolean;
  /** A value of one character repeated (0000000) is a placeholder. */
  readonly repeatsAreFiller: boolean;
  /** What surrounds and checks a value. */
  readonly value: Dress;
  /** What surrounds and checks a token, by safety; X is undefined where no dress makes a token
   *  certain to fail the reader of values. */
  readonly token: { readonly valid: Dress; readonly neverReal: Dress | undefined };
}

/** What goes around the characters that FF1 permutes. */
export interface Dress {
  readonly lead: Uint8Array;
  readonly tail: Uint8Array;
  /** Added to the Luhn digit, mod 10: 0 is valid, anything else can never be. */
  readonly checkShift: number;
}

export const SEPARATOR = -2;
export const FOREIGN = -1;

export interface RadixRead extends Sorted {
  /** The good rows in order; fit for `encryptRows`. */
  readonly rows: NumeralRows;
}

/** Reads a column of values or of tokens, as the dress says. `fillers` refuses placeholders. */
export function readRadix(
  format: RadixFormat,
  dress: Dress,
  column: Column,
  fillers: boolean,
): RadixRead {
  const plain = readPlain(format, dress, column);
  if (plain !== undefined) return plain;
  const { bytes, ends } = column;
  const rows = ends.length;
  const numerals = new Uint16Array(rows === 0 ? 0 : ends[rows - 1]!);
  const numeralEnds = new Uint32Array(rows);
  const sorter = new Sorter(rows);
  const seek = fillers && format.repeatsAreFiller;
  // A check digit stands behind the numerals that FF1 sees.
  const extra = format.luhn ? 1 : 0;
  let at = 0;
  let kept = 0;
  let start = 0;
  for (let row = 0; row < rows; row++) {
    const end = ends[row]!;
    const next = readRow(format, dress, bytes, start, end, numerals, at);
    if (next < 0) sorter.fail(row, end === start ? FAULT.empty : -next);
    else if (seek && isRepeat(numerals, at, next + extra)) sorter.fail(row, FAULT.placeholder);
    else {
      at = next;
      numeralEnds[kept++] = at;
    }
    start = end;
  }
  const used = kept === rows ? numeralEnds : numeralEnds.subarray(0, kept);
  const radix = format.alphabet.length;
  return { rows: { radix, numerals: numerals.subarray(0, at), ends: used }, ...sorter.finish() };
}

/** The common batch in one sweep over its bytes: nothing but numerals, every length right. Answers
 *  undefined for any other, which is then read row by row. */
function readPlain(format: RadixFormat, dress: Dress, column: Column): RadixRead | undefined {
  if (dress.lead.length + dress.tail.length > 0) return undefined;
  if (format.luhn || format.repeatsAreFiller) return undefined;
  const { classes, min, max } = format;
  const { bytes, ends } = column;
  const rows = ends.length;
  let start = 0;
  for (let row = 0; row < rows; row++) {
    const length = ends[row]! - start;
    if (length < min || length > max) return undefined;
    start = ends[row]!;
  }
  const numerals = new Uint16Array(start);
  let signs = 0;
  for (let i = 0; i < start; i++) {
    const numeral = classes[bytes[i]!]!;
    numerals[i] = numeral;
    signs |= numeral;
  }
  if (signs < 0) return undefined;
  return { rows: { radix: format.alphabet.length, numerals, ends }, good: null, faults: null };
}

/** Numerals of one row from `at` on; answers where they end, or minus a fault. */
function readRow(
  format: RadixFormat,
  dress: Dress,
  bytes: Uint8Array,
  start: number,
  end: number,
  numerals: Uint16Array,
  at: number,
): number {
  const { classes } = format;
  const from = start + dress.lead.length;
  const to = end - dress.tail.length;
  if (from !== start || to !== end) {
    if (from > to || !bytesAt(bytes, start, dress.lead)) return -FAULT.malformed;
    if (!bytesAt(bytes, to, dress.tail)) return -FAULT.malformed;
  }
  let next = at;
  for (let i = from; i < to; i++) {
    const numeral = classes[bytes[i]!]!;
    if (numeral >= 0) numerals[next++] = numeral;
    else if (numeral !== SEPARATOR) return -FAULT.malformed;
  }
  const count = next - at;
  if (count < format.min || count > format.max) return -FAULT.malformed;
  if (!format.luhn) return next;
  next--;
  const wanted = (luhnDigit(numerals, at, next) + dress.checkShift) % 10;
  return numerals[next] === wanted ? next : -FAULT.check;
}

/** Writes rows as values or tokens, as `dress` says. Row i takes its separators from row
 *  `good[i]` of the template (read in the dress `from`) where the characters are as many; no
 *  template, or another number of them: no separators. */
export function writeRadix(
  format: RadixFormat,
  dress: Dress,
  rows: NumeralRows,
  template: { column: Column; from: Dress; good: Uint32Array | null } | undefined,
): Column {
  const { numerals, ends } = rows;
  const extra = dress.lead.length + dress.tail.length + (format.luhn ? 1 : 0);
  if (extra === 0 && template?.good === null && !hasSeparators(rows, template.column)) {
    return writeAll(format.alphabet, rows);
  }
  const hint = (template?.column.bytes.length ?? numerals.length) + ends.length * extra;
  const out = new ColumnWriter(ends.length, hint);
  let start = 0;
  for (let row = 0; row < ends.length; row++) {
    const end = ends[row]!;
    if (dress.lead.length > 0) out.append(dress.lead);
    if (template === undefined) {
      writePlain(format, dress, numerals, start, end, out);
    } else {
      const source = template.good === null ? row : template.good[row]!;
      const from = rowStart(template.column, source) + template.from.lead.length;
      const to = template.column.ends[source]! - template.from.tail.length;
      const count = end - start + (format.luhn ? 1 : 0);
      if (to - from === count || symbolsOf(format, template.column.bytes, from, to) !== count) {
        writePlain(format, dress, numerals, start, end, out);
      } else {
        writeLike(format, dress, numerals, start, end, template.column.bytes, from, to, out);
      }
    }
    if (dress.tail.length > 0) out.append(dress.tail);
    out.endRow();
    start = end;
  }
  return out.finish();
}

/** Whether a row of a template in no dress, read whole, has not one byte a numeral. */
function hasSeparators({ ends }: NumeralRows, template: Column): boolean {
  if (ends.length !== template.ends.length) return true;
  for (let row = 0; row < ends.length; row++) if (ends[row] !== template.ends[row]) return true;
  return false;
}

/** The common batch: byte i is numeral i. */
function writeAll(alphabet: Uint8Array, rows: NumeralRows): Column {
  const { numerals, ends } = rows;
  const length = ends.length === 0 ? 0 : ends[ends.length - 1]!;
  const bytes = new Uint8Array(length);
  for (let i = 0; i < length; i++) bytes[i] = alphabet[numerals[i]!]!;
  return { bytes, ends: ends.slice() };
}

function writePlain(
  format: RadixFormat,
  dress: Dress,
  numerals: Uint16Array,
  start: number,
  end: number,
  out: ColumnWriter,
): void {
  const { alphabet } = format;
  out.reserve(end - start + 1);
  const bytes = out.bytes;
  let at = out.length;
  for (let i = start; i < end; i++) bytes[at++] = alphabet[numerals[i]!]!;
  if (format.luhn) {
    bytes[at++] = alphabet[(luhnDigit(numerals, start, end) + dress.checkShift) % 10]!;
  }
  out.length = at;
}

/** As the template's row [from, to): its characters replaced in order, its separators kept. */
function writeLike(
  format: RadixFormat,
  dress: Dress,
  numerals: Uint16Array,
  start: number,
  end: number,
  like: Uint8Array,
  from: number,
  to: number,
  out: ColumnWriter,
): void {
  const { alphabet, classes } = format;
  out.reserve(to - from);
  let next = start;
  for (let i = from; i < to; i++) {
    const byte = like[i]!;
    if (classes[byte]! < 0) out.bytes[out.length++] = byte;
    else if (next < end) out.bytes[out.length++] = alphabet[numerals[next++]!]!;
    else {
      const digit = (luhnDigit(numerals, start, end) + dress.checkShift) % 10;
      out.bytes[out.length++] = alphabet[digit]!;
    }
  }
}

function symbolsOf(format: RadixFormat, bytes: Uint8Array, from: number, to: number): number {
  let count = 0;
  for (let i = from; i < to; i++) if (format.classes[bytes[i]!]! >= 0) count++;
  return count;
}

function bytesAt(bytes: Uint8Array, at: number, wanted: Uint8Array): boolean {
  for (let i = 0; i < wanted.length; i++) if (bytes[at + i] !== wanted[i]) return false;
  return true;
}

function isRepeat(numerals: Uint16Array, start: number, end: number): boolean {
  for (let i = start + 1; i < end; i++) if (numerals[i] !== numerals[start]) return false;
  return true;
}
