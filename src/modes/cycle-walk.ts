import assert from 'node:assert';
import { type Column, rowBytes, rowStart } from '../base/column.ts';
import type { BlockKey } from '../keys/key.ts';
import { decryptRows, encryptRows, FF1_DOMAIN_MIN, type NumeralRows, type Tweaks } from './ff1.ts';

/** FF1 on the numbers [0, limit): rows whose result lies outside are gathered and enciphered
 *  again, in lockstep, until all lie inside. A permutation of that range. `limit` is a number of
 *  `limit.length` numerals (`walkLimit`), all zero for the whole radix^length; every row has that
 *  many numerals and is below it (asserted), and the range has at least 1,000,000 members. In
 *  place. Returns the passes: about (radix^length / limit)·log(rows), one or two for a `walkShape`.
 *  */
export function encryptWithin(
  key: BlockKey,
  rows: NumeralRows,
  limit: Uint16Array,
  tweaks: Tweaks,
): number {
  return walk(encryptRows, key, rows, limit, tweaks);
}

/** The inverse of `encryptWithin`. */
export function decryptWithin(
  key: BlockKey,
  rows: NumeralRows,
  limit: Uint16Array,
  tweaks: Tweaks,
): number {
  return walk(decryptRows, key, rows, limit, tweaks);
}

export interface WalkShape {
  readonly radix: number;
  readonly length: number;
}

/** The radix and length in which [0, size) is walked: radix ⌈size^(1/m)⌉ with the smallest even
 *  m ≥ 2 that keeps it at 65,536 or less, so that radix^m is hardly more than the size. */
export function walkShape(size: bigint): WalkShape {
  assert(size >= BigInt(FF1_DOMAIN_MIN), 'a walked range has at least 1,000,000 members');
  for (let length = 2; ; length += 2) {
    const radix = rootUp(size, length);
    if (radix !== undefined) return { radix, length };
  }
}

/** `size` as the limit of a walk: numerals of the shape, all zero where it is radix^length. */
export function walkLimit(size: bigint, shape: WalkShape): Uint16Array {
  const radix = BigInt(shape.radix);
  const limit = new Uint16Array(shape.length);
  let left = size;
  for (let i = shape.length - 1; i >= 0; i--) {
    limit[i] = Number(left % radix);
    left /= radix;
  }
  assert(left === 0n || (left === 1n && isZero(limit)), 'the size does not fit the shape');
  return limit;
}

/** ⌈size^(1/m)⌉ by bisection; undefined above 65,536. */
function rootUp(size: bigint, m: number): number | undefined {
  const power = BigInt(m);
  if (65_536n ** power < size) return undefined;
  let low = 1;
  let high = 65_536;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (BigInt(middle) ** power >= size) high = middle;
    else low = middle + 1;
  }
  return low;
}

function walk(
  crypt: typeof encryptRows,
  key: BlockKey,
  rows: NumeralRows,
  limit: Uint16Array,
  tweaks: Tweaks,
): number {
  const { radix, numerals, ends } = rows;
  const length = limit.length;
  const count = ends.length;
  assertLimit(radix, limit);
  for (let row = 0; row < count; row++) {
    assert(ends[row] === (row + 1) * length, 'a row has not the length of the limit');
  }
  const whole = isZero(limit);
  const outside = new Uint32Array(count);
  assert(whole || findOutside(numerals, count, limit, outside) === 0, 'a row is past the limit');
  crypt(key, rows, tweaks);
  let passes = 1;
  let left = whole ? 0 : findOutside(numerals, count, limit, outside);
  while (left > 0) {
    const some = new Uint16Array(left * length);
    for (let i = 0; i < left; i++) {
      const from = outside[i]! * length;
      for (let j = 0; j < length; j++) some[i * length + j] = numerals[from + j]!;
    }
    const someEnds = Uint32Array.from({ length: left }, (_, i) => (i + 1) * length);
    crypt(key, { radix, numerals: some, ends: someEnds }, someTweaks(tweaks, outside, left));
    passes++;
    for (let i = 0; i < left; i++) {
      const to = outside[i]! * length;
      for (let j = 0; j < length; j++) numerals[to + j] = some[i * length + j]!;
    }
    const still = new Uint32Array(left);
    const again = findOutside(some, left, limit, still);
    for (let i = 0; i < again; i++) outside[i] = outside[still[i]!]!;
    left = again;
    some.fill(0);
  }
  return passes;
}

/** Writes the rows that are not below the limit to `outside`, ascending; returns how many. */
function findOutside(
  numerals: Uint16Array,
  count: number,
  limit: Uint16Array,
  outside: Uint32Array,
): number {
  const length = limit.length;
  let found = 0;
  for (let row = 0; row < count; row++) {
    const at = row * length;
    let i = 0;
    while (i < length && numerals[at + i] === limit[i]) i++;
    if (i === length || numerals[at + i]! > limit[i]!) outside[found++] = row;
  }
  return found;
}

function someTweaks(tweaks: Tweaks, rows: Uint32Array, count: number): Tweaks {
  if (tweaks instanceof Uint8Array) return tweaks;
  const ends = new Uint32Array(count);
  let end = 0;
  for (let i = 0; i < count; i++) {
    end += tweaks.ends[rows[i]!]! - rowStart(tweaks, rows[i]!);
    ends[i] = end;
  }
  const some: Column = { bytes: new Uint8Array(end), ends };
  for (let i = 0; i < count; i++) some.bytes.set(rowBytes(tweaks, rows[i]!), rowStart(some, i));
  return some;
}

/** The range walked must itself have 1,000,000 members, not only radix^length. */
function assertLimit(radix: number, limit: Uint16Array): void {
  if (isZero(limit)) return;
  let members = 0;
  for (const numeral of limit) {
    assert(numeral < radix, 'a numeral of the limit is not below the radix');
    members = members * radix + numeral;
  }
  assert(members >= FF1_DOMAIN_MIN, 'a walked range has at least 1,000,000 members');
}

const isZero = (limit: Uint16Array): boolean => limit.every((numeral) => numeral === 0);
