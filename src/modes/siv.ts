import { type Column, rowStart } from '../base/column.ts';
import type { BlockKey } from '../keys/key.ts';
import { BLOCK_BYTES } from './blocks.ts';
import { ctrRows } from './ctr.ts';
import { syntheticIvs } from './s2v.ts';

/** Bytes a sealed row is longer than its plain text. */
export const SIV_BYTES = BLOCK_BYTES;

/** AES-SIV (RFC 5297) of every row with the keys `mac` (K1) and `ctr` (K2): row = V(16) ‖ C. Each
 *  associated string is one for all rows or a column of one a row, in the order S2V takes them.
 *  Give constants first (their CMACs are kept by the key) and columns of one block (≤ 16 bytes)
 *  last. Rows above 256 bytes take the long form (long-siv.ts); one batch may mix. Deterministic.
 *  Key calls: those of `syntheticIvs`, and one for the keystream of every `blocksMax` blocks: with
 *  one counter column and plain texts of 1 to 32 bytes in whole blocks 2 + 1. */
export function sivSeal(
  mac: BlockKey,
  ctr: BlockKey,
  associated: readonly (Uint8Array | Column)[],
  plain: Column,
): Column {
  const rows = plain.ends.length;
  const ivs = syntheticIvs(mac, associated, plain);
  const ends = new Uint32Array(rows);
  for (let row = 0; row < rows; row++) ends[row] = plain.ends[row]! + (row + 1) * SIV_BYTES;
  const sealed = { bytes: new Uint8Array(rows === 0 ? 0 : ends[rows - 1]!), ends };
  const ivStarts = new Uint32Array(rows);
  const starts = new Uint32Array(rows);
  for (let row = 0; row < rows; row++) {
    const at = rowStart(sealed, row);
    ivStarts[row] = at;
    starts[row] = at + SIV_BYTES;
    copy(ivs, row * SIV_BYTES, (row + 1) * SIV_BYTES, sealed.bytes, at);
    copy(plain.bytes, rowStart(plain, row), plain.ends[row]!, sealed.bytes, at + SIV_BYTES);
  }
  ctrRows(ctr, { ivs: sealed.bytes, ivStarts, data: sealed.bytes, starts, ends });
  return sealed;
}

export interface Opened {
  /** Row i, empty where it did not open. */
  readonly plain: Column;
  /** 1 where the row opened, else 0. */
  readonly ok: Uint8Array;
}

/** Opens rows that `sivSeal` made. A row that is too short, or not sealed under these keys and
 *  this associated data, is an empty row with `ok` 0, and nothing of it is kept. The IVs are
 *  compared in constant time. Key calls as for `sivSeal`. */
export function sivOpen(
  mac: BlockKey,
  ctr: BlockKey,
  associated: readonly (Uint8Array | Column)[],
  sealed: Column,
): Opened {
  const rows = sealed.ends.length;
  const ivStarts = new Uint32Array(rows);
  const starts = new Uint32Array(rows);
  const ends = new Uint32Array(rows);
  const ok = new Uint8Array(rows);
  let end = 0;
  for (let row = 0; row < rows; row++) {
    const at = rowStart(sealed, row);
    const length = sealed.ends[row]! - at - SIV_BYTES;
    ok[row] = length >= 0 ? 1 : 0;
    ivStarts[row] = at;
    starts[row] = end;
    end += Math.max(0, length);
    ends[row] = end;
  }
  const bytes = new Uint8Array(end);
  for (let row = 0; row < rows; row++) {
    if (ok[row] === 1) {
      copy(sealed.bytes, ivStarts[row]! + SIV_BYTES, sealed.ends[row]!, bytes, starts[row]!);
    }
  }
  const plain = { bytes, ends };
  try {
    ctrRows(ctr, { ivs: sealed.bytes, ivStarts, data: bytes, starts, ends });
    const ivs = syntheticIvs(mac, associated, plain);
    for (let row = 0; row < rows; row++) {
      if (ok[row] === 0) continue;
      let difference = 0;
      for (let i = 0; i < SIV_BYTES; i++) {
        difference |= ivs[row * SIV_BYTES + i]! ^ sealed.bytes[ivStarts[row]! + i]!;
      }
      ok[row] = difference === 0 ? 1 : 0;
    }
  } catch (error) {
    bytes.fill(0);
    throw error;
  }
  return { plain: keepOpened(plain, ok), ok };
}

/** Closes the gaps of failed rows and wipes what is left behind. */
function keepOpened(plain: Column, ok: Uint8Array): Column {
  if (!ok.includes(0)) return plain;
  const { bytes, ends } = plain;
  let end = 0;
  let start = 0;
  for (let row = 0; row < ends.length; row++) {
    const next = ends[row]!;
    if (ok[row] === 1) {
      bytes.copyWithin(end, start, next);
      end += next - start;
    }
    ends[row] = end;
    start = next;
  }
  bytes.fill(0, end);
  return { bytes: bytes.subarray(0, end), ends };
}

function copy(source: Uint8Array, from: number, to: number, target: Uint8Array, at: number): void {
  if (to - from > 64) target.set(source.subarray(from, to), at);
  else for (let i = from, j = at; i < to; i++, j++) target[j] = source[i]!;
}
