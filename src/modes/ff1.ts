import assert from 'node:assert';
import type { Column } from '../base/column.ts';
import type { BlockKey } from '../keys/key.ts';
import { BlockBuffer, encryptBlockRange } from './blocks.ts';
import { BigRows } from './ff1-big.ts';
import { absorbPrefix, type Group } from './ff1-prefix.ts';
import { shapeOf } from './ff1-shape.ts';
import {
  addRound,
  type Halves,
  moduliOf,
  type Pass,
  readHalves,
  writeHalves,
  writeRound,
} from './ff1-small.ts';

/** A column of numeral strings. Row i is numerals [ends[i - 1] ?? 0, ends[i]), the most
 *  significant first, each below `radix`. Rows may differ in length. */
export interface NumeralRows {
  /** 2 to 65,536. */
  readonly radix: number;
  readonly numerals: Uint16Array;
  readonly ends: Uint32Array;
}

/** One tweak for all rows, or one a row; lengths may differ, at most `FF1_TWEAK_BYTES_MAX`. */
export type Tweaks = Uint8Array | Column;

/** Fewest members of a domain: radix^length (SP 800-38G r1, second draft, §5.1). */
export const FF1_DOMAIN_MIN = 1_000_000;
/** maxlen: numeral folding is quadratic in the length. */
export const FF1_LENGTH_MAX = 512;
/** maxTlen. A block of tweak costs a key call. */
export const FF1_TWEAK_BYTES_MAX = 4096;

const ROUNDS = 10;
const LENGTH_MIN = 2;

export type Ff1Refusal = 'radix-out-of-range' | 'too-short' | 'too-long' | 'domain-too-small';

/** Why FF1 refuses rows of this radix and length; undefined where it takes them. */
export function ff1Refusal(radix: number, length: number): Ff1Refusal | undefined {
  if (!Number.isInteger(radix) || radix < 2 || radix > 65_536) return 'radix-out-of-range';
  if (!Number.isInteger(length) || length < LENGTH_MIN) return 'too-short';
  if (length > FF1_LENGTH_MAX) return 'too-long';
  return radix ** length < FF1_DOMAIN_MIN ? 'domain-too-small' : undefined;
}

/** FF1.Encrypt (SP 800-38G §5.1, algorithm 7) of every row, in place. All rows cross each round
 *  together: 11 key calls whatever their number, up to `key.blocksMax`; one more for each block
 *  that holds tweak alone (12, 13, 14 for tweaks of 16, 32, 48 bytes with nine digits); for rows
 *  whose half has more than 15 bytes a few more a round. Asserts radix, lengths and numerals. On
 *  a `ModuleError` the rows are as they were. */
export function encryptRows(key: BlockKey, rows: NumeralRows, tweaks: Tweaks): void {
  crypt(key, rows, tweaks, true);
}

/** FF1.Decrypt (algorithm 8), as `encryptRows`. */
export function decryptRows(key: BlockKey, rows: NumeralRows, tweaks: Tweaks): void {
  crypt(key, rows, tweaks, false);
}

/** Kept by the thread and grown; wiped after each batch. */
const blocks = new BlockBuffer();
const prefix = new BlockBuffer();
const scratch = new BlockBuffer();
let halves: Halves = { left: new Float64Array(0), right: new Float64Array(0) };

function crypt(key: BlockKey, rows: NumeralRows, tweaks: Tweaks, forward: boolean): void {
  const count = rows.ends.length;
  if (count === 0) return;
  assertTweaks(tweaks, count);
  const { groups, order } = groupRows(rows);
  blocks.reserve(count);
  if (halves.left.length < count) {
    const size = Math.max(1024, 2 ** Math.ceil(Math.log2(count)));
    halves = { left: new Float64Array(size), right: new Float64Array(size) };
  }
  try {
    absorbPrefix(key, groups, tweaks, order, prefix, scratch);
    const layout = { numerals: rows.numerals, ends: rows.ends, order };
    const small = groups.filter(({ shape }) => shape.width !== 'big').map(passOf);
    const big = BigRows.of(groups.filter(({ shape }) => shape.width === 'big'));
    for (const { group } of small) readHalves(layout, group, halves);
    big?.read(layout);
    runRounds(key, count, small, big, forward);
    for (const { group } of small) writeHalves(layout, group, halves);
    big?.write(layout);
    big?.wipe();
  } finally {
    blocks.wipe(count);
    prefix.wipe(count);
    halves.left.fill(0, 0, count);
    halves.right.fill(0, 0, count);
  }
}

/** Step 6: rounds 0 to 9, or back. The half that a round changes is the next one's input, so the
 *  halves stay in place: even rounds change the left one (A), odd ones the right (B). */
function runRounds(
  key: BlockKey,
  count: number,
  small: readonly Pass[],
  big: BigRows | undefined,
  forward: boolean,
): void {
  for (let done = 0; done < ROUNDS; done++) {
    const round = forward ? done : ROUNDS - 1 - done;
    blocks.copyFrom(prefix, count);
    for (const pass of small) writeRound(pass, round);
    big?.writeRound(blocks, round);
    encryptBlockRange(key, blocks.bytes, 0, count);
    for (const pass of small) addRound(pass, round, forward);
    big?.addRound(key, blocks, round, forward);
  }
}

function passOf(group: Group): Pass {
  return { group, halves, moduli: moduliOf(group.shape), view: blocks.view };
}

interface Grouped {
  readonly groups: Group[];
  /** Row order[p] is at place p; undefined where all rows have one length and stay in place. */
  readonly order: Uint32Array | undefined;
}

/** Rows by length, ascending, so that a round runs over one shape at a time. */
function groupRows({ radix, numerals, ends }: NumeralRows): Grouped {
  const count = ends.length;
  assert(ends[count - 1]! <= numerals.length, 'the rows end after the numerals');
  const length = ends[0]!;
  let same = 1;
  while (same < count && ends[same] === (same + 1) * length) same++;
  if (same < count) return groupMixed(radix, ends);
  return { groups: [groupOf(radix, length, 0, count)], order: undefined };
}

function groupOf(radix: number, length: number, from: number, to: number): Group {
  assert(ff1Refusal(radix, length) === undefined, 'the rows have a shape FF1 refuses');
  return { shape: shapeOf(radix, length), from, to };
}

/** A counting sort, so rows of one length keep their order. */
function groupMixed(radix: number, ends: Uint32Array): Grouped {
  const count = ends.length;
  const counts = new Uint32Array(FF1_LENGTH_MAX + 1);
  let start = 0;
  for (let row = 0; row < count; row++) {
    const length = ends[row]! - start;
    assert(length >= LENGTH_MIN && length <= FF1_LENGTH_MAX, 'a row has a length FF1 refuses');
    counts[length]!++;
    start = ends[row]!;
  }
  const groups: Group[] = [];
  const nextPlace = new Uint32Array(FF1_LENGTH_MAX + 1);
  let from = 0;
  for (let length = LENGTH_MIN; length <= FF1_LENGTH_MAX; length++) {
    const to = from + counts[length]!;
    if (to === from) continue;
    groups.push(groupOf(radix, length, from, to));
    nextPlace[length] = from;
    from = to;
  }
  const order = new Uint32Array(count);
  start = 0;
  for (let row = 0; row < count; row++) {
    order[nextPlace[ends[row]! - start]!++] = row;
    start = ends[row]!;
  }
  return { groups, order };
}

function assertTweaks(tweaks: Tweaks, count: number): void {
  if (tweaks instanceof Uint8Array) {
    assert(tweaks.length <= FF1_TWEAK_BYTES_MAX, 'the tweak is too long');
    return;
  }
  assert(tweaks.ends.length === count, 'there is not one tweak a row');
  let start = 0;
  for (let row = 0; row < count; row++) {
    const end = tweaks.ends[row]!;
    assert(end >= start && end - start <= FF1_TWEAK_BYTES_MAX, 'a tweak is too long');
    start = end;
  }
}
