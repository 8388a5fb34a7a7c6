import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Engine } from '../../src/engine/calls.ts';
import {
  callerOf,
  copyOf,
  DEV,
  domain,
  heldClock,
  installation,
  one,
  readLog,
  textOf,
  tokenizeCall,
} from './harness.ts';
import { callsOf, listCall, rowsOf } from './patients.ts';

const home = installation({
  callers: [
    {
      id: 'dev:desk',
      organisation: 'clinic',
      grants: [{ actions: ['ListSubject'], domains: ['clinic/mrn'], purposes: ['PATRQT'] }],
    },
  ],
});
let engine: Engine;

beforeAll(async () => {
  engine = await home.open();
  const bound = { subjectRequired: true };
  await engine.createDomain(DEV, domain('mrn', 'static', 'digits:9', bound));
  await engine.createDomain(DEV, domain('visit', 'dynamic', 'digits:9'));
  await engine.createDomain(DEV, domain('note', 'siv', 'text', bound));
  await engine.createDomain(DEV, domain('street', 'static', 'digits:9', { subjectsShared: true }));
  await engine.createDomain(DEV, domain('plain', 'static', 'digits:9'));
});
afterAll(async () => {
  await engine.close();
  home.remove();
});

const { list, merge, tokens, unmerge } = callsOf(() => engine);
const reopen = async (): Promise<void> => {
  await engine.close();
  engine = await home.open();
};

const V = '123456789';
const W = '987654321';

describe('the tokens of a patient', () => {
  test('all of the organisation, or of one domain; nobody else has any of them', async () => {
    const mrn = await tokens('mrn', 'ann', V, W);
    const visit = await tokens('visit', 'ann', V, V);
    const shared = await tokens('street', 'ann', V);
    await tokens('mrn', 'bob', V);
    await tokens('visit', undefined, V);
    await tokens('plain', undefined, V);
    await tokens('note', 'ann', 'free text');
    const wanted = [
      ...mrn.map((text) => `clinic/mrn ${text}`),
      ...visit.map((text) => `clinic/visit ${text}`),
      ...shared.map((text) => `clinic/street ${text}`),
    ];
    const all = await list('ann');
    expect(rowsOf(all).sort()).toEqual(wanted.sort());
    expect(all.states).toEqual(wanted.map(() => 'live'));
    expect(all.next).toBe('');
    const some = await list('ann', { domain: 'visit' });
    expect(rowsOf(some)).toEqual(visit.map((text) => `clinic/visit ${text}`));
    expect(rowsOf(await list('carl'))).toEqual([]);
    await reopen();
    expect(rowsOf(await list('ann'))).toEqual(rowsOf(all));
  });

  test('page by page, under all ids of the patient', async () => {
    for (let i = 0; i < 9; i++) await tokens('visit', i % 2 === 0 ? 'dora' : 'dorothea', V, W);
    await tokens('mrn', 'dora', V);
    // In one set under both ids: told once.
    await tokens('street', 'dora', V);
    await tokens('street', 'dorothea', V);
    const { merge: made } = await merge('dora', 'dorothea');
    const whole = rowsOf(await list('dorothea'));
    expect(new Set(whole).size).toBe(20);
    expect(whole).toHaveLength(20);
    expect(rowsOf(await list('dora')).sort()).toEqual(whole.slice().sort());
    for (const limit of [1, 7, 20]) {
      const found: string[] = [];
      let after = '';
      do {
        const page = await list('dorothea', { limit, after });
        found.push(...rowsOf(page));
        after = page.next;
      } while (after !== '');
      expect(found).toEqual(whole);
    }
    const { next } = await list('dora', { limit: 3 });
    const invalid = { reason: 'PAGE_TOKEN_INVALID' };
    for (const after of ['x', next.slice(1), `${next.slice(0, -1)}_`, 'A'.repeat(next.length)]) {
      await expect(list('dora', { after })).rejects.toMatchObject(invalid);
    }
    await expect(list('dora', { after: next, domain: 'mrn' })).rejects.toMatchObject(invalid);
    await expect(list('ann', { after: next })).rejects.toMatchObject(invalid);
    await unmerge(made);
    await expect(list('dora', { after: next })).rejects.toMatchObject(invalid);
    expect(rowsOf(await list('dora')).length + rowsOf(await list('dorothea')).length).toBe(21);
  });

  test('only domains that the caller may list', async () => {
    await tokens('mrn', 'eve', V);
    await tokens('visit', 'eve', V);
    const desk = { caller: callerOf('desk') };
    expect((await list('eve', desk)).domains).toEqual(['clinic/mrn']);
    const denied = { reason: 'ACCESS_DENIED' };
    await expect(list('eve', { ...desk, domain: 'visit' })).rejects.toMatchObject(denied);
    await expect(list('eve', { caller: callerOf('ehr') })).rejects.toMatchObject(denied);
    await expect(list('eve', { purpose: '' })).rejects.toMatchObject({
      reason: 'PURPOSE_REQUIRED',
    });
  });

  test('what is refused', async () => {
    await expect(list('')).rejects.toMatchObject({ reason: 'FIELD_REQUIRED' });
    const unsupported = { reason: 'KIND_UNSUPPORTED' };
    await expect(list('ann', { domain: 'note' })).rejects.toMatchObject(unsupported);
    await expect(list('ann', { domain: 'none' })).rejects.toMatchObject({
      reason: 'RESOURCE_NOT_FOUND',
    });
  });

  test('its leaf: counts and domains; tokens and patient in the sealed body alone', async () => {
    const { receipt, tokens: column } = await list('ann');
    const alone = await list('ann', { domain: 'mrn' });
    const log = await readLog(copyOf(home.folder));
    const { entry, body } = log[receipt.leafIndex]!;
    expect(entry).toMatchObject({
      verb: 'ListSubjectTokens',
      purpose: 'PATRQT',
      done: 5,
      distinct: 5,
      extra: { domains: 'clinic/mrn:2 clinic/street:1 clinic/visit:2' },
    });
    expect(textOf(body!.tokens)).toEqual(textOf(column));
    expect(body!.subjects).toHaveLength(16);
    expect(log[alone.receipt.leafIndex]?.entry).toMatchObject({
      domain: 'clinic/mrn',
      distinct: 2,
    });
  });

  test('it counts as revealing, domain by domain, also after a restart', async () => {
    const clock = heldClock(1_800_000_000_000);
    const limits = { quota: { tokenizeItemsMax: 1_000, revealItemsMax: 5 } };
    const small = installation({ clock, limits });
    const call = (more = {}) => ({ ...listCall('ann'), ...more });
    const exhausted = { reason: 'BUDGET_EXHAUSTED' };
    let own = await small.open();
    try {
      for (const id of ['visit', 'other']) {
        await own.createDomain(DEV, domain(id, 'dynamic', 'digits:9'));
      }
      const made = (id: string, count: number) => {
        const more = { subject: one('ann'), requestId: id };
        return own.tokenize(tokenizeCall(id, Array(count).fill(V), more));
      };
      await made('visit', 3);
      await made('other', 1);
      expect((await own.listSubjectTokens(call())).domains).toHaveLength(4);
      await expect(own.listSubjectTokens(call())).rejects.toMatchObject(exhausted);
      const { domains } = await own.listSubjectTokens(call({ domain: 'other' }));
      expect(domains).toHaveLength(1);
      // As after a crash: nothing was saved at the end.
      const copy = installation({ clock, limits, folder: copyOf(small.folder) });
      await own.close();
      own = await copy.open();
      const visits = own.listSubjectTokens(call({ domain: 'visit' }));
      await expect(visits).rejects.toMatchObject(exhausted);
      const left = await own.listSubjectTokens(call({ domain: 'other', limit: 1 }));
      expect(left.domains).toHaveLength(1);
    } finally {
      await own.close();
      small.remove();
    }
  });
});
