import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Engine } from '../../src/engine/calls.ts';
import { BY_SUBJECT, byValues, eraseCall } from './erasing.ts';
import { detokenizeCall, each, lookupCall, one, textOf, tokenizeCall } from './harness.ts';
import { makeMergeDomains, mergeInstallation, V, W } from './merging.ts';
import { callsOf, patients, UNKNOWN } from './patients.ts';

const home = mergeInstallation();
let engine: Engine;

beforeAll(async () => {
  engine = await home.open();
  await makeMergeDomains(engine);
});
afterAll(async () => {
  await engine.close();
  home.remove();
});

const { merge, reveal, token, tokens, unmerge } = callsOf(() => engine);
const reopen = async (): Promise<void> => {
  await engine.close();
  engine = await home.open();
};

describe.each(['mrn', 'visit', 'note'])('a merge, and %s', (id) => {
  test('either id opens what the other had, until it is taken back', async () => {
    const [a, b, c] = patients();
    const ofA = await token(id, a, V);
    const ofB = await token(id, b, W);
    expect(await reveal(id, a, ofB)).toBe(UNKNOWN);
    const { merge: made } = await merge(a, b);
    expect([await reveal(id, a, ofB), await reveal(id, b, ofA)]).toEqual([W, V]);
    expect([await reveal(id, a, ofA), await reveal(id, b, ofB)]).toEqual([V, W]);
    expect(await reveal(id, c, ofB)).toBe(UNKNOWN);
    const during = await token(id, b, '555555555');
    await unmerge(made);
    expect([await reveal(id, a, ofB), await reveal(id, b, ofA)]).toEqual([UNKNOWN, UNKNOWN]);
    expect([await reveal(id, a, ofA), await reveal(id, b, ofB)]).toEqual([V, W]);
    expect(await reveal(id, b, during), 'it keeps the id it was made with').toBe('555555555');
    expect(await reveal(id, a, during)).toBe(UNKNOWN);
  });

  test('a chain of merges is one patient, also after a restart', async () => {
    const [a, b, c] = patients();
    const ofA = await token(id, a, V);
    const { merge: first } = await merge(b, a);
    await merge(c, b);
    expect(await reveal(id, c, ofA)).toBe(V);
    await reopen();
    expect(await reveal(id, c, ofA)).toBe(V);
    await unmerge(first);
    expect(await reveal(id, c, ofA)).toBe(UNKNOWN);
    await reopen();
    expect([await reveal(id, c, ofA), await reveal(id, a, ofA)]).toEqual([UNKNOWN, V]);
  });

  test('a column of subjects: each row by its own patient', async () => {
    const [a, b, c] = patients();
    const own = await Promise.all(
      [a, b, c, b].map((who, i) => token(id, who, `${V.slice(1)}${i}`)),
    );
    await merge(a, b);
    const subject = each(b, a, a, b);
    const { values, errors } = await engine.detokenize(detokenizeCall(id, own, { subject }));
    expect(textOf(values)).toEqual([`${V.slice(1)}0`, `${V.slice(1)}1`, '', `${V.slice(1)}3`]);
    expect(errors).toEqual([{ index: 2, reason: UNKNOWN }]);
  });
});

describe('tokens of merged patients', () => {
  test('a value that one id has a token for has it under the others too', async () => {
    const [a, b, c] = patients();
    const ofB = await token('mrn', b, V);
    const { merge: made } = await merge(a, b);
    await merge(c, a);
    expect(await token('mrn', a, V)).toBe(ofB);
    const again = await engine.tokenize(tokenizeCall('mrn', [V, W], { subject: one(c) }));
    expect([...again.created]).toEqual([0, 1]);
    expect(textOf(again.tokens)[0]).toBe(ofB);
    const found = await engine.lookup(lookupCall('mrn', [V], { subject: one(c) }));
    expect(textOf(found.tokens)).toEqual([ofB]);
    await unmerge(made);
    const missing = await engine.lookup(lookupCall('mrn', [V], { subject: one(a) }));
    expect(missing.errors).toEqual([{ index: 0, reason: 'VALUE_NOT_FOUND' }]);
    expect(await token('mrn', a, V)).not.toBe(ofB);
    expect(await token('mrn', b, V)).toBe(ofB);
  });

  test('what each had before the merge each keeps', async () => {
    const [a, b] = patients();
    const [ofA, ofB] = [await token('mrn', a, V), await token('mrn', b, V)];
    expect(ofA).not.toBe(ofB);
    await merge(a, b);
    expect([await token('mrn', a, V), await token('mrn', b, V)]).toEqual([ofA, ofB]);
  });

  test('two ids and one new value in one batch: one token, one record', async () => {
    const [a, b] = patients();
    await merge(a, b);
    const subject = each(b, a, b, a);
    const call = tokenizeCall('mrn', [V, V, W, V], { subject });
    const answer = await engine.tokenize(call);
    const [first, second, other, last] = textOf(answer.tokens);
    expect([second, last]).toEqual([first, first]);
    expect(other).not.toBe(first);
    expect([...answer.created]).toEqual([1, 0, 1, 0]);
    expect([await reveal('mrn', a, first!), await reveal('mrn', b, first!)]).toEqual([V, V]);
  });

  test('fifty calls at once under both ids give one token', async () => {
    const [a, b] = patients();
    await merge(a, b);
    const calls = Array.from({ length: 50 }, (_, i) => token('mrn', i % 2 === 0 ? a : b, V));
    expect(new Set(await Promise.all(calls)).size).toBe(1);
  });

  test('opaque tokens of a vaulted domain open for each id', async () => {
    const [a, b, c] = patients();
    const odd = await token('mixed', b, 'not a number');
    expect(await reveal('mixed', a, odd)).toBe(UNKNOWN);
    await merge(a, b);
    await merge(c, a);
    expect([await reveal('mixed', c, odd), await reveal('mixed', b, odd)]).toEqual([
      'not a number',
      'not a number',
    ]);
    expect(await reveal('mixed', 'nobody', odd)).toBe(UNKNOWN);
  });

  test('an erasure by any id takes the tokens of all of them', async () => {
    const [a, b, c] = patients();
    const own = await tokens('mrn', a, V);
    const other = [await token('mrn', b, V), await token('visit', b, W), await token('note', b, V)];
    const ofC = await token('mrn', c, V);
    await merge(a, b);
    const erased = await engine.erase(eraseCall('', BY_SUBJECT, { subject: one(a) }));
    expect([...erased.counts]).toEqual([3]);
    for (const who of [a, b]) {
      expect(await reveal('mrn', who, own[0]!)).toBe(UNKNOWN);
      expect(await reveal('mrn', who, other[0]!)).toBe(UNKNOWN);
      expect(await reveal('visit', who, other[1]!)).toBe(UNKNOWN);
      expect(await reveal('note', who, other[2]!)).toBe(UNKNOWN);
    }
    expect(await reveal('mrn', c, ofC)).toBe(V);
  });

  test('what was erased of one id stays so when it is merged', async () => {
    const [a, b] = patients();
    const gone = await token('note', b, V);
    const kept = await token('note', a, V);
    await engine.erase(eraseCall('note', BY_SUBJECT, { subject: one(b) }));
    await merge(a, b);
    expect(await reveal('note', a, gone)).toBe(UNKNOWN);
    expect(await reveal('note', a, kept)).toBe(V);
  });

  test('an erasure by value takes the tokens of all ids, and no others', async () => {
    const [a, b, c] = patients();
    const [ofA, ofB, ofC] = [
      await token('mrn', a, V),
      await token('mrn', b, V),
      await token('mrn', c, V),
    ];
    await merge(a, b);
    const call = eraseCall('mrn', byValues(V, W), { subject: one(b) });
    const erased = await engine.erase(call);
    expect([...erased.counts]).toEqual([2, 0]);
    expect(erased.errors).toEqual([{ index: 1, reason: 'VALUE_NOT_FOUND' }]);
    expect([await reveal('mrn', a, ofA!), await reveal('mrn', b, ofB!)]).toEqual([
      UNKNOWN,
      UNKNOWN,
    ]);
    expect(await reveal('mrn', c, ofC!)).toBe(V);
  });

  test('a touched token of a merged patient is as unknown as any', async () => {
    const [a, b] = patients();
    const ofB = await token('note', b, 'free text');
    await merge(a, b);
    const touched = `${ofB.slice(0, -1)}${ofB.endsWith('a') ? 'b' : 'a'}`;
    expect(await reveal('note', a, touched)).toBe(await reveal('note', 'p0', touched));
  });
});

test('any order of calls, merges and partings is as a map of patients says', async () => {
  const person = fc.constantFrom('a', 'b', 'c', 'd');
  const value = fc.constantFrom('111111111', '222222222');
  const step = fc.oneof(
    { weight: 4, arbitrary: fc.record({ do: fc.constant('tokenize' as const), person, value }) },
    {
      weight: 2,
      arbitrary: fc.record({ do: fc.constant('merge' as const), person, other: person }),
    },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('part' as const), which: fc.nat(9) }) },
  );
  let run = 0;
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 4, maxLength: 16 }), async (steps) => {
      const id = (who: string): string => `run-${run}-${who}`;
      run++;
      const edges: { merge: string; one: string; two: string }[] = [];
      const made = new Map<string, { who: string; value: string }>();
      const samePatient = (one: string, two: string): boolean => {
        const seen = new Set([one]);
        for (let grown = true; grown; ) {
          const before = seen.size;
          for (const edge of edges) {
            if (seen.has(edge.one)) seen.add(edge.two);
            if (seen.has(edge.two)) seen.add(edge.one);
          }
          grown = seen.size > before;
        }
        return seen.has(two);
      };
      for (const one of steps) {
        if (one.do === 'tokenize') {
          const got = await token('mrn', id(one.person), one.value);
          const known = [...made].filter(
            ([, record]) => record.value === one.value && samePatient(record.who, one.person),
          );
          const own = known.find(([, record]) => record.who === one.person);
          if (own !== undefined) expect(got).toBe(own[0]);
          else if (known.length > 0) expect(known.map(([text]) => text)).toContain(got);
          else {
            expect(made.has(got), 'a new token').toBe(false);
            made.set(got, { who: one.person, value: one.value });
          }
        } else if (one.do === 'merge') {
          if (one.person === one.other) continue;
          const { merge: name } = await merge(id(one.person), id(one.other));
          const there = edges.find((edge) => edge.merge === name);
          if (there === undefined) edges.push({ merge: name, one: one.person, two: one.other });
        } else {
          const [edge] = edges.splice(one.which % (edges.length || 1), 1);
          if (edge !== undefined) await unmerge(edge.merge);
        }
      }
      for (const [text, record] of made) {
        for (const who of ['a', 'b', 'c', 'd']) {
          const wanted = samePatient(who, record.who) ? record.value : UNKNOWN;
          expect(await reveal('mrn', id(who), text)).toBe(wanted);
        }
      }
    }),
    { numRuns: 15 },
  );
});
