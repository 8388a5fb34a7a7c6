import type { BlockKey } from '../keys/key.ts';
import { BLOCK_BYTES, BLOCK_WORDS, BlockBuffer, encryptBlockRange, swap32 } from './blocks.ts';

/** Which bytes are xored with which keystream: row i is data [starts[i], ends[i]), its synthetic
 *  IV the 16 bytes at ivStarts[i] of `ivs`. */
export interface CtrRows {
  readonly ivs: Uint8Array;
  readonly ivStarts: Uint32Array;
  readonly data: Uint8Array;
  readonly starts: Uint32Array;
  readonly ends: Uint32Array;
}

/** Kept by the thread. */
const stream = new BlockBuffer();

/** AES-CTR as SIV uses it (RFC 5297 §2.6): the counter starts from the IV with bits 31 and 63
 *  cleared, so that it never carries out of its last 32 bits. In place. The keystream of all rows
 *  is one key call for every `key.blocksMax` blocks, wherever a row begins. */
export function ctrRows(key: BlockKey, rows: CtrRows): void {
  const { data, starts, ends } = rows;
  const count = ends.length;
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  stream.reserve(Math.min(key.blocksMax, blocksOf(rows)));
  let row = 0;
  let block = 0;
  while (row < count) {
    const firstRow = row;
    const firstBlock = block;
    let filled = 0;
    for (; row < count && filled < key.blocksMax; block = 0) {
      const blocks = Math.ceil((ends[row]! - starts[row]!) / BLOCK_BYTES);
      const until = Math.min(blocks, block + key.blocksMax - filled);
      filled = writeCounters(rows, row, block, until, filled);
      if (until < blocks) {
        block = until;
        break;
      }
      row++;
    }
    encryptBlockRange(key, stream.bytes, 0, filled);
    let at = 0;
    for (let r = firstRow, b = firstBlock; at < filled; r++, b = 0) {
      const from = starts[r]! + b * BLOCK_BYTES;
      const to = Math.min(ends[r]!, from + (filled - at) * BLOCK_BYTES);
      xorStream(view, from, to, at);
      at += Math.ceil((to - from) / BLOCK_BYTES);
    }
    stream.wipe(filled);
  }
}

function blocksOf({ starts, ends }: CtrRows): number {
  let blocks = 0;
  for (let row = 0; row < ends.length; row++) {
    blocks += Math.ceil((ends[row]! - starts[row]!) / BLOCK_BYTES);
  }
  return blocks;
}

/** Counters [block, until) of a row at `at` of the stream; returns where the next go. */
function writeCounters(
  rows: CtrRows,
  row: number,
  block: number,
  until: number,
  at: number,
): number {
  const { words, bytes } = stream;
  if (until <= block) return at;
  const iv = rows.ivStarts[row]!;
  for (let i = 0; i < BLOCK_BYTES; i++) bytes[at * BLOCK_BYTES + i] = rows.ivs[iv + i]!;
  const first = at * BLOCK_WORDS;
  const w0 = words[first]!;
  const w1 = words[first + 1]!;
  const w2 = words[first + 2]! & ~0x80;
  const counter = swap32(words[first + 3]!) & 0x7fffffff;
  let w = first;
  for (let b = block; b < until; b++, w += BLOCK_WORDS) {
    words[w] = w0;
    words[w + 1] = w1;
    words[w + 2] = w2;
    words[w + 3] = swap32(counter + b);
  }
  return at + until - block;
}

function xorStream(view: DataView, from: number, to: number, block: number): void {
  const { words, bytes } = stream;
  let at = from;
  let w = block * BLOCK_WORDS;
  for (; at + 4 <= to; at += 4, w++) {
    view.setUint32(at, view.getUint32(at, true) ^ words[w]!, true);
  }
  for (let s = w * 4; at < to; at++, s++) view.setUint8(at, view.getUint8(at) ^ bytes[s]!);
}
