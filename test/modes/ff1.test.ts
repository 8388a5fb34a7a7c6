import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { insecureMemoryKey } from '../../src/keys/insecure-memory.ts';
import {
  decryptRows,
  encryptRows,
  FF1_DOMAIN_MIN,
  FF1_LENGTH_MAX,
  ff1Refusal,
} from '../../src/modes/ff1.ts';
import { hex, numeralRows, rowsOf } from './batches.ts';

/** Typed in as facts: nine samples, three key sizes, two radices. */
interface Samples {
  readonly samples: readonly {
    readonly sample: number;
    readonly key: string;
    readonly radix: number;
    readonly tweak: string;
    readonly pt: string;
    readonly ct: string;
  }[];
}
const nist = JSON.parse(readFileSync(new URL('nist-ff1.json', import.meta.url), 'utf8')) as Samples;

const numerals = (text: string): number[] => [...text].map((digit) => Number.parseInt(digit, 36));

describe('SP 800-38G FF1', () => {
  for (const { sample, key, radix, tweak, pt, ct } of nist.samples) {
    test(`NIST sample ${sample}`, () => {
      const blockKey = insecureMemoryKey(hex(key), 'test');
      const rows = numeralRows(radix, [numerals(pt), numerals(pt)]);
      encryptRows(blockKey, rows, hex(tweak));
      expect(rowsOf(rows)).toEqual([numerals(ct), numerals(ct)]);
      decryptRows(blockKey, rows, hex(tweak));
      expect(rowsOf(rows)).toEqual([numerals(pt), numerals(pt)]);
    });
  }
});

describe('what FF1 refuses', () => {
  const key = insecureMemoryKey(new Uint8Array(32), 'test');
  const none = new Uint8Array(0);

  test('a domain below 1,000,000', () => {
    expect(FF1_DOMAIN_MIN).toBe(1_000_000);
    expect(ff1Refusal(10, 5)).toBe('domain-too-small');
    expect(ff1Refusal(10, 6)).toBeUndefined();
    expect(ff1Refusal(999, 2)).toBe('domain-too-small');
    expect(ff1Refusal(1000, 2)).toBeUndefined();
    expect(ff1Refusal(2, 19)).toBe('domain-too-small');
    expect(ff1Refusal(2, 20)).toBeUndefined();
    expect(() => encryptRows(key, numeralRows(10, [[1, 2, 3, 4, 5]]), none)).toThrow();
  });

  test('a radix outside 2 to 65,536', () => {
    expect(ff1Refusal(1, 40)).toBe('radix-out-of-range');
    expect(ff1Refusal(65_536, 2)).toBeUndefined();
    expect(ff1Refusal(65_537, 2)).toBe('radix-out-of-range');
    expect(ff1Refusal(10.5, 9)).toBe('radix-out-of-range');
  });

  test('a length outside 2 to 512', () => {
    expect(ff1Refusal(65_536, 1)).toBe('too-short');
    expect(ff1Refusal(10, FF1_LENGTH_MAX)).toBeUndefined();
    expect(ff1Refusal(10, FF1_LENGTH_MAX + 1)).toBe('too-long');
    const long = numeralRows(10, [new Array<number>(513).fill(1)]);
    expect(() => encryptRows(key, long, none)).toThrow();
    expect(() => encryptRows(key, numeralRows(10, [[]]), none)).toThrow();
  });

  test.each([9, 16, 24, 40])('a numeral that is not below the radix, %i numerals', (length) => {
    for (const at of [0, length - 1]) {
      const row = new Array<number>(length).fill(9);
      row[at] = 10;
      expect(() => encryptRows(key, numeralRows(10, [row]), none)).toThrow('not below the radix');
    }
  });

  test('tweaks that are not one a row, or too long', () => {
    const rows = numeralRows(10, [[1, 2, 3, 4, 5, 6]]);
    const two = { bytes: none, ends: Uint32Array.of(0, 0) };
    expect(() => encryptRows(key, rows, two)).toThrow();
    expect(() => encryptRows(key, rows, new Uint8Array(4097))).toThrow();
    expect(rowsOf(rows)).toEqual([[1, 2, 3, 4, 5, 6]]);
  });
});

test('an empty batch asks nothing of the key', () => {
  const key = insecureMemoryKey(new Uint8Array(32), 'test');
  encryptRows(key, numeralRows(10, []), new Uint8Array(0));
});

test('rows stay as they were when the key fails half way', () => {
  const inner = insecureMemoryKey(new Uint8Array(32), 'test');
  for (const length of [9, 40]) {
    let calls = 0;
    const failing = {
      id: 'test',
      blocksMax: inner.blocksMax,
      encryptBlocks(blocks: Uint8Array): void {
        if (++calls === 7) throw new Error('gone');
        inner.encryptBlocks(blocks);
      },
    };
    const row = new Array<number>(length).fill(7);
    const rows = numeralRows(10, [row, row]);
    expect(() => encryptRows(failing, rows, new Uint8Array(0))).toThrow('gone');
    expect(rowsOf(rows)).toEqual([row, row]);
    // The scratch buffers that are kept must not carry over into the next batch.
    encryptRows(inner, rows, new Uint8Array(0));
    decryptRows(inner, rows, new Uint8Array(0));
    expect(rowsOf(rows)).toEqual([row, row]);
  }
});
