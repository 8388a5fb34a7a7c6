import assert from 'node:assert';
import { createHash } from 'node:crypto';
import { type Column, rowStart } from '../base/column.ts';

/** Longest plain text, in bytes, that RFC 5297 seals as it stands. CMAC is serial inside one
 *  message, a key call a block, so a longer one is hashed first. */
export const SHORT_BYTES_MAX = 256;

/** What a long message's CMAC begins with: one block, so that its encryption is kept by the key.
 *  It keeps the two constructions apart under one key. RFC 5297 macs the zero block, the
 *  associated strings and T. The first differs; a string that begins so is refused; and the end
 *  of T is masked by D, which is secret, so that no T can be chosen to be `tag ‖ digest`. */
export const LONG_TAG = Buffer.from('lockstep/long-v1', 'ascii');

/** SHA-256([count]⁴ ‖ [length]⁴ ‖ string … ‖ message) of one row, 32 bytes, where the strings are
 *  its associated data in order. Counts and lengths are big-endian. */
export function longDigest(
  associated: readonly (Uint8Array | Column)[],
  plain: Column,
  row: number,
): Uint8Array {
  const head = createHash('sha256').update(lengthOf(associated.length));
  for (const part of associated) {
    const string = spanOf(part, row);
    head.update(lengthOf(string.length)).update(string);
  }
  return head.update(plain.bytes.subarray(rowStart(plain, row), plain.ends[row]!)).digest();
}

function lengthOf(count: number): Uint8Array {
  return Uint8Array.of(count >>> 24, count >>> 16, count >>> 8, count);
}

/** Refuses associated data that could pose as a long message. */
export function assertApart(associated: readonly (Uint8Array | Column)[], rows: number): void {
  for (const part of associated) {
    if (part instanceof Uint8Array) {
      assert(!beginsWithTag(part, 0, part.length), 'associated data begins with the long tag');
      continue;
    }
    assert(part.ends.length === rows, 'there is not one associated string a row');
    let start = 0;
    for (let row = 0; row < rows; row++) {
      const end = part.ends[row]!;
      assert(!beginsWithTag(part.bytes, start, end), 'associated data begins with the long tag');
      start = end;
    }
  }
}

function beginsWithTag(bytes: Uint8Array, from: number, to: number): boolean {
  if (to - from < LONG_TAG.length) return false;
  for (let i = 0; i < LONG_TAG.length; i++) if (bytes[from + i] !== LONG_TAG[i]) return false;
  return true;
}

const spanOf = (part: Uint8Array | Column, row: number): Uint8Array =>
  part instanceof Uint8Array ? part : part.bytes.subarray(rowStart(part, row), part.ends[row]!);
