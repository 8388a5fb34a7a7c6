import type { ColumnWriter } from '../../base/column.ts';

const STAR = 0x2a;

/** A star for every letter and digit; punctuation stays. For formats of fixed shape, where the
 *  length says nothing. */
export function stars(out: ColumnWriter, bytes: Uint8Array, start: number, end: number): void {
  starsBut(out, bytes, start, end, 0);
}

/** As `stars`, with the last `shown` letters or digits left readable. */
export function starsBut(
  out: ColumnWriter,
  bytes: Uint8Array,
  start: number,
  end: number,
  shown: number,
): void {
  let count = 0;
  for (let i = start; i < end; i++) if (isSymbol(bytes[i]!)) count++;
  out.reserve(end - start);
  for (let i = start; i < end; i++) {
    const byte = bytes[i]!;
    const hide = isSymbol(byte) && count-- > shown;
    out.bytes[out.length++] = hide ? STAR : byte;
  }
}

/** For values whose length would tell (text, names outside their shape): always eight stars. */
export function fixedStars(out: ColumnWriter): void {
  out.append(FIXED);
}

const FIXED = Buffer.from('********');

/** ASCII letters and digits, and every byte of a longer UTF-8 sequence. */
const isSymbol = (byte: number): boolean =>
  byte > 0x7f ||
  (byte >= 0x30 && byte <= 0x39) ||
  (byte >= 0x41 && byte <= 0x5a) ||
  (byte >= 0x61 && byte <= 0x7a);
