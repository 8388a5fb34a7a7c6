import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Engine } from '../../src/engine/calls.ts';
import { BY_SUBJECT, byTokens, byValues, ended, eraseCall } from './erasing.ts';
import {
  copyOf,
  DEV,
  detokenizeCall,
  domain,
  installation,
  lookupCall,
  one,
  readLog,
  textOf,
  tokenizeCall,
} from './harness.ts';

const home = installation();
let engine: Engine;

beforeAll(async () => {
  engine = await home.open();
  await engine.createDomain(DEV, domain('mrn', 'static', 'digits:9'));
  await engine.createDomain(DEV, domain('own', 'static', 'digits:9', { subjectRequired: true }));
  await engine.createDomain(DEV, domain('note', 'siv', 'text', { subjectRequired: true }));
});

afterAll(async () => {
  await engine.close();
  home.remove();
});

const tokensOf = async (values: readonly string[], by: Engine = engine): Promise<string[]> => {
  const answer = await by.tokenize(tokenizeCall('mrn', values));
  expect(answer.errors).toEqual([]);
  return textOf(answer.tokens);
};
const reveal = async (id: string, tokens: readonly string[], more = {}, by: Engine = engine) => {
  const answer = await by.detokenize(detokenizeCall(id, tokens, more));
  const reasons = new Map(answer.errors.map(({ index, reason }) => [index, reason]));
  return textOf(answer.values).map((value, i) => reasons.get(i) ?? value);
};

describe('calls beside an erasure', () => {
  test('a reveal that begins after its answer shows nothing, and values get new ones', async () => {
    const values = Array.from({ length: 4 }, (_, i) => String(200_000_000 + i));
    /** Tokens whose erasure was answered. */
    const dead = new Set<string>();
    const known = new Map(values.map((value) => [value, new Set<string>()]));
    let over = false;

    const reveals = async (): Promise<void> => {
      while (!over) {
        for (const [value, tokens] of known) {
          const all = [...tokens];
          if (all.length === 0) continue;
          const before = new Set(dead);
          const shown = await reveal('mrn', all);
          for (const [i, token] of all.entries()) {
            if (before.has(token)) expect(shown[i]).toBe('TOKEN_NOT_FOUND');
            else expect([value, 'TOKEN_NOT_FOUND']).toContain(shown[i]);
          }
        }
        await new Promise((resolve) => setImmediate(resolve));
      }
    };
    const tokenizes = async (): Promise<void> => {
      while (!over) {
        const before = new Set(dead);
        const tokens = await tokensOf(values);
        for (const [i, token] of tokens.entries()) {
          expect(before.has(token), 'an erased token came back').toBe(false);
          known.get(values[i]!)!.add(token);
        }
      }
    };
    const erases = async (): Promise<void> => {
      for (let round = 0; round < 6; round++) {
        const value = values[round % values.length]!;
        const [token] = await tokensOf([value]);
        known.get(value)!.add(token!);
        await engine.erase(eraseCall('mrn', round % 2 === 0 ? byValues(value) : byTokens(token!)));
        dead.add(token!);
      }
      over = true;
    };
    await Promise.all([reveals(), tokenizes(), tokenizes(), erases()]);
    expect(dead.size).toBe(6);
    const last = await tokensOf(values);
    expect(await reveal('mrn', last)).toEqual(values);
    for (const [i, value] of values.entries()) {
      // One token a value is alive, whatever raced.
      const shown = await reveal('mrn', [...known.get(value)!]);
      expect(shown.filter((one) => one === value)).toHaveLength(1);
      expect([...known.get(value)!]).toContain(last[i]);
    }
    const looked = await engine.lookup(lookupCall('mrn', values));
    expect(textOf(looked.tokens)).toEqual(last);
  });

  test('two erasures of one token: one of them finds it', async () => {
    const [token] = await tokensOf(['300000000']);
    const call = eraseCall('mrn', byTokens(token!));
    const answers = await Promise.all([engine.erase(call), engine.erase(call), engine.erase(call)]);
    expect(answers.map(({ counts }) => counts[0]).sort()).toEqual([0, 0, 1]);
  });

  test('the same request id at once: one erasure, one answer', async () => {
    const [token] = await tokensOf(['300000001']);
    const call = eraseCall('mrn', byTokens(token!), { requestId: 'at-once' });
    const answers = await Promise.all([engine.erase(call), engine.erase(call)]);
    expect(answers.map(({ counts }) => counts[0])).toEqual([1, 1]);
    expect(answers[0]!.receipt.leafIndex).toBe(answers[1]!.receipt.leafIndex);
  });
});

test('a run that ends at any moment of an erasure leaves all of it or nothing', async () => {
  const states = new Set<string>();
  for (let round = 0; round < 6; round++) {
    const subject = one(`patient ${round}`);
    const value = String(400_000_000 + round);
    const own = textOf((await engine.tokenize(tokenizeCall('own', [value], { subject }))).tokens);
    const note = textOf((await engine.tokenize(tokenizeCall('note', ['Zoë'], { subject }))).tokens);
    const erasing = engine.erase(eraseCall('', BY_SUBJECT, { subject }));
    // Somewhere between the first job of the worker and the answer, later with each round.
    for (let turn = 0; turn < round * 3; turn++) {
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    const folder = copyOf(home.folder);
    await erasing;
    const again = await installation({ folder }).open();
    const [record] = await reveal('own', own, { subject }, again);
    const [sealed] = await reveal('note', note, { subject }, again);
    expect([value, 'TOKEN_NOT_FOUND']).toContain(record);
    expect(['Zoë', 'TOKEN_NOT_FOUND']).toContain(sealed);
    const check = await ended(again, await again.checkVault(DEV, false, ''));
    expect(check.result).toEqual({ faults: '0' });
    const answer = await again.erase(eraseCall('', BY_SUBJECT, { subject }));
    expect([...answer.counts]).toEqual([record === value ? 1 : 0]);
    expect(await reveal('own', own, { subject }, again)).toEqual(['TOKEN_NOT_FOUND']);
    expect(await reveal('note', note, { subject }, again)).toEqual(['TOKEN_NOT_FOUND']);
    await again.close();
    const erasures = (await readLog(folder)).filter(({ entry, body }) => {
      return entry.verb === 'Erase' && body !== undefined && textOf(body.tokens).includes(own[0]!);
    });
    // Whatever is gone has its leaf, and one only.
    expect(erasures).toHaveLength(1);
    states.add(`${record === value} ${sealed === 'Zoë'}`);
  }
  expect(states.size).toBeGreaterThan(1);
});
