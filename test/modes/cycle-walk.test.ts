import { FF1 } from '@noble/ciphers/ff1.js';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { columnOf } from '../../src/base/column.ts';
import { insecureMemoryKey } from '../../src/keys/insecure-memory.ts';
import { decryptWithin, encryptWithin, walkLimit, walkShape } from '../../src/modes/cycle-walk.ts';
import { CountingKey, numeralRows, rowsOf } from './batches.ts';

const raw = Uint8Array.from({ length: 32 }, (_, i) => 255 - i);
const key = insecureMemoryKey(raw, 'test');
const NONE = new Uint8Array(0);

const numeralsOf = (x: bigint, radix: number, length: number): number[] =>
  Array.from({ length }, (_, i) =>
    Number((x / BigInt(radix) ** BigInt(length - 1 - i)) % BigInt(radix)),
  );
const numberOf = (numerals: readonly number[], radix: number): bigint =>
  numerals.reduce((x, numeral) => x * BigInt(radix) + BigInt(numeral), 0n);

describe('walkShape', () => {
  test.each([
    [1_000_000n, 1000, 2],
    [1_000_001n, 1001, 2],
    [888_931_098n, 29_815, 2], // SSN
    [200_000_000n, 14_143, 2], // NPI
    [65_536n ** 2n, 65_536, 2],
    [65_536n ** 2n + 1n, 257, 4],
    [12_960_000_000_000n, 1898, 4], // MBI, about
    [65_536n ** 4n, 65_536, 4],
    [10n ** 30n, 100_000, 6],
  ])('%i', (size, radix, length) => {
    const shape = walkShape(size);
    if (radix <= 65_536) expect(shape).toEqual({ radix, length });
    expect(BigInt(shape.radix) ** BigInt(shape.length)).toBeGreaterThanOrEqual(size);
    expect(BigInt(shape.radix - 1) ** BigInt(shape.length)).toBeLessThan(size);
    expect(shape.radix).toBeLessThanOrEqual(65_536);
  });

  test('a range below 1,000,000 is refused, as is a limit below it', () => {
    expect(() => walkShape(999_999n)).toThrow();
    const rows = numeralRows(1000, [[0, 1]]);
    expect(() => encryptWithin(key, rows, Uint16Array.of(999, 999), NONE)).toThrow();
  });
});

test('walks as value by value walking with noble does, and back', () => {
  const size = fc.oneof(
    fc.bigInt({ min: 1_000_000n, max: 5_000_000_000n }),
    fc.bigInt({ min: 1_000_000n, max: 1n << 70n }),
  );
  const tweak = fc.uint8Array({ maxLength: 20 });
  fc.assert(
    fc.property(
      size,
      fc.array(fc.tuple(fc.bigInt({ min: 0n, max: 1n << 80n }), tweak), { maxLength: 12 }),
      fc.integer({ min: 0, max: 3 }),
      fc.boolean(),
      (range, items, widen, shared) => {
        const best = walkShape(range);
        fc.pre(best.radix + widen * 9 < 65_536);
        // A radix larger than needed walks longer.
        const shape = { radix: best.radix + widen * 9, length: best.length };
        const limit = walkLimit(range, shape);
        const plain = items.map(([x]) => numeralsOf(x % range, shape.radix, shape.length));
        const rows = numeralRows(shape.radix, plain);
        const tweaks = shared ? NONE : columnOf(items.map(([, own]) => own));
        let passesMax = 1;
        const wanted = items.map(([, own], row) => {
          const ff1 = FF1(shape.radix, raw, shared ? NONE : own);
          let token = plain[row]!;
          let passes = 0;
          do {
            token = ff1.encrypt(token);
            passes++;
          } while (numberOf(token, shape.radix) >= range);
          passesMax = Math.max(passesMax, passes);
          return token;
        });
        expect(encryptWithin(key, rows, limit, tweaks)).toBe(passesMax);
        expect(rowsOf(rows)).toEqual(wanted);
        expect(decryptWithin(key, rows, limit, tweaks)).toBe(passesMax);
        expect(rowsOf(rows)).toEqual(plain);
      },
    ),
    { numRuns: 150 },
  );
});

test('is a permutation of [0, 1,000,003), every member once', () => {
  const size = 1_000_003;
  const shape = walkShape(BigInt(size));
  const limit = walkLimit(BigInt(size), shape);
  const seen = new Uint8Array(size);
  const batch = 100_000;
  for (let first = 0; first < size; first += batch) {
    const count = Math.min(batch, size - first);
    const numerals = new Uint16Array(count * 2);
    for (let i = 0; i < count; i++) {
      numerals[2 * i] = Math.floor((first + i) / shape.radix);
      numerals[2 * i + 1] = (first + i) % shape.radix;
    }
    const ends = Uint32Array.from({ length: count }, (_, i) => 2 * (i + 1));
    const passes = encryptWithin(key, { radix: shape.radix, numerals, ends }, limit, NONE);
    expect(passes).toBeLessThanOrEqual(4);
    for (let i = 0; i < count; i++) {
      const token = numerals[2 * i]! * shape.radix + numerals[2 * i + 1]!;
      if (token >= size || seen[token] === 1) throw new Error('not a permutation');
      seen[token] = 1;
    }
  }
  expect(seen.every((mark) => mark === 1)).toBe(true);
});

test('a limit of radix^length is no walk, one pass', () => {
  const shape = walkShape(1_000_000n);
  const limit = walkLimit(1_000_000n, shape);
  expect([...limit]).toEqual([0, 0]);
  const counting = new CountingKey(key);
  expect(encryptWithin(counting, numeralRows(1000, [[999, 999]]), limit, NONE)).toBe(1);
  expect(counting.take()).toBe(11);
});

test('rows past the limit, or of another length, are refused', () => {
  const shape = walkShape(1_500_000n);
  const limit = walkLimit(1_500_000n, shape);
  const past = numeralsOf(1_500_000n, shape.radix, shape.length);
  expect(() => encryptWithin(key, numeralRows(shape.radix, [past]), limit, NONE)).toThrow();
  expect(() => encryptWithin(key, numeralRows(shape.radix, [[1, 2, 3]]), limit, NONE)).toThrow();
  const last = numeralsOf(1_499_999n, shape.radix, shape.length);
  expect(() => encryptWithin(key, numeralRows(shape.radix, [last]), limit, NONE)).not.toThrow();
});
