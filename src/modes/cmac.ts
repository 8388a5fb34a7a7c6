import { type Column, rowStart } from '../base/column.ts';
import type { BlockKey } from '../keys/key.ts';
import { BLOCK_BYTES, BLOCK_WORDS, swap32 } from './blocks.ts';
import { Chains, type Subkeys } from './chains.ts';

/** AES-CMAC (RFC 4493, SP 800-38B) of every row: 16 bytes a row, in order. Lengths may differ.
 *  Key calls: the blocks of the longest row (an empty row has one), whatever the number of rows up
 *  to `key.blocksMax`; the first time a key is used one more, for its subkeys. */
export function cmacMany(key: BlockKey, messages: Column): Uint8Array {
  const count = messages.ends.length;
  const subkeys = subkeysOf(key);
  chains.start(count);
  try {
    const source = chains.addSource(messages.bytes);
    for (let row = 0; row < count; row++) {
      chains.add(source, rowStart(messages, row), messages.ends[row]!, true);
    }
    chains.run(key, subkeys);
    return chains.stateBytes.slice(0, count * BLOCK_BYTES);
  } finally {
    chains.wipe();
  }
}

/** AES-CMAC of one message, 16 bytes. */
export function cmac(key: BlockKey, message: Uint8Array): Uint8Array {
  return cmacMany(key, { bytes: message, ends: Uint32Array.of(message.length) });
}

/** Kept by the thread. */
const chains = new Chains();
const known = new WeakMap<BlockKey, Subkeys>();

/** K1 and K2 of a key (SP 800-38B §6.1): one key call, once a key object. */
export function subkeysOf(key: BlockKey): Subkeys {
  const old = known.get(key);
  if (old !== undefined) return old;
  const words = new Uint32Array(BLOCK_WORDS);
  key.encryptBlocks(new Uint8Array(words.buffer));
  const k1 = words.slice();
  doubleBlock(k1, 0);
  const k2 = k1.slice();
  doubleBlock(k2, 0);
  words.fill(0);
  const made = { k1, k2 };
  known.set(key, made);
  return made;
}

/** The block at word `at` doubled in GF(2^128), in place (RFC 5297 §2.3). No branch on its bits. */
export function doubleBlock(words: Uint32Array, at: number): void {
  const w0 = swap32(words[at]!);
  const w1 = swap32(words[at + 1]!);
  const w2 = swap32(words[at + 2]!);
  const w3 = swap32(words[at + 3]!);
  words[at] = swap32((w0 << 1) | (w1 >>> 31));
  words[at + 1] = swap32((w1 << 1) | (w2 >>> 31));
  words[at + 2] = swap32((w2 << 1) | (w3 >>> 31));
  words[at + 3] = swap32((w3 << 1) ^ (0x87 & (w0 >> 31)));
}
