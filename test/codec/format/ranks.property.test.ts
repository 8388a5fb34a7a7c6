import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Language, RankedFormat } from '../../../src/codec/format/ranked.ts';
import { VALIDATORS } from '../validators.ts';
import { readerOf } from './cases.ts';

const formatOf = (name: string): RankedFormat => {
  const { format } = readerOf(name, {});
  if (format.family !== 'ranked') throw new TypeError('a ranked format');
  return format;
};

const member = (language: Language, rank: number): string => {
  const symbols = new Uint8Array(language.length);
  language.unrank(rank, symbols);
  return Buffer.from(symbols).toString('latin1');
};

const rankOf = (language: Language, text: string): number =>
  language.rank(new Uint8Array(Buffer.from(text, 'latin1')));

/** Ranks go by the number that the digits spell, so counting the validator's hits over a run of
 *  plain numbers is the oracle: no rank is skipped, none is used twice. */
function countRun(language: Language, valid: (text: string) => boolean, from: number): void {
  let before = -1;
  let hits = 0;
  for (let value = from; value < from + 12_000; value++) {
    const text = String(value).padStart(language.length, '0');
    const rank = rankOf(language, text);
    expect(rank >= 0, text).toBe(valid(text));
    if (rank < 0) continue;
    if (before >= 0 && rank !== before + 1) expect(rank, text).toBe(before + 1);
    before = rank;
    if (hits++ % 97 === 0) expect(member(language, rank)).toBe(text);
  }
}

const RUNS: readonly [format: string, starts: readonly number[]][] = [
  ['ssn', [0, 1_009_990, 665_989_990, 666_989_990, 899_989_990, 123_000_000, 77_991_000]],
  ['npi', [999_990_000, 1_234_560_000, 1_999_990_000, 2_999_990_000]],
  ['phone', [2_001_990_000, 2_009_990_000, 2_104_100_000, 4_109_990_000, 9_999_990_000]],
];
for (const [name, starts] of RUNS) {
  test.each(starts)(`${name}: members from %i on have consecutive ranks`, (start) =>
    countRun(formatOf(name).valid[0]!, VALIDATORS[name]!, start),
  );
}

/** With letters: the members in the order of their characters, digits before letters, so a rank
 *  is what the class of each place counts, summed in exact integers. */
test('mbi: the rank is the place in the sorted list', () => {
  const [language] = formatOf('mbi').valid;
  const a = 'ACDEFGHJKMNPQRTUVWXY';
  const n = '0123456789';
  const classes = ['123456789', a, n + a, n, a, n + a, n, a, a, n, n];
  fc.assert(
    fc.property(fc.tuple(...classes.map((set) => fc.constantFrom(...set))), (chars) => {
      let wanted = 0n;
      for (const [i, char] of chars.entries()) {
        const after = classes.slice(i + 1).reduce((all, set) => all * BigInt(set.length), 1n);
        wanted += BigInt(classes[i]!.indexOf(char)) * after;
      }
      expect(rankOf(language!, chars.join(''))).toBe(Number(wanted));
    }),
  );
});

describe('sizes are the published ones', () => {
  test.each([
    ['ssn', 888_931_098n, 55_000_000n],
    ['npi', 200_000_000n, 200_000_000n],
    ['mbi', 12_960_000_000_000n, undefined],
    ['phone', 6_272_640_000n, 2_000_000_000n],
  ])('%s', (name, size, neverReal) => {
    const format = formatOf(name);
    expect(format.size).toBe(size);
    if (neverReal !== undefined) expect(format.neverRealSize).toBe(neverReal);
    expect(format.neverRealSize >= 1_000_000n).toBe(true);
  });
});

const LANGUAGES = ['ssn', 'npi', 'mbi', 'phone', 'phone:e164'].flatMap((name) => {
  const format = formatOf(name);
  const valid = format.valid.map((language, i) => ({ name, which: `V${i}`, language }));
  return [...valid, { name, which: 'X', language: format.neverReal! }];
});

describe.each(LANGUAGES)('$name $which', ({ name, which, language }) => {
  const anyRank = fc.oneof(
    fc.maxSafeInteger().map((n) => Math.abs(n) % language.size),
    fc.integer({ min: 0, max: 2_000 }),
    fc.integer({ min: 1, max: 2_000 }).map((n) => language.size - n),
  );

  test('unrank, then rank, is the same number; the validator agrees with the mode', () =>
    fc.assert(
      fc.property(anyRank, (rank) => {
        const text = member(language, rank);
        expect(rankOf(language, text)).toBe(rank);
        const written = name === 'phone:e164' ? `+${text}` : text;
        expect(VALIDATORS[name]!(written)).toBe(which !== 'X');
      }),
      { numRuns: 400 },
    ));

  test('the first and the last member', () => {
    expect(rankOf(language, member(language, 0))).toBe(0);
    expect(rankOf(language, member(language, language.size - 1))).toBe(language.size - 1);
  });
});
