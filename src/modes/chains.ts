import type { BlockKey } from '../keys/key.ts';
import { BLOCK_BYTES, BLOCK_WORDS, BlockBuffer, encryptBlockRange } from './blocks.ts';

/** The two subkeys of CMAC as machine words: E(0) doubled once and twice (SP 800-38B §6.1). */
export interface Subkeys {
  readonly k1: Uint32Array;
  readonly k2: Uint32Array;
}

/** CBC-MAC chains of many messages, one key call for the next block of all of them. Kept by the
 *  thread: `start`, `add` every message, `run`, read the states, `wipe`. */
export class Chains {
  /** State of chain i, four words: what it starts from (zero unless written), then its result. */
  get states(): Uint32Array {
    return this.#states.words;
  }
  get stateBytes(): Uint8Array {
    return this.#states.bytes;
  }
  count = 0;
  readonly #states = new BlockBuffer();
  readonly #places = new BlockBuffer();
  #sources: DataView[] = [];
  #sourceOf = new Uint8Array(0);
  #from = new Uint32Array(0);
  #to = new Uint32Array(0);
  #final = new Uint8Array(0);
  #blocks = new Uint32Array(0);
  #order = new Uint32Array(0);
  #blocksMin = 0;
  #blocksMax = 0;
  /** Chains with more than k blocks: the first of the order still run at block k. */
  #counts = new Uint32Array(0);

  /** Room for `chainsMax` chains, all states zero. */
  start(chainsMax: number): void {
    this.#states.reserve(chainsMax);
    this.#states.wipe(chainsMax);
    this.#sources = [];
    this.count = 0;
    this.#blocksMin = 0xffffffff;
    this.#blocksMax = 0;
    if (this.#from.length >= chainsMax) return;
    const size = Math.max(1024, 2 ** Math.ceil(Math.log2(chainsMax)));
    this.#sourceOf = new Uint8Array(size);
    this.#from = new Uint32Array(size);
    this.#to = new Uint32Array(size);
    this.#final = new Uint8Array(size);
    this.#blocks = new Uint32Array(size);
    this.#order = new Uint32Array(size);
  }

  /** Bytes that chains read from; at most 255 of them. */
  addSource(bytes: Uint8Array): number {
    this.#sources.push(new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength));
    return this.#sources.length - 1;
  }

  /** A chain over bytes [from, to) of a source. A final one ends as CMAC does, with a subkey; any
   *  other takes whole blocks only, and none leaves its state as it was. Returns its index. */
  add(source: number, from: number, to: number, final: boolean): number {
    const i = this.count++;
    const whole = Math.ceil((to - from) / BLOCK_BYTES);
    const blocks = final && whole === 0 ? 1 : whole;
    this.#sourceOf[i] = source;
    this.#from[i] = from;
    this.#to[i] = to;
    this.#final[i] = final ? 1 : 0;
    this.#blocks[i] = blocks;
    if (blocks > this.#blocksMax) this.#blocksMax = blocks;
    if (blocks < this.#blocksMin) this.#blocksMin = blocks;
    return i;
  }

  /** As many key calls as the longest chain has blocks (more past `key.blocksMax` chains). */
  run(key: BlockKey, subkeys: Subkeys): void {
    if (this.count === 0 || this.#blocksMax === 0) return;
    if (this.#blocksMin === this.#blocksMax) {
      for (let block = 0; block < this.#blocksMax; block++) {
        for (let i = 0; i < this.count; i++) this.#absorb(this.states, i, i, block, subkeys);
        encryptBlockRange(key, this.stateBytes, 0, this.count);
      }
      return;
    }
    this.#sort();
    this.#runMixed(key, subkeys);
  }

  wipe(): void {
    this.#states.wipe(this.count);
    this.#sources = [];
    this.count = 0;
  }

  /** Chains of more blocks first, so that those which still run are the front of the buffer. */
  #runMixed(key: BlockKey, subkeys: Subkeys): void {
    this.#places.reserve(this.count);
    const { words, bytes } = this.#places;
    copyStates(this.states, this.#order, words, this.count, true);
    for (let block = 0; block < this.#blocksMax; block++) {
      const active = this.#counts[block]!;
      for (let p = 0; p < active; p++) this.#absorb(words, p, this.#order[p]!, block, subkeys);
      encryptBlockRange(key, bytes, 0, active);
    }
    copyStates(words, this.#order, this.states, this.count, false);
    this.#places.wipe(this.count);
  }

  #sort(): void {
    const counts = new Uint32Array(this.#blocksMax + 2);
    for (let i = 0; i < this.count; i++) counts[this.#blocks[i]!]!++;
    // Chains with more than k blocks; also the first place of a chain with k.
    const above = new Uint32Array(this.#blocksMax + 1);
    for (let k = this.#blocksMax - 1; k >= 0; k--) above[k] = above[k + 1]! + counts[k + 1]!;
    this.#counts = above.slice();
    for (let i = 0; i < this.count; i++) this.#order[above[this.#blocks[i]!]!++] = i;
  }

  /** Xors block `block` of chain `i` into the state at `place`. */
  #absorb(states: Uint32Array, place: number, i: number, block: number, subkeys: Subkeys): void {
    const source = this.#sources[this.#sourceOf[i]!]!;
    const at = this.#from[i]! + block * BLOCK_BYTES;
    const left = this.#to[i]! - at;
    const w = place * BLOCK_WORDS;
    if (left >= BLOCK_BYTES) {
      states[w]! ^= source.getUint32(at, true);
      states[w + 1]! ^= source.getUint32(at + 4, true);
      states[w + 2]! ^= source.getUint32(at + 8, true);
      states[w + 3]! ^= source.getUint32(at + 12, true);
      if (left === BLOCK_BYTES && this.#final[i] === 1) xorWords(states, w, subkeys.k1);
      return;
    }
    // An incomplete last block: 10…0 follows it, and the other subkey (§6.2 step 4).
    for (let j = 0; j < left; j++)
      states[w + (j >>> 2)]! ^= source.getUint8(at + j) << (8 * (j & 3));
    states[w + (left >>> 2)]! ^= 0x80 << (8 * (left & 3));
    xorWords(states, w, subkeys.k2);
  }
}

function xorWords(states: Uint32Array, at: number, words: Uint32Array): void {
  states[at]! ^= words[0]!;
  states[at + 1]! ^= words[1]!;
  states[at + 2]! ^= words[2]!;
  states[at + 3]! ^= words[3]!;
}

/** Blocks from `order[p]` to p, or back. */
function copyStates(
  from: Uint32Array,
  order: Uint32Array,
  to: Uint32Array,
  count: number,
  gather: boolean,
): void {
  for (let p = 0; p < count; p++) {
    const source = (gather ? order[p]! : p) * BLOCK_WORDS;
    const target = (gather ? p : order[p]!) * BLOCK_WORDS;
    for (let w = 0; w < BLOCK_WORDS; w++) to[target + w] = from[source + w]!;
  }
}
