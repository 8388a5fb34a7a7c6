import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { columnOf, rowBytes, stringsOf } from '../../src/base/column.ts';
import {
  canonicalise,
  countersOfTokens,
  indexMessages,
  tokensOfCounters,
} from '../../src/codec/random.ts';
import { COUNT_KEY, domainOf, NONE } from './domains.ts';
import { VALIDATORS } from './validators.ts';

const DOMAINS = [
  domainOf('static', 'digits:9'),
  domainOf('static', 'digits:3'),
  domainOf('dynamic', 'luhn:5', { safety: 'never-real' }),
  domainOf('static', 'digits:6-20', { formatOptions: { 'token-prefix': 'T-' } }),
  domainOf('dynamic', 'alphanumeric:8-12'),
  domainOf('static', 'luhn:8-19', { safety: 'never-real' }),
  domainOf('static', 'mrn'),
  domainOf('static', 'ssn'),
  domainOf('static', 'ssn', { safety: 'valid' }),
  domainOf('dynamic', 'mbi'),
  domainOf('dynamic', 'npi'),
  domainOf('static', 'phone', { safety: 'never-real' }),
  domainOf('static', 'phone:e164'),
  domainOf('static', 'phone:e164', { safety: 'never-real' }),
  domainOf('dynamic', 'name'),
  domainOf('dynamic', 'date'),
  domainOf('static', 'text'),
];

describe.each(DOMAINS)('$spec.format, $spec.safety', (domain) => {
  const top = domain.counterLimit;
  const counter = fc.oneof(
    fc.nat(2_000).map((n) => n % top),
    fc.maxSafeInteger().map((n) => Math.abs(n) % top),
    fc.nat(1_000).map((n) => top - 1 - (n % top)),
  );

  test('counters come back; no two share a token; X fails and V passes the validator', () =>
    fc.assert(
      fc.property(fc.uniqueArray(counter, { minLength: 1, maxLength: 60 }), (counters) => {
        const tokens = tokensOfCounters(COUNT_KEY, domain, Float64Array.from(counters));
        const texts = stringsOf(tokens);
        expect(new Set(texts).size).toBe(counters.length);
        const back = countersOfTokens(COUNT_KEY, domain, tokens);
        expect(back.errors).toEqual([]);
        expect([...back.counters]).toEqual(counters);
        const valid = VALIDATORS[domain.spec.format];
        if (valid === undefined) return;
        for (const text of texts) {
          expect(valid(text)).toBe(domain.spec.safety === 'valid');
          // Area 9xx is shared with taxpayers' numbers (ITIN 50–65, 70–88, 90–99; 93 is ATIN).
          if (domain.spec.format === 'ssn')
            expect(text).not.toMatch(/^9\d\d(5.|6[0-5]|7.|8[0-8]|9.)/);
        }
      }),
      { numRuns: 40 },
    ));

  test('what is no token is malformed', () => {
    const good = stringsOf(tokensOfCounters(COUNT_KEY, domain, Float64Array.of(5)))[0]!;
    const tokens = columnOf(['', good, `${good}0`, good.slice(1), 'UNKNOWN~']);
    const { counters, errors } = countersOfTokens(COUNT_KEY, domain, tokens);
    expect([...counters]).toEqual([NaN, 5, NaN, NaN, NaN]);
    expect(errors.map(({ index }) => index)).toEqual([0, 2, 3, 4]);
  });
});

test('a token beyond the counters is not found', () => {
  const domain = domainOf('static', 'alphanumeric:20');
  const { errors } = countersOfTokens(COUNT_KEY, domain, columnOf(['A'.repeat(20)]));
  expect(errors).toEqual([{ index: 0, reason: 'TOKEN_NOT_FOUND' }]);
});

test('separators are the value’s; a shape that does not fit is left out', () => {
  const like = columnOf(['536-22-1234', '536 22 1234', '536221234']);
  const ssn = domainOf('static', 'ssn');
  const tokens = stringsOf(tokensOfCounters(COUNT_KEY, ssn, Float64Array.of(1, 2, 3), like));
  expect(tokens.map((token) => token.replace(/\d/g, '#'))).toEqual([
    '###-##-####',
    '### ## ####',
    '#########',
  ]);
  const back = countersOfTokens(COUNT_KEY, ssn, columnOf(tokens));
  expect([...back.counters]).toEqual([1, 2, 3]);
  const name = domainOf('dynamic', 'name');
  // Behind the lead's width 16 letters of base 32 and a blank: no template all the same.
  const like16 = columnOf(['Dr. An bcdefgh ijklmnopq']);
  const named = tokensOfCounters(COUNT_KEY, name, Float64Array.of(1), like16);
  expect(stringsOf(named)[0]).toMatch(/^tk_tok_[a-z2-7]{16}$/);
});

describe('canonicalise', () => {
  test('normal form, stored value, first of equals', () => {
    const domain = domainOf('static', 'ssn', { onInvalid: 'pass' });
    const values = [
      '536-22-1234',
      '',
      '536221234',
      '078-05-1120',
      '665-01-0001',
      '536 22 1234',
      'x\ufffd',
    ];
    const got = canonicalise(domain, columnOf(values));
    expect(stringsOf(got.normal)).toEqual([
      '536221234',
      '',
      '536221234',
      '',
      '665010001',
      '536221234',
      '',
    ]);
    expect(stringsOf(got.stored)).toEqual([values[0], '', values[2], '', values[4], values[5], '']);
    expect([...got.first]).toEqual([0, 1, 0, 3, 4, 0, 6]);
    expect(got.passed).toEqual([3]);
    expect(got.opaque).toEqual([]);
    expect(got.distinct).toBe(3);
    expect(got.errors).toEqual([
      { index: 1, reason: 'VALUE_EMPTY' },
      { index: 6, reason: 'VALUE_MALFORMED' },
    ]);
  });

  test('context and subject tell equal values apart', () => {
    const domain = domainOf('static', 'digits:9');
    const values = columnOf(['123456789', '123456789', '123456789']);
    const contexts = columnOf(['a', 'a', 'b']);
    expect([...canonicalise(domain, values).first]).toEqual([0, 0, 0]);
    expect([...canonicalise(domain, values, contexts).first]).toEqual([0, 0, 2]);
    const subjects = columnOf([Buffer.alloc(16, 1), Buffer.alloc(16, 2), Buffer.alloc(16, 1)]);
    expect([...canonicalise(domain, values, contexts, subjects).first]).toEqual([0, 1, 2]);
  });
});

describe('index messages', () => {
  test('the design’s layout', () => {
    const subject = Buffer.alloc(16, 0xab);
    const message = (context: Uint8Array, owner: Uint8Array) =>
      Buffer.from(rowBytes(indexMessages(columnOf(['v']), context, owner), 0)).toString('hex');
    expect(message(NONE, NONE)).toBe(`00${'00'.repeat(16)}0076`);
    expect(message(Buffer.from('ctx'), subject)).toBe(`01${'ab'.repeat(16)}0363747876`);
    const long = rowBytes(indexMessages(columnOf(['x'.repeat(300)]), NONE, subject), 0);
    expect(long).toHaveLength(33);
    expect(long[0]).toBe(3);
  });

  test('injective in value, context and subject, also above 256 bytes', () => {
    const part = fc.string({ maxLength: 3, unit: fc.constantFrom('a', '\u0001', '\u0000') });
    const owner = fc.constantFrom('', '\u0000'.repeat(16), 'a'.repeat(16));
    const long = fc.constantFrom('', 'x'.repeat(300));
    const row = fc.tuple(part, part, owner, long);
    fc.assert(
      fc.property(fc.array(row, { minLength: 1, maxLength: 60 }), (rows) => {
        const messages = indexMessages(
          columnOf(rows.map(([value, , , tail]) => value + tail)),
          columnOf(rows.map(([, context]) => context)),
          columnOf(rows.map(([, , subject]) => subject)),
        );
        const made = rows.map((_, i) => Buffer.from(rowBytes(messages, i)).toString('hex'));
        expect(new Set(made).size).toBe(new Set(rows.map((each) => JSON.stringify(each))).size);
        expect(Math.max(...made.map((hex) => hex.length / 2))).toBeLessThanOrEqual(256);
      }),
    );
  });
});
