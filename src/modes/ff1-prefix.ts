import { type Column, rowStart } from '../base/column.ts';
import type { BlockKey } from '../keys/key.ts';
import { BLOCK_BYTES, BLOCK_WORDS, type BlockBuffer, encryptBlockRange, swap32 } from './blocks.ts';
import type { Shape } from './ff1-shape.ts';

/** Rows of one shape: places [from, to) of a batch ordered by length. */
export interface Group {
  readonly shape: Shape;
  readonly from: number;
  readonly to: number;
}

/** What is absorbed: a slot is a place, or, where all rows share the tweak, a group. */
interface Slots {
  readonly count: number;
  readonly source: Uint8Array;
  /** First byte and end of the tweak, by slot. */
  readonly starts: Uint32Array;
  readonly ends: Uint32Array;
  /** Index into `groups`, by slot. */
  readonly groupOf: Uint32Array;
}

/** Absorbs the blocks that are the same in all ten rounds: P, then those of Q that hold tweak
 *  alone (SP 800-38G §5.1 steps 5, 6i and 6ii). One call for P, and one for each such block of the
 *  longest tweak. Leaves in `buffer`, at every place, the chain's state with the tail of the tweak
 *  xored in: what a round's block is but for round number and half. */
export function absorbPrefix(
  key: BlockKey,
  groups: readonly Group[],
  tweaks: Uint8Array | Column,
  order: Uint32Array | undefined,
  buffer: BlockBuffer,
  scratch: BlockBuffer,
): void {
  const slots = slotsOf(groups, tweaks, order);
  buffer.reserve(groups.at(-1)!.to);
  encryptP(key, groups, slots, buffer);
  const counts = new Uint32Array(slots.count);
  let countMax = 0;
  let countMin = 0xffffffff;
  for (let s = 0; s < slots.count; s++) {
    const length = slots.ends[s]! - slots.starts[s]!;
    const shape = groups[slots.groupOf[s]!]!.shape;
    // Blocks of Q, less those from the round number on.
    const count = Math.ceil((length + shape.b + 1) / BLOCK_BYTES) - shape.roundBlocks;
    counts[s] = count;
    if (count > countMax) countMax = count;
    if (count < countMin) countMin = count;
  }
  for (let block = 0; block < countMax; block++) {
    if (block < countMin) {
      for (let s = 0; s < slots.count; s++) xorTweak(buffer.bytes, slots, s, block);
      encryptBlockRange(key, buffer.bytes, 0, slots.count);
    } else {
      absorbSome(key, slots, counts, block, buffer, scratch);
    }
  }
  for (let s = 0; s < slots.count; s++) xorTweak(buffer.bytes, slots, s, counts[s]!);
  if (tweaks instanceof Uint8Array) spread(groups, buffer);
}

/** From a slot a group to a block a place, the last first, since both share the buffer. */
function spread(groups: readonly Group[], buffer: BlockBuffer): void {
  const { words } = buffer;
  for (let g = groups.length - 1; g >= 0; g--) {
    const { from, to } = groups[g]!;
    const w0 = words[g * BLOCK_WORDS]!;
    const w1 = words[g * BLOCK_WORDS + 1]!;
    const w2 = words[g * BLOCK_WORDS + 2]!;
    const w3 = words[g * BLOCK_WORDS + 3]!;
    for (let w = from * BLOCK_WORDS; w < to * BLOCK_WORDS; w += BLOCK_WORDS) {
      words[w] = w0;
      words[w + 1] = w1;
      words[w + 2] = w2;
      words[w + 3] = w3;
    }
  }
}

function slotsOf(
  groups: readonly Group[],
  tweaks: Uint8Array | Column,
  order: Uint32Array | undefined,
): Slots {
  if (tweaks instanceof Uint8Array) {
    const count = groups.length;
    return {
      count,
      source: tweaks,
      starts: new Uint32Array(count),
      ends: new Uint32Array(count).fill(tweaks.length),
      groupOf: Uint32Array.from(groups, (_, g) => g),
    };
  }
  const count = tweaks.ends.length;
  const starts = new Uint32Array(count);
  const ends = new Uint32Array(count);
  const groupOf = new Uint32Array(count);
  for (let g = 0; g < groups.length; g++) {
    const { from, to } = groups[g]!;
    for (let place = from; place < to; place++) {
      const row = order === undefined ? place : order[place]!;
      starts[place] = rowStart(tweaks, row);
      ends[place] = tweaks.ends[row]!;
      groupOf[place] = g;
    }
  }
  return { count, source: tweaks.bytes, starts, ends, groupOf };
}

/** Step 5: P = [1] [2] [1] [radix]³ [10] [u mod 256] [n]⁴ [t]⁴, enciphered. Slots of one shape
 *  and one tweak length have the same P, so that a batch of one kind of row enciphers it once. */
function encryptP(
  key: BlockKey,
  groups: readonly Group[],
  slots: Slots,
  buffer: BlockBuffer,
): void {
  const { words } = buffer;
  let same = groups.length === 1;
  const first = slots.ends[0]! - slots.starts[0]!;
  for (let s = 0; s < slots.count; s++) {
    const { radix, length, u } = groups[slots.groupOf[s]!]!.shape;
    const tweakBytes = slots.ends[s]! - slots.starts[s]!;
    if (tweakBytes !== first) same = false;
    const at = s * BLOCK_WORDS;
    words[at] = 0x00010201 | ((radix >>> 16) << 24);
    words[at + 1] = ((radix >>> 8) & 0xff) | ((radix & 0xff) << 8) | (10 << 16) | (u << 24);
    words[at + 2] = swap32(length);
    words[at + 3] = swap32(tweakBytes);
  }
  encryptBlockRange(key, buffer.bytes, 0, same ? 1 : slots.count);
  if (!same) return;
  for (let at = BLOCK_WORDS; at < slots.count * BLOCK_WORDS; at++) {
    words[at] = words[at - BLOCK_WORDS]!;
  }
}

/** Xors 16-byte block `block` of the slot's tweak into its state; past the tweak Q is zero. */
function xorTweak(state: Uint8Array, slots: Slots, slot: number, block: number): void {
  const from = slots.starts[slot]! + block * BLOCK_BYTES;
  const to = Math.min(from + BLOCK_BYTES, slots.ends[slot]!);
  const at = slot * BLOCK_BYTES - from;
  for (let i = from; i < to; i++) state[at + i]! ^= slots.source[i]!;
}

/** The slots whose tweak has a block `block`, gathered, enciphered and put back. */
function absorbSome(
  key: BlockKey,
  slots: Slots,
  counts: Uint32Array,
  block: number,
  buffer: BlockBuffer,
  scratch: BlockBuffer,
): void {
  scratch.reserve(slots.count);
  let some = 0;
  for (let s = 0; s < slots.count; s++) {
    if (counts[s]! <= block) continue;
    xorTweak(buffer.bytes, slots, s, block);
    for (let w = 0; w < BLOCK_WORDS; w++) {
      scratch.words[some * BLOCK_WORDS + w] = buffer.words[s * BLOCK_WORDS + w]!;
    }
    some++;
  }
  encryptBlockRange(key, scratch.bytes, 0, some);
  some = 0;
  for (let s = 0; s < slots.count; s++) {
    if (counts[s]! <= block) continue;
    for (let w = 0; w < BLOCK_WORDS; w++) {
      buffer.words[s * BLOCK_WORDS + w] = scratch.words[some * BLOCK_WORDS + w]!;
    }
    some++;
  }
  scratch.wipe(some);
}
