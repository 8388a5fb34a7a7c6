import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type CacheKey, type Decision, DecisionCache } from '../../src/policy/decision-cache.ts';
import { ACTIONS } from '../../src/policy/grants.ts';

const key: CacheKey = {
  callerId: 'dev:ehr',
  organisation: 'clinic',
  action: 'Tokenize',
  domainId: 'clinic/ssn',
  kind: 'fpe',
  format: 'ssn',
  purpose: 0,
  exponent: 0,
};
const decision = (rule: string): Decision => ({ allow: true, rules: [rule] });

describe('DecisionCache', () => {
  test.each([
    { callerId: 'dev:dev' },
    { organisation: 'rival' },
    { action: 'Lookup' as const },
    { domainId: 'clinic/mrn' },
    { kind: 'siv' },
    { format: 'digits:9' },
    { purpose: 1 },
    { exponent: 63 },
  ])('tells apart what differs in %j alone', (change) => {
    const cache = new DecisionCache(100);
    const other = { ...key, ...change };
    cache.put(key, decision('one'));
    expect(cache.get(other)).toBeUndefined();
    cache.put(other, decision('two'));
    expect(cache.get(other)).toEqual(decision('two'));
    // The first one may have been pushed out, and may not have become the second.
    expect([undefined, decision('one')]).toContainEqual(cache.get(key));
  });

  test('places of action, purpose and size never meet', () => {
    const cache = new DecisionCache(200_000);
    const all = ACTIONS.flatMap((action) =>
      [0, 1, 7, 8, 35, 63].flatMap((purpose) =>
        [0, 1, 8, 14, 53, 63].map((exponent) => ({ ...key, action, purpose, exponent })),
      ),
    );
    for (const [i, one] of all.entries()) cache.put(one, decision(`${i}`));
    for (const [i, one] of all.entries()) expect(cache.get(one)).toEqual(decision(`${i}`));
    expect(cache.size).toBe(all.length);
  });

  test('0 and 1 keep nothing', () => {
    for (const size of [0, 1]) {
      const cache = new DecisionCache(size);
      cache.put(key, decision('one'));
      expect(cache.get(key)).toBeUndefined();
      expect(cache.size).toBe(0);
    }
  });

  test('what is in use outlives a flood of other asks', () => {
    const cache = new DecisionCache(10);
    cache.put(key, decision('used'));
    for (let i = 0; i < 1_000; i++) {
      cache.put({ ...key, domainId: `clinic/flood-${i}` }, decision('flood'));
      expect(cache.get(key)).toEqual(decision('used'));
    }
    expect(cache.size).toBeLessThanOrEqual(10);
  });

  test('is never larger than asked, and never answers with what was not put there', () => {
    const keys = fc.record({
      callerId: fc.constantFrom('a', 'b'),
      organisation: fc.constantFrom('clinic', 'rival'),
      action: fc.constantFrom('Tokenize' as const, 'Lookup' as const),
      domainId: fc.constantFrom('clinic/a', 'clinic/b'),
      kind: fc.constantFrom('fpe', 'siv'),
      format: fc.constantFrom('ssn', 'text'),
      purpose: fc.nat(2),
      exponent: fc.nat(2),
    });
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.boolean(), keys)), fc.nat(20), (steps, size) => {
        const cache = new DecisionCache(size);
        for (const [put, one] of steps) {
          // As with a policy, one ask has one answer for as long as the cache lives.
          const answer = decision(JSON.stringify(one));
          if (put) cache.put(one, answer);
          else expect([undefined, answer]).toContainEqual(cache.get(one));
          expect(cache.size).toBeLessThanOrEqual(size);
        }
      }),
    );
  });
});
