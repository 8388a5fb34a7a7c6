import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Engine } from '../../src/engine/calls.ts';
import { BY_SUBJECT, eraseCall } from './erasing.ts';
import {
  copyOf,
  DEV,
  detokenizeCall,
  domain,
  each,
  exchangeCall,
  installation,
  lookupCall,
  one,
  readLog,
  textOf,
  tokenizeCall,
} from './harness.ts';
import { callsOf, rowsOf, UNKNOWN } from './patients.ts';

const home = installation();
let engine: Engine;

beforeAll(async () => {
  engine = await home.open();
  const bound = { subjectRequired: true };
  await engine.createDomain(DEV, domain('mrn', 'static', 'digits:9', bound));
  await engine.createDomain(DEV, domain('street', 'static', 'digits:9', { subjectsShared: true }));
  await engine.createDomain(DEV, domain('plain', 'static', 'digits:9'));
});
afterAll(async () => {
  await engine.close();
  home.remove();
});

const { list, merge, reveal, tokens, unmerge } = callsOf(() => engine);
const reopen = async (): Promise<void> => {
  await engine.close();
  engine = await home.open();
};

const V = '123456789';

describe('records that several patients share', () => {
  test('one value has one token; who is named must be one of them', async () => {
    const [a] = await tokens('street', 'fay', V);
    const [b] = await tokens('street', 'gus', V);
    const [c] = await tokens('street', undefined, V);
    expect([b, c]).toEqual([a, a]);
    expect([await reveal('street', 'fay', a!), await reveal('street', 'gus', a!)]).toEqual([V, V]);
    expect(await reveal('street', 'hal', a!)).toBe(UNKNOWN);
    expect(await reveal('street', undefined, a!)).toBe(V);
    const found = (who: string) => engine.lookup(lookupCall('street', [V], { subject: one(who) }));
    expect(textOf((await found('gus')).tokens)).toEqual([a]);
    expect((await found('hal')).errors).toEqual([{ index: 0, reason: 'VALUE_NOT_FOUND' }]);
    await reopen();
    expect(await reveal('street', 'gus', a!)).toBe(V);
    expect(await reveal('street', 'hal', a!)).toBe(UNKNOWN);
  });

  test('columns: each row its own patient, some of them nobody', async () => {
    const values = ['200000001', '200000002', '200000001', '200000003'];
    const subject = each('ida', 'jon', 'kim', '');
    const answer = await engine.tokenize(tokenizeCall('street', values, { subject }));
    expect([...answer.created]).toEqual([1, 1, 0, 1]);
    const made = textOf(answer.tokens);
    expect(made[2]).toBe(made[0]);
    const asked = each('kim', 'kim', 'ida', '');
    const shown = await engine.detokenize(detokenizeCall('street', made, { subject: asked }));
    expect(textOf(shown.values)).toEqual([values[0], '', values[2], values[3]]);
    expect(shown.errors).toEqual([{ index: 1, reason: UNKNOWN }]);
  });

  test('a new subject writes the vault and mints nothing; a known one writes nothing', async () => {
    await tokens('street', 'lea', '300000001');
    const call = (who: string) => tokenizeCall('street', ['300000001'], { subject: one(who) });
    const added = await engine.tokenize(call('max'));
    const again = await engine.tokenize(call('max'));
    const nobody = await engine.tokenize(tokenizeCall('street', ['300000001']));
    expect([...added.created, ...again.created]).toEqual([0, 0]);
    const log = await readLog(copyOf(home.folder));
    const commits = [added, again, nobody].map(
      ({ receipt }) => log[receipt.leafIndex]?.entry.commit ?? 0,
    );
    expect(commits[0]).toBeGreaterThan(0);
    expect(commits.slice(1)).toEqual([0, 0]);
  });

  test('an exchange shares and respects it', async () => {
    const [from] = await tokens('mrn', 'nat', '400000001');
    const into = exchangeCall('mrn', 'street', [from!], { subject: one('nat') });
    const [shared] = textOf((await engine.exchange(into)).tokens);
    expect(await reveal('street', 'nat', shared!)).toBe('400000001');
    expect(await reveal('street', 'olu', shared!)).toBe(UNKNOWN);
    const back = (who: string) =>
      engine.exchange(exchangeCall('street', 'plain', [shared!], { subject: one(who) }));
    expect((await back('olu')).errors).toEqual([{ index: 0, reason: UNKNOWN }]);
    expect((await back('nat')).errors).toEqual([]);
  });

  test('another id of the same patient will do, and the set stays as it was', async () => {
    const [a] = await tokens('street', 'pam', '500000001');
    const { merge: made } = await merge('pamela', 'pam');
    expect(await reveal('street', 'pamela', a!)).toBe('500000001');
    expect(await reveal('street', 'quin', a!)).toBe(UNKNOWN);
    await unmerge(made);
    expect(await reveal('street', 'pamela', a!)).toBe(UNKNOWN);
  });

  test('a record goes with the last of its patients, and its value gets a new token', async () => {
    const [a] = await tokens('street', 'ron', '510000001');
    await tokens('street', 'sue', '510000001');
    const erase = (who: string) =>
      engine.erase(eraseCall('street', BY_SUBJECT, { subject: one(who) }));
    await erase('ron');
    expect(await reveal('street', 'ron', a!)).toBe(UNKNOWN);
    expect(await reveal('street', 'sue', a!)).toBe('510000001');
    expect(rowsOf(await list('ron'))).toEqual([]);
    await erase('sue');
    expect(await reveal('street', undefined, a!)).toBe(UNKNOWN);
    const [again] = await tokens('street', 'ron', '510000001');
    expect(again).not.toBe(a);
    expect(await reveal('street', 'sue', again!)).toBe(UNKNOWN);
  });

  test('added and erased at once, a token that is answered resolves or was erased', async () => {
    for (let round = 0; round < 12; round++) {
      const value = `52000000${round % 10}`;
      const [a] = await tokens('street', `first-${round}`, value);
      const subject = one(`first-${round}`);
      const [, made] = await Promise.all([
        engine.erase(eraseCall('street', BY_SUBJECT, { subject })),
        tokens('street', `second-${round}`, value),
      ]);
      expect(await reveal('street', `second-${round}`, made[0]!)).toBe(value);
      expect(await reveal('street', `first-${round}`, a!)).toBe(UNKNOWN);
      await engine.erase(eraseCall('street', BY_SUBJECT, { subject: one(`second-${round}`) }));
    }
  });

  test('a hundred calls at once: all of their subjects are in, and of new values too', async () => {
    const values = ['600000001', '600000002'];
    const calls = Array.from({ length: 100 }, async (_, i) => {
      const subject = each(`crowd-${i}`, `crowd-${i}-too`);
      return textOf((await engine.tokenize(tokenizeCall('street', values, { subject }))).tokens);
    });
    const made = await Promise.all(calls);
    expect(new Set(made.flat()).size).toBe(2);
    const [first, second] = made[0]!;
    const column = Array.from({ length: 100 }, (_, i) => `crowd-${i}`);
    const asked = detokenizeCall(
      'street',
      column.map(() => first!),
      { subject: each(...column) },
    );
    expect((await engine.detokenize(asked)).errors).toEqual([]);
    const other = detokenizeCall(
      'street',
      column.map(() => second!),
      { subject: each(...column) },
    );
    expect((await engine.detokenize(other)).errors).toHaveLength(100);
    const too = column.map((who) => `${who}-too`);
    const own = detokenizeCall(
      'street',
      too.map(() => second!),
      { subject: each(...too) },
    );
    expect((await engine.detokenize(own)).errors).toEqual([]);
  });

  test('a thousand and no more: the item fails, the others do not', async () => {
    const value = '700000001';
    const crowd = Array.from({ length: 999 }, (_, i) => `many-${i}`);
    const fill = tokenizeCall(
      'street',
      crowd.map(() => value),
      { subject: each(...crowd) },
    );
    const [token] = textOf((await engine.tokenize(fill)).tokens);
    const rest = await Promise.all(
      Array.from({ length: 10 }, (_, i) =>
        engine.tokenize(tokenizeCall('street', [value], { subject: one(`late-${i}`) })),
      ),
    );
    const refused = rest.filter(({ errors }) => errors.length > 0);
    expect(refused).toHaveLength(9);
    for (const { errors, tokens: column } of refused) {
      expect(errors).toEqual([{ index: 0, reason: 'SUBJECTS_TOO_MANY' }]);
      expect(textOf(column)).toEqual(['']);
    }
    const mixed = ['700000002', value, value, '700000003', value];
    const subject = each('new', 'new', 'many-7', 'new', '');
    const answer = await engine.tokenize(tokenizeCall('street', mixed, { subject }));
    expect(answer.errors).toEqual([{ index: 1, reason: 'SUBJECTS_TOO_MANY' }]);
    expect(textOf(answer.tokens).map((text) => text !== '')).toEqual([
      true,
      false,
      true,
      true,
      true,
    ]);
    expect([...answer.created]).toEqual([1, 0, 0, 1, 0]);
    expect(await reveal('street', 'new', token!)).toBe(UNKNOWN);
    expect(await reveal('street', 'new', textOf(answer.tokens)[3]!)).toBe('700000003');
  });

  test('too many in one call, and the deliveries', async () => {
    const value = '800000001';
    const crowd = Array.from({ length: 1_002 }, (_, i) => `batch-${i}`);
    const call = (more = {}) =>
      tokenizeCall(
        'street',
        crowd.map(() => value),
        { subject: each(...crowd), ...more },
      );
    const none = engine.tokenize(call({ delivery: 'all-or-nothing' }));
    await expect(none).rejects.toMatchObject({ reason: 'SUBJECTS_TOO_MANY' });
    const before = await engine.lookup(lookupCall('street', [value]));
    expect(before.errors, 'nothing was made').toEqual([{ index: 0, reason: 'VALUE_NOT_FOUND' }]);
    const stopped = await engine.tokenize(call({ delivery: 'ordered-stop' }));
    expect(stopped.errors).toEqual([{ index: 1_000, reason: 'SUBJECTS_TOO_MANY' }]);
    expect(textOf(stopped.tokens)).toHaveLength(1_000);
    const best = await engine.tokenize(call());
    expect(best.errors.map(({ index }) => index)).toEqual([1_000, 1_001]);
    expect(new Set(textOf(best.tokens).slice(0, 1_000)).size).toBe(1);
  });

  test('only static domains that are bound to nobody can be shared', async () => {
    const refusals: [kind: 'siv' | 'dynamic' | 'fpe' | 'static', more: object][] = [
      ['siv', {}],
      ['dynamic', {}],
      ['static', { subjectRequired: true }],
      ['static', { onInvalid: 'tokenize-opaque' }],
    ];
    for (const [kind, more] of refusals) {
      const format = kind === 'siv' ? 'text' : 'digits:9';
      const request = domain('odd', kind, format, { subjectsShared: true, ...more });
      const made = engine.createDomain(DEV, request);
      await expect(made).rejects.toMatchObject({ reason: 'FIELD_INVALID' });
    }
  });
});
