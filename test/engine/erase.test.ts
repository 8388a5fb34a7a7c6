import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Engine } from '../../src/engine/calls.ts';
import { BY_SUBJECT, byTokens, byValues, damageRecord, ended, eraseCall } from './erasing.ts';
import {
  callerOf,
  copyOf,
  DEV,
  detokenizeCall,
  domain,
  each,
  exchangeCall,
  inspectCall,
  installation,
  lookupCall,
  one,
  readLog,
  textOf,
  tokenizeCall,
} from './harness.ts';

const home = installation();
let engine: Engine;

const BOUND = { subjectRequired: true };
const DOMAINS = [
  ['mrn', 'static', 'digits:9', {}],
  ['own', 'static', 'digits:9', BOUND],
  ['shared', 'static', 'digits:9', { subjectsShared: true }],
  ['visit', 'dynamic', 'digits:9', {}],
  ['stay', 'dynamic', 'digits:9', { listable: false }],
  ['note', 'siv', 'text', BOUND],
  ['memo', 'siv', 'text', {}],
  ['account', 'fpe', 'digits:9', { safety: 'valid', note: 'x' }],
  ['pseudonym', 'one-way', 'text', {}],
  ['odd', 'static', 'ssn', { onInvalid: 'tokenize-opaque' }],
] as const;

beforeAll(async () => {
  engine = await home.open();
  for (const [id, kind, format, more] of DOMAINS) {
    await engine.createDomain(DEV, domain(id, kind, format, more));
  }
});

afterAll(async () => {
  await engine.close();
  home.remove();
});

let requests = 0;
const request = (): string => `erase-${++requests}`;

const make = async (id: string, values: readonly string[], more = {}): Promise<string[]> => {
  const call = tokenizeCall(id, values, { requestId: request(), ...more });
  const answer = await engine.tokenize(call);
  expect(answer.errors).toEqual([]);
  return textOf(answer.tokens);
};
const reveal = async (id: string, tokens: readonly string[], more = {}) => {
  const answer = await engine.detokenize(detokenizeCall(id, tokens, more));
  const reasons = new Map(answer.errors.map(({ index, reason }) => [index, reason]));
  return textOf(answer.values).map((value, i) => reasons.get(i) ?? value);
};
const state = async (id: string, token: string) =>
  (await engine.inspect(inspectCall(id, [token]))).states[0];

let next = 100_000_000;
const values = (count: number): string[] => Array.from({ length: count }, () => String(next++));

describe.each(['mrn', 'visit', 'stay'])('tokens of %s', (id) => {
  test('are gone for good, the others stay', async () => {
    const [a, b, c] = values(3) as [string, string, string];
    const [s, t, u] = (await make(id, [a, b, c])) as [string, string, string];
    const answer = await engine.erase(eraseCall(id, byTokens(s, u, s)));
    expect([...answer.counts]).toEqual([1, 1, 1]);
    expect(answer.errors).toEqual([]);
    expect(await reveal(id, [s, t, u])).toEqual(['TOKEN_NOT_FOUND', b, 'TOKEN_NOT_FOUND']);
    expect(await state(id, s)).toBe('unknown');
    const again = await engine.erase(eraseCall(id, byTokens(s, t, 'x')));
    expect(again.errors).toEqual([
      { index: 0, reason: 'TOKEN_NOT_FOUND' },
      { index: 2, reason: 'TOKEN_MALFORMED' },
    ]);
    expect([...again.counts]).toEqual([0, 1, 0]);
  });

  test('unlinked ones stay known, and can be erased altogether later', async () => {
    const [a] = values(1) as [string];
    const [s] = (await make(id, [a])) as [string];
    const answer = await engine.erase(eraseCall(id, byTokens(s), { mode: 'unlink' }));
    expect([...answer.counts]).toEqual([1]);
    expect(await reveal(id, [s])).toEqual(['TOKEN_UNLINKED']);
    expect(await state(id, s)).toBe('unlinked');
    const twice = await engine.erase(eraseCall(id, byTokens(s), { mode: 'unlink' }));
    expect(twice.errors).toEqual([{ index: 0, reason: 'TOKEN_UNLINKED' }]);
    await engine.erase(eraseCall(id, byTokens(s)));
    expect(await reveal(id, [s])).toEqual(['TOKEN_NOT_FOUND']);
    expect(await state(id, s)).toBe('unknown');
  });
});

test('a static value gets a new token afterwards, and Lookup finds none before', async () => {
  const [a] = values(1) as [string];
  const [s] = (await make('mrn', [a])) as [string];
  await engine.erase(eraseCall('mrn', byValues(a)));
  const looked = await engine.lookup(lookupCall('mrn', [a]));
  expect(looked.errors).toEqual([{ index: 0, reason: 'VALUE_NOT_FOUND' }]);
  const [t] = (await make('mrn', [a])) as [string];
  expect(t).not.toBe(s);
  expect(await reveal('mrn', [s, t])).toEqual(['TOKEN_NOT_FOUND', a]);
  const again = await engine.erase(eraseCall('mrn', byValues('555555555', a)));
  expect(again.errors).toEqual([{ index: 0, reason: 'VALUE_NOT_FOUND' }]);
});

test('a value of a dynamic domain takes all its tokens along, if they are listed', async () => {
  const [a, b] = values(2) as [string, string];
  const tokens = [...(await make('visit', [a, a])), ...(await make('visit', [a]))];
  const [other] = (await make('visit', [b])) as [string];
  const answer = await engine.erase(eraseCall('visit', byValues(a, b.slice(0, 8), a)));
  expect([...answer.counts]).toEqual([3, 0, 3]);
  expect(answer.errors).toEqual([{ index: 1, reason: 'VALUE_MALFORMED' }]);
  expect(await reveal('visit', [...tokens, other])).toEqual([
    'TOKEN_NOT_FOUND',
    'TOKEN_NOT_FOUND',
    'TOKEN_NOT_FOUND',
    b,
  ]);
  await expect(engine.erase(eraseCall('stay', byValues(a)))).rejects.toMatchObject({
    reason: 'KIND_UNSUPPORTED',
  });
});

test('delivery: all or nothing erases nothing, ordered stop ends before the first', async () => {
  const [a, b] = values(2) as [string, string];
  const [s, t] = (await make('mrn', [a, b])) as [string, string];
  const all = eraseCall('mrn', byTokens(s, '000', t), { delivery: 'all-or-nothing' });
  await expect(engine.erase(all)).rejects.toMatchObject({ reason: 'TOKEN_MALFORMED' });
  expect(await reveal('mrn', [s, t])).toEqual([a, b]);
  const stop = eraseCall('mrn', byTokens(s, '000', t), { delivery: 'ordered-stop' });
  const answer = await engine.erase(stop);
  expect([...answer.counts]).toEqual([1]);
  expect(answer.errors).toEqual([{ index: 1, reason: 'TOKEN_MALFORMED' }]);
  expect(await reveal('mrn', [s, t])).toEqual(['TOKEN_NOT_FOUND', b]);
});

test('a context or subject that is named must be the one of the token', async () => {
  const [a, b] = values(2) as [string, string];
  const [s] = (await make('mrn', [a], { context: one('ward') })) as [string];
  const [t] = (await make('own', [b], { subject: one('pat-7') })) as [string];
  const wrong = await engine.erase(eraseCall('mrn', byTokens(s), { context: one('lab') }));
  expect(wrong.errors).toEqual([{ index: 0, reason: 'TOKEN_NOT_FOUND' }]);
  const other = await engine.erase(eraseCall('own', byTokens(t), { subject: one('pat-8') }));
  expect(other.errors).toEqual([{ index: 0, reason: 'TOKEN_NOT_FOUND' }]);
  expect(await reveal('mrn', [s], { context: one('ward') })).toEqual([a]);
  await engine.erase(eraseCall('mrn', byTokens(s), { context: one('ward') }));
  await engine.erase(eraseCall('own', byTokens(t)));
  expect(await reveal('mrn', [s], { context: one('ward') })).toEqual(['TOKEN_NOT_FOUND']);
  expect(await reveal('own', [t], { subject: one('pat-7') })).toEqual(['TOKEN_NOT_FOUND']);
});

describe('by subject', () => {
  test('everywhere: records, bound tokens, and what cannot be erased is named', async () => {
    const mine = { subject: one('patient-1') };
    const theirs = { subject: one('patient-2') };
    const [a, b, c] = values(3) as [string, string, string];
    const own = await make('own', [a, b], mine);
    const visit = await make('visit', [c], mine);
    const note = await make('note', ['Zoë'], mine);
    const ownOther = await make('own', [a], theirs);
    const noteOther = await make('note', ['Zoë'], theirs);
    const answer = await engine.erase(eraseCall('', BY_SUBJECT, mine));
    expect([...answer.counts]).toEqual([3]);
    expect(await reveal('own', own, mine)).toEqual(['TOKEN_NOT_FOUND', 'TOKEN_NOT_FOUND']);
    expect(await reveal('visit', visit, mine)).toEqual(['TOKEN_NOT_FOUND']);
    expect(await reveal('note', note, mine)).toEqual(['TOKEN_NOT_FOUND']);
    expect(await reveal('own', ownOther, theirs)).toEqual([a]);
    expect(await reveal('note', noteOther, theirs)).toEqual(['Zoë']);
    for (const line of [
      'domain clinic/own tokens 2',
      'domain clinic/visit tokens 1',
      'domain clinic/note tokens 0',
      'cannot-erase clinic/account fpe',
      'cannot-erase clinic/memo siv',
      'cannot-erase clinic/pseudonym one-way',
    ]) {
      expect(answer.certificate.split('\n')).toContain(line);
    }
    const none = await engine.erase(eraseCall('', BY_SUBJECT, mine));
    expect([...none.counts]).toEqual([0]);
  });

  test('a SIV token of an erased subject is not made again, nor exchanged', async () => {
    const mine = { subject: one('patient-3') };
    const [note] = (await make('note', ['Bø'], mine)) as [string];
    await engine.erase(eraseCall('note', BY_SUBJECT, mine));
    const again = await engine.tokenize(tokenizeCall('note', ['Bø', 'Å'], mine));
    expect(again.errors.map(({ reason }) => reason)).toEqual(['ERASE_REFUSED', 'ERASE_REFUSED']);
    expect(textOf(again.tokens)).toEqual(['', '']);
    const moved = await engine.exchange(exchangeCall('note', 'memo', [note], mine));
    expect(moved.errors).toEqual([{ index: 0, reason: 'TOKEN_NOT_FOUND' }]);
    const mixed = { subject: each('patient-3', 'patient-4') };
    const both = await engine.tokenize(tokenizeCall('note', ['Bø', 'Bø'], mixed));
    expect(both.errors).toEqual([{ index: 0, reason: 'ERASE_REFUSED' }]);
  });

  test('opaque tokens of a vaulted domain go with their subject alone', async () => {
    const mine = { subject: one('patient-6') };
    const values = ['529-31-0047', 'not an ssn'];
    const tokens = await make('odd', values, mine);
    const named = await engine.erase(eraseCall('odd', byTokens(tokens[1]!)));
    expect(named.errors).toEqual([{ index: 0, reason: 'ERASE_REFUSED' }]);
    expect(await reveal('odd', tokens, mine)).toEqual(values);
    await engine.erase(eraseCall('odd', BY_SUBJECT, mine));
    expect(await reveal('odd', tokens, mine)).toEqual(['TOKEN_NOT_FOUND', 'TOKEN_NOT_FOUND']);
    const again = await engine.tokenize(tokenizeCall('odd', values, mine));
    expect(again.errors).toEqual([{ index: 1, reason: 'ERASE_REFUSED' }]);
    expect(textOf(again.tokens)[0]).not.toBe(tokens[0]);
    const others = { subject: one('patient-7') };
    expect(await reveal('odd', await make('odd', values, others), others)).toEqual(values);
  });

  test('tombstones survive a restart and a change of the catalogue', async () => {
    const mine = { subject: one('patient-5') };
    const [note] = (await make('note', ['Li'], mine)) as [string];
    await engine.erase(eraseCall('note', BY_SUBJECT, mine));
    await engine.createDomain(DEV, domain('later', 'siv', 'text'));
    expect(await reveal('note', [note], mine)).toEqual(['TOKEN_NOT_FOUND']);
    await engine.close();
    engine = await home.open();
    expect(await reveal('note', [note], mine)).toEqual(['TOKEN_NOT_FOUND']);
  });

  test('a shared record loses the subject, and dies with the last', async () => {
    const [a] = values(1) as [string];
    const first = { subject: one('mother') };
    const second = { subject: one('child') };
    const [s] = (await make('shared', [a], first)) as [string];
    expect(await make('shared', [a], second)).toEqual([s]);
    const one1 = await engine.erase(eraseCall('shared', BY_SUBJECT, first));
    expect([...one1.counts]).toEqual([1]);
    expect(await reveal('shared', [s], second)).toEqual([a]);
    expect([...(await engine.erase(eraseCall('shared', BY_SUBJECT, first))).counts]).toEqual([0]);
    await engine.erase(eraseCall('shared', BY_SUBJECT, second));
    expect(await reveal('shared', [s], second)).toEqual(['TOKEN_NOT_FOUND']);
  });

  test('needs a subject; kinds that keep nothing refuse', async () => {
    await expect(engine.erase(eraseCall('', BY_SUBJECT))).rejects.toMatchObject({
      reason: 'FIELD_REQUIRED',
    });
    for (const id of ['account', 'memo', 'pseudonym']) {
      const call = eraseCall(id, BY_SUBJECT, { subject: one('x') });
      await expect(engine.erase(call)).rejects.toMatchObject({ reason: 'ERASE_REFUSED' });
      await expect(engine.erase(eraseCall(id, byTokens('x')))).rejects.toMatchObject({
        reason: 'ERASE_REFUSED',
      });
    }
    await expect(engine.erase(eraseCall('note', byTokens('x')))).rejects.toMatchObject({
      reason: 'ERASE_REFUSED',
    });
  });
});

test('more tokens than a leaf names take several, one after the other', async () => {
  const mine = { subject: one('patient-8') };
  const tokens = await make('own', values(10_000), mine);
  tokens.push(...(await make('own', values(1), mine)));
  const answer = await engine.erase(eraseCall('own', BY_SUBJECT, mine));
  expect([...answer.counts]).toEqual([10_001]);
  const shown = await reveal('own', [tokens[0]!, tokens[9_999]!, tokens[10_000]!], mine);
  expect(shown).toEqual(Array(3).fill('TOKEN_NOT_FOUND'));
  const lines = answer.certificate.split('\n');
  expect(lines).toContain('domain clinic/own tokens 10001');
  const leaves = lines.filter((line) => line.startsWith('leaf '));
  expect(leaves).toHaveLength(2);
  expect(leaves[1]).toContain(`leaf ${answer.receipt.leafIndex} `);
});

test('a record that does not open goes too, and its value gets a new token', async () => {
  const other = installation();
  let own = await other.open();
  await own.createDomain(DEV, domain('mrn', 'static', 'digits:9'));
  const both = ['123456789', '987654321'];
  const tokens = textOf((await own.tokenize(tokenizeCall('mrn', both))).tokens);
  await own.close();
  await damageRecord(other.folder, 'clinic/mrn', 0);
  own = await other.open();
  const shown = await own.detokenize(detokenizeCall('mrn', tokens));
  expect(shown.errors).toEqual([{ index: 0, reason: 'RECORD_CORRUPT' }]);
  expect([...(await own.erase(eraseCall('mrn', byTokens(tokens[0]!)))).counts]).toEqual([1]);
  const again = await own.tokenize(tokenizeCall('mrn', both));
  expect([...again.created]).toEqual([1, 0]);
  expect(textOf(again.tokens)[1]).toBe(tokens[1]);
  const check = await ended(own, await own.checkVault(DEV, false, ''));
  expect(check.result).toEqual({ faults: '0' });
  await own.close();
  other.remove();
});

test('who may not erase is denied; a purpose is needed', async () => {
  const [a] = values(1) as [string];
  const [s] = (await make('mrn', [a])) as [string];
  const stranger = { caller: callerOf('ehr') };
  const denied = { reason: 'ACCESS_DENIED' };
  await expect(engine.erase(eraseCall('mrn', byTokens(s), stranger))).rejects.toMatchObject(denied);
  const everywhere = eraseCall('', BY_SUBJECT, { ...stranger, subject: one('x') });
  await expect(engine.erase(everywhere)).rejects.toMatchObject(denied);
  const mute = eraseCall('mrn', byTokens(s), { purpose: '' });
  await expect(engine.erase(mute)).rejects.toMatchObject({ reason: 'PURPOSE_REQUIRED' });
  expect(await reveal('mrn', [s])).toEqual([a]);
});

test('a repeat with the same request id answers as the first, no other message does', async () => {
  const [a, b] = values(2) as [string, string];
  const tokens = await make('visit', [a, a, b]);
  const requestId = request();
  const call = eraseCall('visit', byValues(a, '999999999', b), { requestId });
  const first = await engine.erase(call);
  const second = await engine.erase(call);
  expect([...first.counts]).toEqual([2, 0, 1]);
  expect([...second.counts]).toEqual([2, 0, 1]);
  expect(second.errors).toEqual(first.errors);
  expect(second.receipt.leafIndex).toBe(first.receipt.leafIndex);
  expect(Buffer.compare(second.receipt.salt, first.receipt.salt)).toBe(0);
  expect(await reveal('visit', tokens)).toEqual(Array(3).fill('TOKEN_NOT_FOUND'));
  const other = eraseCall('visit', byValues(b), { requestId });
  await expect(engine.erase(other)).rejects.toMatchObject({ reason: 'REQUEST_ID_REUSED' });
});

test('a retried Tokenize does not show what was erased since', async () => {
  const [a, b] = values(2) as [string, string];
  const call = tokenizeCall('visit', [a, b], { requestId: request() });
  const [s, t] = textOf((await engine.tokenize(call)).tokens) as [string, string];
  await engine.erase(eraseCall('visit', byTokens(s)));
  const again = await engine.tokenize(call);
  expect(again.errors).toEqual([{ index: 0, reason: 'TOKEN_NOT_FOUND' }]);
  expect(textOf(again.tokens)).toEqual(['', t]);
});

test('the leaves name counts, the sealed bodies tokens; nobody else sees either', async () => {
  const mine = { subject: one('patient-9') };
  const [a] = values(1) as [string];
  const [s] = (await make('own', [a], mine)) as [string];
  const { receipt } = await engine.erase(eraseCall('own', BY_SUBJECT, mine));
  const calls = await readLog(copyOf(home.folder));
  const { entry, bytes, body } = calls[receipt.leafIndex]!;
  expect(entry).toMatchObject({ verb: 'Erase', domain: 'clinic/own', purpose: 'PATRQT', done: 1 });
  expect(entry.extra).toMatchObject({ mode: 'delete', tokens: 1, part: 1, parts: 1 });
  const text = Buffer.from(bytes).toString('utf8');
  for (const secret of [a, s, 'patient-9']) expect(text).not.toContain(secret);
  expect(textOf(body!.tokens)).toEqual([s, '']);
  expect([...body!.created]).toEqual([1, 0]);
  expect(body!.subjects).toHaveLength(32);
});
