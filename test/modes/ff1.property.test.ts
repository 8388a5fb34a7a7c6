import { createCipheriv } from 'node:crypto';
import { FF1 } from '@noble/ciphers/ff1.js';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { columnOf } from '../../src/base/column.ts';
import { insecureMemoryKey } from '../../src/keys/insecure-memory.ts';
import { decryptRows, encryptRows, ff1Refusal } from '../../src/modes/ff1.ts';
import { CountingKey, numeralRows, rowsOf } from './batches.ts';

/** Radices at which the arithmetic changes hands, and common ones. */
const radix = fc.oneof(
  fc.constantFrom(2, 3, 10, 16, 26, 32, 36, 62, 64, 256, 1000, 1024, 65_535),
  fc.integer({ min: 2, max: 65_535 }),
);

/** The lengths FF1 takes for the radix, mostly those whose halves are numbers. */
function lengthOf(base: number): fc.Arbitrary<number> {
  let least = 2;
  while (ff1Refusal(base, least) !== undefined) least++;
  const short = Math.max(least, Math.floor(104 / Math.log2(base)) + 2);
  return fc.oneof(
    { weight: 8, arbitrary: fc.integer({ min: least, max: short }) },
    { weight: 1, arbitrary: fc.integer({ min: least, max: 120 }) },
  );
}

/** Rows of random numerals; all zero and all highest are likely, where carries go wrong. */
const rowOf = (base: number): fc.Arbitrary<number[]> =>
  lengthOf(base).chain((length) =>
    fc.oneof(
      {
        weight: 6,
        arbitrary: fc.array(fc.integer({ min: 0, max: base - 1 }), {
          minLength: length,
          maxLength: length,
        }),
      },
      {
        weight: 1,
        arbitrary: fc.constantFrom(0, base - 1).map((n) => new Array<number>(length).fill(n)),
      },
    ),
  );

const tweak = fc.uint8Array({ maxLength: 70 });
const rawKey = fc.uint8Array({ minLength: 32, maxLength: 32 });

const batch = radix.chain((base) =>
  fc.record({
    base: fc.constant(base),
    rows: fc.array(fc.tuple(rowOf(base), tweak), { minLength: 1, maxLength: 12 }),
    rawKey,
  }),
);

describe('FF1 equals noble row by row, and round-trips', () => {
  test('one tweak for all, lengths mixed', () => {
    fc.assert(
      fc.property(batch, tweak, ({ base, rows, rawKey: raw }, shared) => {
        const plain = rows.map(([row]) => row);
        const batchRows = numeralRows(base, plain);
        const key = insecureMemoryKey(raw, 'test');
        encryptRows(key, batchRows, shared);
        expect(rowsOf(batchRows)).toEqual(plain.map((row) => FF1(base, raw, shared).encrypt(row)));
        decryptRows(key, batchRows, shared);
        expect(rowsOf(batchRows)).toEqual(plain);
      }),
      { numRuns: 300 },
    );
  });

  test('a tweak a row, lengths of both mixed, and calls cut into chunks', () => {
    fc.assert(
      fc.property(batch, fc.integer({ min: 1, max: 5 }), ({ base, rows, rawKey: raw }, chunk) => {
        const plain = rows.map(([row]) => row);
        const batchRows = numeralRows(base, plain);
        const tweaks = columnOf(rows.map(([, own]) => own));
        const key = new CountingKey(insecureMemoryKey(raw, 'test'), chunk);
        encryptRows(key, batchRows, tweaks);
        const wanted = rows.map(([row, own]) => FF1(base, raw, own).encrypt(row));
        expect(rowsOf(batchRows)).toEqual(wanted);
        decryptRows(key, batchRows, tweaks);
        expect(rowsOf(batchRows)).toEqual(plain);
      }),
      { numRuns: 300 },
    );
  });
});

/** FF1 of one row as SP 800-38G §5.1 writes it, in BigInt: noble stops at radix 65,535. */
function plainFf1(raw: Uint8Array, base: bigint, tweakBytes: Uint8Array, row: number[]): number[] {
  const n = row.length;
  const u = n >> 1;
  const v = n - u;
  const b = Math.ceil((base ** BigInt(v) - 1n).toString(2).length / 8);
  const d = 4 * Math.ceil(b / 4) + 4;
  const bytes = (x: bigint, size: number): Buffer =>
    Buffer.from(x.toString(16).padStart(2 * size, '0'), 'hex');
  const num = (x: number[]): bigint => x.reduce((sum, numeral) => sum * base + BigInt(numeral), 0n);
  const ecb = (block: Uint8Array): Buffer =>
    createCipheriv('aes-256-ecb', raw, null).setAutoPadding(false).update(block);
  const p = Buffer.concat([
    Buffer.of(1, 2, 1),
    bytes(base, 3),
    Buffer.of(10, u & 255),
    bytes(BigInt(n), 4),
    bytes(BigInt(tweakBytes.length), 4),
  ]);
  const zeros = Buffer.alloc((((-tweakBytes.length - b - 1) % 16) + 16) % 16);
  let [a, c] = [num(row.slice(0, u)), num(row.slice(u))];
  for (let i = 0; i < 10; i++) {
    const pq = Buffer.concat([p, tweakBytes, zeros, Buffer.of(i), bytes(c, b)]);
    const cbc = createCipheriv('aes-256-cbc', raw, Buffer.alloc(16)).setAutoPadding(false);
    const r = cbc.update(pq).subarray(-16);
    const s: Uint8Array[] = [r];
    for (let j = 1; 16 * s.length < d; j++) {
      const mask = bytes(BigInt(j), 16);
      s.push(ecb(Buffer.from(r.map((byte, k) => byte ^ mask[k]!))));
    }
    const y = BigInt(`0x${Buffer.concat(s).toString('hex', 0, d)}`);
    [a, c] = [c, (a + y) % base ** BigInt(i % 2 === 0 ? u : v)];
  }
  const str = (x: bigint, m: number): number[] =>
    Array.from({ length: m }, (_, i) => Number((x / base ** BigInt(m - 1 - i)) % base));
  return [...str(a, u), ...str(c, v)];
}

test('FF1 equals a plain BigInt form at radix 65,536 and at full length', () => {
  const shape = fc.constantFrom(
    { base: 65_536, length: 2 },
    { base: 65_536, length: 3 },
    { base: 65_536, length: 4 },
    { base: 65_536, length: 6 },
    { base: 65_536, length: 7 },
    { base: 65_536, length: 512 },
    { base: 65_535, length: 6 },
    { base: 10, length: 512 },
    { base: 2, length: 512 },
    { base: 2, length: 104 },
    { base: 2, length: 105 },
  );
  fc.assert(
    fc.property(shape, rawKey, tweak, fc.nat(), ({ base, length }, raw, own, seed) => {
      const row = Array.from({ length }, (_, i) => (seed + i * 40_503) % base);
      const rows = numeralRows(base, [row, row]);
      const key = insecureMemoryKey(raw, 'test');
      encryptRows(key, rows, own);
      const wanted = plainFf1(raw, BigInt(base), own, row);
      expect(rowsOf(rows)).toEqual([wanted, wanted]);
      decryptRows(key, rows, own);
      expect(rowsOf(rows)).toEqual([row, row]);
    }),
    { numRuns: 60 },
  );
});
