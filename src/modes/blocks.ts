import assert from 'node:assert';
import type { BlockKey } from '../keys/key.ts';

export const BLOCK_BYTES = 16;
/** 32-bit words of a block. */
export const BLOCK_WORDS = 4;

// Block buffers are also read and written as words, in the byte order of the machine.
assert(new Uint8Array(Uint32Array.of(1).buffer)[0] === 1, 'the modes need a little-endian machine');

/** Big-endian bytes of a block as a number, from the machine's word, and back. */
export const swap32 = (word: number): number =>
  (word << 24) | ((word & 0xff00) << 8) | ((word >>> 8) & 0xff00) | (word >>> 24);

/** A buffer of blocks that a thread keeps and grows, so that no batch allocates one. It is lent
 *  to one synchronous call at a time; what was written is wiped before it is given back. */
export class BlockBuffer {
  bytes = new Uint8Array(0);
  words = new Uint32Array(0);
  view = new DataView(this.bytes.buffer);

  /** Room for `blocks` blocks. The old content is lost when the buffer grows. */
  reserve(blocks: number): void {
    if (this.bytes.length >= blocks * BLOCK_BYTES) return;
    const wanted = Math.max(1024, 2 ** Math.ceil(Math.log2(blocks)));
    this.wipe(this.bytes.length / BLOCK_BYTES);
    this.bytes = new Uint8Array(wanted * BLOCK_BYTES);
    this.words = new Uint32Array(this.bytes.buffer);
    this.view = new DataView(this.bytes.buffer);
  }

  /** The first `blocks` blocks of another buffer. */
  copyFrom(other: BlockBuffer, blocks: number): void {
    const count = blocks * BLOCK_WORDS;
    if (count === other.words.length) this.words.set(other.words);
    else this.words.set(other.words.subarray(0, count));
  }

  wipe(blocks: number): void {
    this.words.fill(0, 0, blocks * BLOCK_WORDS);
  }
}

/** AES-ECB in place over blocks [from, to), in as few key calls as `key.blocksMax` allows. */
export function encryptBlockRange(
  key: BlockKey,
  bytes: Uint8Array,
  from: number,
  to: number,
): void {
  for (let at = from; at < to; at += key.blocksMax) {
    const end = Math.min(to, at + key.blocksMax);
    key.encryptBlocks(bytes.subarray(at * BLOCK_BYTES, end * BLOCK_BYTES));
  }
}
