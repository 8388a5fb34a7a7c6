import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { shapeOf } from '../../src/modes/ff1-shape.ts';
import {
  addMiddle,
  addNarrow,
  addWide,
  modulusOf,
  readHalves,
  writeHalves,
} from '../../src/modes/ff1-small.ts';

const near = (low: bigint, high: bigint): fc.Arbitrary<bigint> =>
  fc.oneof(
    fc.bigInt({ min: low, max: high }),
    fc.bigInt({ min: 0n, max: 3n }).map((d) => (low + d > high ? high : low + d)),
    fc.bigInt({ min: 0n, max: 3n }).map((d) => (high - d < low ? low : high - d)),
  );

/** Moduli in (low, high]: any, the ends, and powers of a radix. */
function modulus(low: bigint, high: bigint): fc.Arbitrary<bigint> {
  const power = fc
    .tuple(fc.bigInt({ min: 2n, max: 65_536n }), fc.bigInt({ min: 1n, max: 52n }))
    .map(([radix, m]) => radix ** m)
    .filter((m) => m > low && m <= high);
  return fc.oneof(near(low + 1n, high), power);
}

/** y so that half ± y lies beside a multiple of the modulus, where an estimate is off by one; and
 *  any y. */
const yOf = (m: bigint, half: bigint, forward: boolean, bits: bigint): fc.Arbitrary<bigint> => {
  const end = 1n << bits;
  const beside = fc
    .tuple(near(0n, end / m), fc.bigInt({ min: -2n, max: 2n }))
    .map(([quotient, d]) => quotient * m + d + (forward ? -half : half))
    .map((y) => (y < 0n ? 0n : y >= end ? end - 1n : y));
  return fc.oneof(near(0n, end - 1n), beside);
};

describe.each([
  { name: 'narrow', add: addNarrow, low: 1n, high: 1n << 20n, bits: 64n },
  { name: 'middle', add: addMiddle, low: 1n << 20n, high: 1n << 32n, bits: 64n },
  { name: 'wide', add: addWide, low: 1n << 21n, high: 1n << 52n, bits: 96n },
])('$name: half ± y mod m is exact', ({ add, low, high, bits }) => {
  const round = fc.tuple(modulus(low, high), fc.boolean()).chain(([m, forward]) =>
    near(0n, m - 1n).chain((half) =>
      fc.record({
        m: fc.constant(m),
        forward: fc.constant(forward),
        half: fc.constant(half),
        y: yOf(m, half, forward, bits),
      }),
    ),
  );
  test('against BigInt', () => {
    fc.assert(
      fc.property(round, ({ m, forward, half, y }) => {
        const block = Buffer.alloc(32, 0xff);
        const digits = y.toString(16).padStart(Number(bits) / 4, '0');
        block.write(digits, 16, 'hex');
        const view = new DataView(block.buffer, block.byteOffset, block.length);
        const target = Float64Array.of(-1, Number(half));
        add(view, 1, 2, target, modulusOf(Number(m)), forward);
        const sum = (forward ? half + y : half - y) % m;
        expect(BigInt(target[1]!)).toBe(sum < 0n ? sum + m : sum);
        expect(target[0]).toBe(-1);
      }),
      { numRuns: 20_000 },
    );
  });
});

test('halves become numerals and back, for every width', () => {
  const shape = fc
    .tuple(fc.integer({ min: 2, max: 65_536 }), fc.integer({ min: 2, max: 104 }))
    .map(([radix, length]) => shapeOf(radix, length))
    .filter(({ width }) => width !== 'big');
  const row = shape.chain((s) =>
    fc.tuple(fc.constant(s), near(0n, s.modulusU - 1n), near(0n, s.modulusV - 1n)),
  );
  fc.assert(
    fc.property(row, ([s, left, right]) => {
      const halves = {
        left: Float64Array.of(0, Number(left)),
        right: Float64Array.of(0, Number(right)),
      };
      const numerals = new Uint16Array(s.length + 3);
      const ends = Uint32Array.of(s.length + 2);
      const layout = { numerals, ends, order: Uint32Array.of(7, 0) };
      const group = { shape: s, from: 1, to: 2 };
      writeHalves(layout, group, halves);
      const number = (from: number, to: number): bigint =>
        numerals.subarray(from, to).reduce((n, x) => n * BigInt(s.radix) + BigInt(x), 0n);
      expect(number(2, 2 + s.u)).toBe(left);
      expect(number(2 + s.u, 2 + s.length)).toBe(right);
      expect([numerals[0], numerals[1], numerals[s.length + 2]]).toEqual([0, 0, 0]);
      expect(numerals.every((numeral) => numeral < s.radix)).toBe(true);
      halves.left.fill(-1);
      halves.right.fill(-1);
      readHalves(layout, group, halves);
      expect([halves.left[1], halves.right[1]]).toEqual([Number(left), Number(right)]);
    }),
    { numRuns: 3000 },
  );
});
