import assert from 'node:assert';
import type { BlockKey } from '../keys/key.ts';
import { BLOCK_BYTES, BlockBuffer, encryptBlockRange } from './blocks.ts';
import type { Group } from './ff1-prefix.ts';
import type { Layout } from './ff1-small.ts';

/** The rows of a batch whose halves do not fit a float64 number: BigInt arithmetic for each row,
 *  block calls for all of them together. They are the longest rows, so they stand at the end of
 *  the batch, and those that need a further block are again its end. */
export class BigRows {
  readonly #groups: readonly Group[];
  /** First place. */
  readonly from: number;
  /** End place. */
  readonly to: number;
  readonly #left: bigint[] = [];
  readonly #right: bigint[] = [];
  /** Per row the round's blocks of Q: zeros ‖ [round]¹ ‖ [NUM(half)]ᵇ, padded on the left. */
  readonly #q: Uint8Array;
  readonly #qBytes: number;
  readonly #extra = new BlockBuffer();
  readonly #roundBlocksMax: number;

  /** Undefined where there are no groups. They ascend by length and adjoin. */
  static of(groups: readonly Group[]): BigRows | undefined {
    return groups.length === 0 ? undefined : new BigRows(groups);
  }

  private constructor(groups: readonly Group[]) {
    this.#groups = groups;
    this.from = groups[0]!.from;
    this.to = groups.at(-1)!.to;
    this.#roundBlocksMax = groups.at(-1)!.shape.roundBlocks;
    this.#qBytes = this.#roundBlocksMax * BLOCK_BYTES;
    this.#q = new Uint8Array((this.to - this.from) * this.#qBytes);
  }

  /** NUM of both halves of every row; asserts that the numerals are below the radix. */
  read({ numerals, ends, order }: Layout): void {
    for (const { shape, from, to } of this.#groups) {
      const { radix, length, u } = shape;
      for (let place = from; place < to; place++) {
        const end = ends[order === undefined ? place : order[place]!]!;
        const middle = end - length + u;
        this.#left[place - this.from] = numberOf(numerals, end - length, middle, radix);
        this.#right[place - this.from] = numberOf(numerals, middle, end, radix);
      }
    }
  }

  /** STR of both halves of every row. */
  write({ numerals, ends, order }: Layout): void {
    for (const { shape, from, to } of this.#groups) {
      const { radix, length, u } = shape;
      for (let place = from; place < to; place++) {
        const end = ends[order === undefined ? place : order[place]!]!;
        const middle = end - length + u;
        writeNumber(numerals, end - length, middle, radix, this.#left[place - this.from]!);
        writeNumber(numerals, middle, end, radix, this.#right[place - this.from]!);
      }
    }
  }

  /** Xors the first block of Q of every row into `blocks`, which hold the prefix. */
  writeRound(blocks: BlockBuffer, round: number): void {
    const input = round % 2 === 0 ? this.#right : this.#left;
    for (const group of this.#groups) {
      const { b } = group.shape;
      for (let place = group.from; place < group.to; place++) {
        const row = place - this.from;
        const end = (row + 1) * this.#qBytes;
        this.#q[end - b - 1] = round;
        writeBytes(this.#q, end - b, end, input[row]!);
        this.#xorQ(blocks, group, place, 0);
      }
    }
  }

  /** Steps 6ii to 6vii after the first call: one call for each further block of Q, one for the
   *  blocks that lengthen R to d bytes, for all rows that need them. */
  addRound(key: BlockKey, blocks: BlockBuffer, round: number, forward: boolean): void {
    for (let block = 1; block < this.#roundBlocksMax; block++) {
      let first = this.to;
      for (const group of this.#groups) {
        if (group.shape.roundBlocks <= block) continue;
        if (group.from < first) first = group.from;
        for (let place = group.from; place < group.to; place++) {
          this.#xorQ(blocks, group, place, block);
        }
      }
      encryptBlockRange(key, blocks.bytes, first, this.to);
    }
    this.#lengthen(key, blocks);
    this.#addNumbers(blocks, round, forward);
  }

  wipe(): void {
    this.#q.fill(0);
    this.#left.length = 0;
    this.#right.length = 0;
  }

  #xorQ(blocks: BlockBuffer, group: Group, place: number, block: number): void {
    const end = (place - this.from + 1) * this.#qBytes;
    const from = end - (group.shape.roundBlocks - block) * BLOCK_BYTES;
    const at = place * BLOCK_BYTES;
    for (let i = 0; i < BLOCK_BYTES; i++) blocks.bytes[at + i]! ^= this.#q[from + i]!;
  }

  /** Step 6iii: S = R ‖ CIPH(R ⊕ [1]¹⁶) ‖ CIPH(R ⊕ [2]¹⁶) … */
  #lengthen(key: BlockKey, blocks: BlockBuffer): void {
    let count = 0;
    for (const group of this.#groups) {
      count += (group.to - group.from) * extraBlocks(group);
    }
    if (count === 0) return;
    const extra = this.#extra;
    extra.reserve(count);
    let at = 0;
    for (const group of this.#groups) {
      for (let place = group.from; place < group.to; place++) {
        for (let j = 1; j <= extraBlocks(group); j++) {
          const r = place * BLOCK_BYTES;
          for (let i = 0; i < BLOCK_BYTES; i++) extra.bytes[at + i] = blocks.bytes[r + i]!;
          extra.bytes[at + 14]! ^= j >>> 8;
          extra.bytes[at + 15]! ^= j & 0xff;
          at += BLOCK_BYTES;
        }
      }
    }
    encryptBlockRange(key, extra.bytes, 0, count);
  }

  /** Steps 6iv to 6vii: y = NUM(first d bytes of S), the half ± y mod radix^m. */
  #addNumbers(blocks: BlockBuffer, round: number, forward: boolean): void {
    const target = round % 2 === 0 ? this.#left : this.#right;
    let extraAt = 0;
    for (const group of this.#groups) {
      const { d, modulusU, modulusV } = group.shape;
      const modulus = round % 2 === 0 ? modulusU : modulusV;
      const more = Math.max(0, d - BLOCK_BYTES);
      for (let place = group.from; place < group.to; place++) {
        const row = place - this.from;
        const at = place * BLOCK_BYTES;
        let y = bytesNumber(blocks.bytes, at, at + Math.min(d, BLOCK_BYTES));
        if (more > 0) {
          y = (y << BigInt(8 * more)) | bytesNumber(this.#extra.bytes, extraAt, extraAt + more);
          extraAt += extraBlocks(group) * BLOCK_BYTES;
        }
        const sum = (target[row]! + (forward ? y : -y)) % modulus;
        target[row] = sum < 0n ? sum + modulus : sum;
      }
    }
  }
}

const extraBlocks = (group: Group): number => Math.ceil(group.shape.d / BLOCK_BYTES) - 1;

/** NUM by chunks of numerals that fit a float64 number: one BigInt step a chunk. */
function numberOf(numerals: Uint16Array, from: number, to: number, radix: number): bigint {
  const chunk = chunkOf(radix);
  let number = 0n;
  for (let at = from; at < to; ) {
    const end = Math.min(to, at + chunk);
    let part = 0;
    let weight = 1;
    for (; at < end; at++) {
      assert(numerals[at]! < radix, 'a numeral is not below the radix');
      part = part * radix + numerals[at]!;
      weight *= radix;
    }
    number = number * BigInt(weight) + BigInt(part);
  }
  return number;
}

function writeNumber(
  numerals: Uint16Array,
  from: number,
  to: number,
  radix: number,
  number: bigint,
): void {
  const chunk = chunkOf(radix);
  const weight = BigInt(radix ** chunk);
  let left = number;
  for (let end = to; end > from; end -= chunk) {
    let part = Number(left % weight);
    left /= weight;
    for (let at = end - 1; at >= Math.max(from, end - chunk); at--) {
      numerals[at] = part % radix;
      part = Math.floor(part / radix);
    }
  }
}

/** Most numerals whose number stays below 2^53. */
const chunkOf = (radix: number): number => Math.floor(52 / Math.log2(radix));

function bytesNumber(bytes: Uint8Array, from: number, to: number): bigint {
  return BigInt(`0x${asBuffer(bytes).toString('hex', from, to)}`);
}

function writeBytes(bytes: Uint8Array, from: number, to: number, number: bigint): void {
  const digits = number.toString(16).padStart(2 * (to - from), '0');
  asBuffer(bytes).write(digits, from, to - from, 'hex');
}

const asBuffer = (bytes: Uint8Array): Buffer =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
