import { FF1 } from '@noble/ciphers/ff1.js';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { columnOf, stringsOf } from '../../src/base/column.ts';
import type { Safety } from '../../src/base/domain.ts';
import { decodeFpe, encodeFpe, fpeTweaks } from '../../src/codec/fpe.ts';
import { permuteRanks } from '../../src/codec/permute.ts';
import { tokensOfCounters } from '../../src/codec/random.ts';
import { COUNT_KEY, domainOf, KEYS, NONE, rawKey } from './domains.ts';
import { VALIDATORS } from './validators.ts';

const encode = (domain: ReturnType<typeof domainOf>, values: string[], tweak = NONE) =>
  stringsOf(encodeFpe(KEYS, domain, columnOf(values), tweak).column);
const decode = (domain: ReturnType<typeof domainOf>, tokens: string[], tweak = NONE) =>
  stringsOf(decodeFpe(KEYS, domain, columnOf(tokens), tweak).column);

const BASE36 = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ';
const ODD = 'qwertyuiop';

describe('a plain radix string equals another FF1 digit for digit', () => {
  test.each([
    ['digits:6-20', '0123456789', {}],
    ['alphanumeric:4-20', BASE36, {}],
    ['alphabet', ODD, { alphabet: ODD, min: '6', max: '20' }],
  ])('%s', (format, alphabet, formatOptions) => {
    const domain = domainOf('fpe', format, { formatOptions });
    const row = fc.string({ minLength: 6, maxLength: 20, unit: fc.constantFrom(...alphabet) });
    fc.assert(
      fc.property(
        fc.array(row, { minLength: 1, maxLength: 30 }),
        fc.uint8Array({ maxLength: 64 }),
        (values, tweak) => {
          const oracle = FF1(alphabet.length, rawKey('fpe'), tweak);
          const wanted = values.map((value) =>
            oracle
              .encrypt([...value].map((char) => alphabet.indexOf(char)))
              .map((numeral) => alphabet[numeral])
              .join(''),
          );
          const tokens = encode(domain, values, tweak);
          expect(tokens).toEqual(wanted);
          expect(decode(domain, tokens, tweak)).toEqual(values);
        },
      ),
      { numRuns: 60 },
    );
  });
});

describe('a ranked format equals another FF1 that walks cycles', () => {
  /** Rank of the digits, the size, the radix and length of design.md's rule worked out by hand,
   *  and the digits of a rank. */
  const table: [string, number, number, number, (v: string) => number, (r: number) => string][] = [
    // ⌈√200,000,000⌉ = 14,143: two numerals.
    ['npi', 2e8, 14_143, 2, (v) => Number(v.slice(0, 9)) - 1e8, (r) => String(r + 1e8)],
    // ⌈(8·10^11)^(1/4)⌉ = 946: four, as 894,428 is no radix.
    ['phone:e164', 8e11, 946, 4, (v) => Number(v.slice(1)) - 2e11, (r) => `+${r + 2e11}`],
  ];
  test.each(table)('%s', (format, size, radix, length, rankOf, textOf) => {
    const domain = domainOf('fpe', format, { safety: 'valid' });
    const values = members(format, 300);
    const tweak = Buffer.from('ward 7');
    const oracle = FF1(radix, rawKey('fpe'), tweak);
    const wanted = values.map((value) => {
      let rank = rankOf(value);
      do {
        const numerals = Array.from(
          { length },
          (_, i) => Math.floor(rank / radix ** (length - 1 - i)) % radix,
        );
        rank = oracle.encrypt(numerals).reduce((sum, numeral) => sum * radix + numeral, 0);
      } while (rank >= size);
      return textOf(rank);
    });
    // The check digit is the validators' matter.
    const tokens = encode(domain, values, tweak);
    expect(tokens.map((token) => (format === 'npi' ? token.slice(0, 9) : token))).toEqual(wanted);
  });

  test('shapes mixed in one batch, a tweak an item', () => {
    const domain = domainOf('fpe', 'phone:e164');
    const values = [
      '+12025550123',
      '+493012345678',
      '+2901234',
      'x',
      '+12025550124',
      '+493012345679',
    ];
    const tweaks = values.map((_, i) => `tweak ${i}`);
    const got = encodeFpe(KEYS, domain, columnOf(values), columnOf(tweaks));
    const alone = values.map((value, i) => encode(domain, [value], Buffer.from(tweaks[i]!))[0]);
    expect(stringsOf(got.column)).toEqual(alone);
    expect(new Set([...alone, ...values]).size).toBe(12);
    expect(stringsOf(decodeFpe(KEYS, domain, got.column, columnOf(tweaks)).column)).toEqual(
      values.map((value) => (value === 'x' ? '' : value)),
    );
  });
});

/** Members of a ranked format in mode V, as random as the counters. */
const members = (format: string, count: number): string[] =>
  stringsOf(
    tokensOfCounters(
      COUNT_KEY,
      domainOf('static', format, { safety: 'valid' }),
      Float64Array.from({ length: count }, (_, i) => i * 7919),
    ),
  );

describe('tokens and validators', () => {
  const table: [string, Safety][] = [
    ['npi', 'never-real'],
    ['npi', 'valid'],
    ['mbi', 'never-real'],
    ['mbi', 'valid'],
    ['ssn', 'valid'],
    ['phone', 'valid'],
    ['phone:e164', 'valid'],
    ['luhn:8-19', 'valid'],
    ['luhn:8-19', 'never-real'],
  ];
  test.each(table)('%s in FPE, %s', (format, safety) => {
    const domain = domainOf('fpe', format, { safety });
    const values = members(format, 3_000);
    const { column, errors, distinct } = encodeFpe(KEYS, domain, columnOf(values), NONE);
    const tokens = stringsOf(column);
    expect(errors).toEqual([]);
    expect(distinct).toBe(3_000);
    const valid = VALIDATORS[format]!;
    for (const [i, token] of tokens.entries()) {
      if (!valid(values[i]!) || valid(token) !== (safety === 'valid')) {
        expect.fail(`row ${i} of ${format}: ${values[i]} became ${token}`);
      }
    }
    expect(new Set(tokens).size).toBe(3_000);
    expect(decode(domain, tokens)).toEqual(values);
  });
});

test.each(['npi', 'mbi', 'ssn', 'phone'])('%s: 10,000 members walk in at most 3 passes', (name) => {
  const { format } = domainOf('fpe', name, { safety: 'valid' });
  if (format.family !== 'ranked') throw new TypeError('a ranked format');
  const size = format.valid[0]!.size;
  const ranks = Float64Array.from({ length: 10_000 }, (_, i) => Math.floor((size / 10_000) * i));
  const passes = permuteRanks(KEYS.fpe!, format.valid, ranks, null, NONE, 'encrypt');
  expect(passes).toBeLessThanOrEqual(3);
  expect(passes).toBeGreaterThan(0);
  expect(new Set(ranks).size).toBe(10_000);
});

describe('separators stay where they stand', () => {
  test.each([
    ['ssn', { safety: 'valid' as const }, ['536-22-1234', '536 22 1234', '536221234']],
    ['mbi', {}, ['1EG4-TE5-MK73', '1EG4TE5MK73']],
    ['phone', {}, ['+1 (202) 555-0123', '202.555.0123', '1-202-555-0123', '2025550123']],
    ['phone:e164', {}, ['+49 30/1234567', '+12025550123', '+1 (202) 555-0123']],
    ['luhn:16', {}, ['4111 1111 1111 1111', '4111-1111-1111-1111', '4111111111111111']],
    [
      'digits:6-10',
      { formatOptions: { separators: '-.', prefix: 'P-', 'token-prefix': 'T.', suffix: '.' } },
      ['P-1-2.3456.', 'P-123456.', 'P-.123456-.', 'P-1234567890.'],
    ],
  ])('%s', (format, more, values) => {
    const domain = domainOf('fpe', format, more);
    const tokens = encode(domain, values);
    const shape = (text: string) => text.replace(/[0-9A-Z]/gi, '#').replace(/^#\./, '');
    expect(tokens.map(shape)).toEqual(values.map(shape));
    expect(decode(domain, tokens)).toEqual(values);
    // The same characters with other separators are the same token in other clothes.
    const bare = new Set(tokens.map((token) => token.replace(/[^0-9A-Z]/gi, '').slice(-9)));
    if (format === 'ssn' || format === 'mbi') expect(bare.size).toBe(1);
  });

  test('a country code stays', () => {
    const tokens = encode(domainOf('fpe', 'phone'), ['+1 202 555 0123', '2025550123']);
    expect(tokens[0]).toMatch(/^\+1 /);
    expect(tokens[0]!.replace(/\D/g, '')).toBe(`1${tokens[1]}`);
  });

  test('a plain digits row equals its separated one', () => {
    const domain = domainOf('fpe', 'digits:9', { formatOptions: { separators: '-' } });
    const [plain, parted] = encode(domain, ['123456789', '123-456-789']);
    expect(parted).toMatch(/^\d{3}-\d{3}-\d{3}$/);
    expect(parted!.replaceAll('-', '')).toBe(plain);
  });
});

describe('duplicates', () => {
  test('are computed once and come back everywhere', () => {
    const domain = domainOf('fpe', 'digits:9');
    const values = Array.from({ length: 999 }, (_, i) => String(i % 10).repeat(9));
    const got = encodeFpe(KEYS, domain, columnOf(values), NONE);
    expect(got.distinct).toBe(10);
    expect(stringsOf(got.column)).toEqual(values.map((value) => encode(domain, [value])[0]));
  });

  test('a tweak an item is part of the item', () => {
    const domain = domainOf('fpe', 'digits:9');
    const values = ['123456789', '123456789', 'bad', '123456789', 'bad'];
    const tweaks = columnOf(['a', 'a', 'a', 'b', 'b']);
    const got = encodeFpe(KEYS, domain, columnOf(values), tweaks);
    const [a] = encode(domain, ['123456789'], Buffer.from('a'));
    const [b] = encode(domain, ['123456789'], Buffer.from('b'));
    expect(stringsOf(got.column)).toEqual([a, a, '', b, '']);
    expect(got.distinct).toBe(4);
    expect(got.errors.map(({ index }) => index)).toEqual([2, 4]);
    const back = decodeFpe(KEYS, domain, got.column, tweaks);
    expect(stringsOf(back.column)).toEqual(['123456789', '123456789', '', '123456789', '']);
    expect(back.errors).toEqual([2, 4].map((index) => ({ index, reason: 'TOKEN_MALFORMED' })));
  });
});

describe('values outside the format', () => {
  const values = [
    '536-22-1234',
    '',
    '078-05-1120',
    '999-12-3456',
    'odd|one',
    'x\ufffd',
    '536-22-1234',
  ];
  const long = 'x'.repeat(4_097);
  const batch = columnOf([...values, long]);
  const always = [
    { index: 1, reason: 'VALUE_EMPTY' },
    { index: 5, reason: 'VALUE_MALFORMED' },
    { index: 7, reason: 'VALUE_TOO_LONG' },
  ];

  test('reject: an error each', () => {
    const domain = domainOf('fpe', 'ssn', { safety: 'valid' });
    const { errors, column, opaque, passed } = encodeFpe(KEYS, domain, batch, NONE);
    expect(errors).toEqual([
      always[0],
      { index: 2, reason: 'VALUE_PLACEHOLDER' },
      { index: 3, reason: 'VALUE_CHECK_FAILED' },
      { index: 4, reason: 'VALUE_MALFORMED' },
      always[1],
      always[2],
    ]);
    expect([...opaque, ...passed]).toEqual([]);
    const rows = stringsOf(column);
    expect(rows.map((row) => row.length)).toEqual([11, 0, 0, 0, 0, 0, 11, 0]);
    expect(rows[0]).toBe(rows[6]);
  });

  test('pass: untouched and noted; decoding stays closed', () => {
    const domain = domainOf('fpe', 'ssn', { safety: 'valid', onInvalid: 'pass' });
    const got = encodeFpe(KEYS, domain, batch, NONE);
    expect(got.errors).toEqual(always);
    expect(got.passed).toEqual([2, 3, 4]);
    expect(stringsOf(got.column).slice(2, 5)).toEqual(values.slice(2, 5));
    expect(decodeFpe(KEYS, domain, columnOf(['odd|one']), NONE).errors).toEqual([
      { index: 0, reason: 'TOKEN_MALFORMED' },
    ]);
  });

  test('tokenize-opaque: sealed, noted, and back', () => {
    const domain = domainOf('fpe', 'ssn', { safety: 'valid', onInvalid: 'tokenize-opaque' });
    const tweak = Buffer.from('ward 7');
    const got = encodeFpe(KEYS, domain, batch, tweak);
    expect(got.errors).toEqual(always);
    expect(got.opaque).toEqual([2, 3, 4]);
    for (const row of [2, 3, 4]) {
      expect(stringsOf(got.column)[row]).toMatch(/^tx_tok_[a-z2-7]{52}$/);
    }
    const back = decodeFpe(KEYS, domain, got.column, tweak);
    expect(back.opaque).toEqual([2, 3, 4]);
    expect(stringsOf(back.column)).toEqual([
      '536-22-1234',
      '',
      ...values.slice(2, 5),
      '',
      '536-22-1234',
      '',
    ]);
    const lost = decodeFpe(KEYS, domain, got.column, NONE);
    expect(
      lost.errors.filter(({ reason }) => reason === 'TOKEN_NOT_FOUND').map((e) => e.index),
    ).toEqual([2, 3, 4]);
  });
});

test('a token of mode X that no value maps to is malformed', () => {
  const domain = domainOf('fpe', 'mbi');
  const last = stringsOf(encodeFpe(KEYS, domain, columnOf(['1EG4TE5MK73']), NONE).column)[0]!;
  const { errors } = decodeFpe(KEYS, domain, columnOf(['9YZ9ZZ9ZZ99', '1EG4TE5MK73', last]), NONE);
  expect(errors.map(({ index }) => index)).toEqual([0, 1]);
});

test('tweaks join context and subject', () => {
  const text = (item: Uint8Array | ReturnType<typeof columnOf>) =>
    item instanceof Uint8Array ? Buffer.from(item).toString() : stringsOf(item);
  const [c, s] = [Buffer.from('c'), Buffer.from('s')];
  expect(text(fpeTweaks(c, NONE))).toBe('c');
  expect(text(fpeTweaks(NONE, s))).toBe('s');
  expect(text(fpeTweaks(c, s))).toBe('cs');
  expect(text(fpeTweaks(columnOf(['a', 'b']), s))).toEqual(['as', 'bs']);
  expect(text(fpeTweaks(c, columnOf(['x', 'y'])))).toEqual(['cx', 'cy']);
  expect(text(fpeTweaks(columnOf(['a', '']), columnOf(['x', 'y'])))).toEqual(['ax', 'y']);
});

test('an empty batch', () => {
  for (const format of ['digits:9', 'npi']) {
    const got = encodeFpe(KEYS, domainOf('fpe', format), columnOf([]), NONE);
    expect(got).toMatchObject({ errors: [], distinct: 0 });
    expect(got.column.ends).toHaveLength(0);
  }
});
