import assert from 'node:assert';
import type { Group } from './ff1-prefix.ts';
import type { Shape } from './ff1-shape.ts';

const TWO_26 = 2 ** 26;
const TWO_32 = 2 ** 32;

/** radix^m up to 2^52, for exact arithmetic in float64 numbers. A remainder takes one quotient,
 *  estimated as ⌊x·inverse⌋. `below` is under 1/value by 2^-50 of it, more than the roundings on
 *  the way (2^-51 together), so that for x ≥ 0 the estimate is never above the true quotient, and
 *  short of it by at most one while that is below 2^48; here it is below 2^33. `above` does the
 *  same for x < 0, and is right for 0 ≤ x < value ≤ 2^48. So one correction is enough, and that so
 *  rare that it costs nothing, unlike `%`, which is a library call for floats. */
export interface Modulus {
  readonly value: number;
  readonly below: number;
  readonly above: number;
  /** 2^32, 2^48, 2^64 and 2^80 mod value: what y's upper limbs weigh. */
  readonly weights: readonly [number, number, number, number];
}

export function modulusOf(value: number): Modulus {
  const weight = (bits: bigint): number => Number(2n ** bits % BigInt(value));
  return {
    value,
    below: (1 / value) * (1 - 2 ** -50),
    above: (1 / value) * (1 + 2 ** -50),
    weights: [weight(32n), weight(48n), weight(64n), weight(80n)],
  };
}

/** Of both halves; kept, like the shapes. */
export function moduliOf(shape: Shape): Moduli {
  const old = known.get(shape);
  if (old !== undefined) return old;
  const left = modulusOf(Number(shape.modulusU));
  const right = modulusOf(Number(shape.modulusV));
  const made = { left, right };
  known.set(shape, made);
  return made;
}

export interface Moduli {
  readonly left: Modulus;
  readonly right: Modulus;
}

const known = new WeakMap<Shape, Moduli>();

/** Halves of the rows of a batch by place: numbers on the left mod radix^u, right mod radix^v. */
export interface Halves {
  readonly left: Float64Array;
  readonly right: Float64Array;
}

/** Where the rows of a batch are. Row r ends at numeral `ends[r]`; `order[p]` is the row at place
 *  p, and undefined where every row is at its own place. */
export interface Layout {
  readonly numerals: Uint16Array;
  readonly ends: Uint32Array;
  readonly order: Uint32Array | undefined;
}

/** SP 800-38G §4.6 algorithm 1 (NUM) of both halves of a group's rows. Asserts that every numeral
 *  is below the radix. */
export function readHalves(layout: Layout, group: Group, halves: Halves): void {
  const { numerals, ends, order } = layout;
  const { from, to } = group;
  const { radix, length, u } = group.shape;
  const { left, right } = halves;
  // Its sign bit is set once a numeral is above the last.
  let above = 0;
  for (let p = from; p < to; p++) {
    const end = ends[order === undefined ? p : order[p]!]!;
    const middle = end - length + u;
    let number = 0;
    for (let i = end - length; i < middle; i++) {
      const numeral = numerals[i]!;
      above |= radix - 1 - numeral;
      number = number * radix + numeral;
    }
    left[p] = number;
    number = 0;
    for (let i = middle; i < end; i++) {
      const numeral = numerals[i]!;
      above |= radix - 1 - numeral;
      number = number * radix + numeral;
    }
    right[p] = number;
  }
  assert(above >= 0, 'a numeral is not below the radix');
}

/** Algorithm 2 (STR) of both halves of a group's rows. */
export function writeHalves(layout: Layout, group: Group, halves: Halves): void {
  const { numerals, ends, order } = layout;
  const { from, to } = group;
  const { radix, length, u, modulusV } = group.shape;
  const { left, right } = halves;
  const write = modulusV <= INT_END ? writeInt : writeFloat;
  for (let p = from; p < to; p++) {
    const end = ends[order === undefined ? p : order[p]!]!;
    const middle = end - length + u;
    write(numerals, middle, end, right[p]!, radix);
    write(numerals, end - length, middle, left[p]!, radix);
  }
}

/** One past the greatest 32-bit integer: below, the machine divides integers. */
const INT_END = 2n ** 31n;

function writeInt(
  numerals: Uint16Array,
  from: number,
  to: number,
  number: number,
  radix: number,
): void {
  let left = number | 0;
  for (let i = to - 1; i >= from; i--) {
    const rest = (left / radix) | 0;
    numerals[i] = left - Math.imul(rest, radix);
    left = rest;
  }
}

/** Below 2^53 the floor of the rounded quotient of two integers is exact. */
function writeFloat(
  numerals: Uint16Array,
  from: number,
  to: number,
  number: number,
  radix: number,
): void {
  let left = number;
  for (let i = to - 1; i >= from; i--) {
    const rest = Math.floor(left / radix);
    numerals[i] = left - rest * radix;
    left = rest;
  }
}

/** What a pass over the rows of one group needs; one object a group, kept for all rounds. */
export interface Pass {
  readonly group: Group;
  readonly halves: Halves;
  readonly moduli: Moduli;
  /** The blocks of the batch, block p for place p. */
  readonly view: DataView;
}

/** Steps 6i and 6ii of a round: into blocks that hold the prefix xors [round]¹ ‖ [NUM(half)]ᵇ,
 *  their last 1 + b bytes. */
export function writeRound(pass: Pass, round: number): void {
  const { group, view } = pass;
  const input = round % 2 === 0 ? pass.halves.right : pass.halves.left;
  const { b } = group.shape;
  if (b < 4) {
    const number = round << (8 * b);
    for (let p = group.from, at = p * 16 + 12; p < group.to; p++, at += 16) {
      view.setUint32(at, view.getUint32(at, false) ^ number ^ input[p]!, false);
    }
    return;
  }
  const number = round << (8 * (b - 4));
  for (let p = group.from, at = p * 16 + 8; p < group.to; p++, at += 16) {
    const half = input[p]!;
    const high = number ^ Math.floor(half / TWO_32);
    view.setUint32(at, view.getUint32(at, false) ^ high, false);
    view.setUint32(at + 4, view.getUint32(at + 4, false) ^ (half >>> 0), false);
  }
}

/** Steps 6iii to 6vii: y is read from the enciphered blocks, and the half that the round changes
 *  becomes (half + y) mod radix^m, or (half - y) mod radix^m on the way back. */
export function addRound(pass: Pass, round: number, forward: boolean): void {
  const left = round % 2 === 0;
  const target = left ? pass.halves.left : pass.halves.right;
  const modulus = left ? pass.moduli.left : pass.moduli.right;
  const { width } = pass.group.shape;
  const { view } = pass;
  const { from, to } = pass.group;
  if (width === 'narrow') addNarrow(view, from, to, target, modulus, forward);
  else if (width === 'middle') addMiddle(view, from, to, target, modulus, forward);
  else addWide(view, from, to, target, modulus, forward);
}

/** radix^m ≤ 2^20 and y < 2^64: y ≡ y1·(2^32 mod m) + y0, so that |x| < 2^52 + 2^33. */
export function addNarrow(
  view: DataView,
  from: number,
  to: number,
  target: Float64Array,
  { value, below, above, weights }: Modulus,
  forward: boolean,
): void {
  const sign = forward ? 1 : -1;
  const inverse = forward ? below : above;
  const weight = sign * weights[0];
  for (let p = from, at = p * 16; p < to; p++, at += 16) {
    const low = view.getUint32(at + 4, false) * sign;
    const x = view.getUint32(at, false) * weight + low + target[p]!;
    const c = x - Math.floor(x * inverse) * value;
    target[p] = c >= value ? c - value : c;
  }
}

/** radix^m ≤ 2^32 and y < 2^64: the upper word in limbs of 16 bits, so that |x| < 2^49 + 2^34. */
export function addMiddle(
  view: DataView,
  from: number,
  to: number,
  target: Float64Array,
  { value, below, above, weights }: Modulus,
  forward: boolean,
): void {
  const sign = forward ? 1 : -1;
  const inverse = forward ? below : above;
  const weight2 = sign * weights[0];
  const weight3 = sign * weights[1];
  for (let p = from, at = p * 16; p < to; p++, at += 16) {
    const y1 = view.getUint32(at, false);
    const low = view.getUint32(at + 4, false) * sign;
    const x = (y1 >>> 16) * weight3 + (y1 & 0xffff) * weight2 + low + target[p]!;
    const c = x - Math.floor(x * inverse) * value;
    target[p] = c >= value ? c - value : c;
  }
}

/** 2^21 < radix^m ≤ 2^52 and y < 2^96. Weights and modulus are split at 2^26, and the sum is
 *  upper·2^26 + lower, where |upper| < 2^44 and |lower| < 2^53. The quotient is below 2^19, so its
 *  products with the parts of the modulus are below 2^45. Then the difference of the upper parts,
 *  times 2^26, is below 2^54 and a multiple of 2^26, so exact, and the remainder below 2^53. */
export function addWide(
  view: DataView,
  from: number,
  to: number,
  target: Float64Array,
  { value, below, weights }: Modulus,
  forward: boolean,
): void {
  const sign = forward ? 1 : -1;
  const [high2, low2] = split(weights[0], sign);
  const [high3, low3] = split(weights[1], sign);
  const [high4, low4] = split(weights[2], sign);
  const [high5, low5] = split(weights[3], sign);
  const [highM, lowM] = split(value, 1);
  for (let p = from, at = p * 16; p < to; p++, at += 16) {
    const y2 = view.getUint32(at, false);
    const y1 = view.getUint32(at + 4, false);
    const y0 = view.getUint32(at + 8, false) * sign;
    const t5 = y2 >>> 16;
    const t4 = y2 & 0xffff;
    const t3 = y1 >>> 16;
    const t2 = y1 & 0xffff;
    const upper = t5 * high5 + t4 * high4 + t3 * high3 + t2 * high2;
    const lower = t5 * low5 + t4 * low4 + t3 * low3 + t2 * low2 + y0 + target[p]!;
    const quotient = Math.floor((upper * TWO_26 + lower) * below);
    const rest = (upper - quotient * highM) * TWO_26 + (lower - quotient * lowM);
    // Going back `below` may also be one too high.
    target[p] = rest >= value ? rest - value : rest < 0 ? rest + value : rest;
  }
}

/** sign·number as high·2^26 + low. */
function split(number: number, sign: number): [number, number] {
  const high = Math.floor(number / TWO_26);
  return [sign * high, sign * (number - high * TWO_26)];
}
