import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Engine, NONE, type PerCall } from '../../src/engine/calls.ts';
import {
  DEV,
  detokenizeCall,
  domain,
  each,
  exchangeCall,
  inspectCall,
  installation,
  lookupCall,
  one,
  textOf,
  tokenizeCall,
} from './harness.ts';

const home = installation();
let engine: Engine;

beforeAll(async () => {
  engine = await home.open();
  const fpe = { safety: 'valid', note: 'x' };
  await engine.createDomain(DEV, domain('account', 'fpe', 'digits:9', fpe));
  for (const [kind, format] of [
    ['siv', 'text'],
    ['static', 'digits:9'],
    ['dynamic', 'digits:9'],
  ] as const) {
    await engine.createDomain(DEV, domain(kind, kind, format));
    const bound = domain(`${kind}-bound`, kind, format, { subjectRequired: true });
    await engine.createDomain(DEV, bound);
  }
  await engine.createDomain(DEV, domain('pseudonym', 'one-way', 'text'));
});

afterAll(async () => {
  await engine.close();
  home.remove();
});

let requests = 0;
const tokens = async (
  id: string,
  values: readonly string[],
  more: { context?: PerCall; subject?: PerCall } = {},
) => {
  const requestId = id.startsWith('dynamic') ? `binding-${++requests}` : '';
  const answer = await engine.tokenize(tokenizeCall(id, values, { ...more, requestId }));
  expect(answer.errors).toEqual([]);
  return textOf(answer.tokens);
};
const values = async (id: string, from: readonly string[], more = {}) =>
  textOf((await engine.detokenize(detokenizeCall(id, from, more))).values);

const A = '123456789';
const B = '987654321';

describe.each(['account', 'siv', 'static', 'dynamic'])('contexts of %s', (id) => {
  test('one for the call, or a column: the same context reveals and no other', async () => {
    const [a] = await tokens(id, [A], { context: one('ward') });
    const [b, c] = await tokens(id, [A, A], { context: each('ward', '') });
    const [d] = await tokens(id, [A]);
    if (id !== 'dynamic') expect([a, c]).toEqual([b, d]);
    expect(a).not.toBe(d);
    expect(await values(id, [a!, b!], { context: one('ward') })).toEqual([A, A]);
    expect(await values(id, [b!, c!], { context: each('ward', '') })).toEqual([A, A]);
    expect(await values(id, [c!, d!])).toEqual([A, A]);
    for (const context of [one('other'), one('east')]) {
      const wrong = await engine.detokenize(detokenizeCall(id, [a!, d!], { context }));
      expect(textOf(wrong.values)).not.toContain(A);
      if (id === 'account') continue;
      expect(wrong.errors.map(({ reason }) => reason)).toEqual([
        'TOKEN_NOT_FOUND',
        'TOKEN_NOT_FOUND',
      ]);
    }
  });
});

describe.each(['siv', 'static', 'dynamic'])('subjects of %s', (kind) => {
  for (const id of [kind, `${kind}-bound`]) {
    test(`${id}: two subjects of one value have two tokens, each its own`, async () => {
      const [a, b] = await tokens(id, [A, A], { subject: each('anna', 'ben') });
      expect(a).not.toBe(b);
      const [again] = await tokens(id, [A], { subject: one('anna') });
      expect(again === a).toBe(kind !== 'dynamic');
      expect(await values(id, [a!, b!], { subject: each('anna', 'ben') })).toEqual([A, A]);
      for (const subject of [one('ben'), each('ben'), one('carla')]) {
        const wrong = await engine.detokenize(detokenizeCall(id, [a!], { subject }));
        expect(wrong.errors).toEqual([{ index: 0, reason: 'TOKEN_NOT_FOUND' }]);
        expect(textOf(wrong.values)).toEqual(['']);
        const moved = await engine.exchange(exchangeCall(id, 'pseudonym', [a!], { subject }));
        expect(moved.errors).toEqual([{ index: 0, reason: 'TOKEN_NOT_FOUND' }]);
      }
      if (kind !== 'dynamic') {
        const found = await engine.lookup(lookupCall(id, [A], { subject: one('ben') }));
        expect(textOf(found.tokens)).toEqual([b]);
      }
    });
  }

  test('a bound token is not revealed to a call that names nobody', async () => {
    const [a] = await tokens(kind, [A], { subject: one('anna') });
    const wrong = await engine.detokenize(detokenizeCall(kind, [a!]));
    expect(wrong.errors).toEqual([{ index: 0, reason: 'TOKEN_NOT_FOUND' }]);
  });

  test('where a subject is required, a call without one is refused and an item fails', async () => {
    const id = `${kind}-bound`;
    const requestId = kind === 'dynamic' ? 'subjectless' : '';
    for (const subject of [NONE, one('')]) {
      const call = tokenizeCall(id, [A], { subject, requestId });
      await expect(engine.tokenize(call)).rejects.toMatchObject({ reason: 'SUBJECT_REQUIRED' });
      const back = engine.detokenize(detokenizeCall(id, ['x'], { subject }));
      await expect(back).rejects.toMatchObject({ reason: 'SUBJECT_REQUIRED' });
    }
    const subject = each('anna', '', 'ben');
    const before = (await engine.getDomain(DEV, id)).liveTokens;
    const some = await engine.tokenize(tokenizeCall(id, [B, B, A], { subject, requestId }));
    expect(some.errors).toEqual([{ index: 1, reason: 'SUBJECT_REQUIRED' }]);
    const made = textOf(some.tokens);
    expect(made[1]).toBe('');
    const live = (await engine.getDomain(DEV, id)).liveTokens;
    if (kind === 'dynamic') expect(live).toBe(before + 2);
    const back = await engine.detokenize(
      detokenizeCall(id, [made[0]!, made[0]!, made[2]!], { subject }),
    );
    expect(back.errors).toEqual([{ index: 1, reason: 'SUBJECT_REQUIRED' }]);
    expect(textOf(back.values)).toEqual([B, '', A]);
  });
});

test('an FPE token varies with the subject, which is a tweak and no guard', async () => {
  const [a, b] = await tokens('account', [A, A], { subject: each('anna', 'ben') });
  expect(a).not.toBe(b);
  expect(await values('account', [a!, b!], { subject: each('anna', 'ben') })).toEqual([A, A]);
  expect(await values('account', [a!], { subject: one('ben') })).not.toEqual([A]);
});

test('pseudonyms differ by subject and by context', async () => {
  const [a, b, c] = await tokens('pseudonym', ['x', 'x', 'x'], {
    subject: each('anna', 'ben', 'anna'),
    context: each('', '', 'study'),
  });
  expect(new Set([a, b, c]).size).toBe(3);
});

test('exchange carries the subject into the target and gives it the target context', async () => {
  const subject = one('anna');
  const from = await tokens('siv-bound', [A], { subject, context: one('ward') });
  const moved = await engine.exchange(
    exchangeCall('siv-bound', 'static-bound', from, {
      subject,
      context: one('ward'),
      targetContext: one('study'),
    }),
  );
  expect(moved.errors).toEqual([]);
  const back = textOf(moved.tokens);
  expect(await values('static-bound', back, { subject, context: one('study') })).toEqual([A]);
  const wrong = await engine.detokenize(detokenizeCall('static-bound', back, { subject }));
  expect(wrong.errors).toEqual([{ index: 0, reason: 'TOKEN_NOT_FOUND' }]);
});

test('inspect of a vaulted token needs no subject; a bound SIV token stays unknown', async () => {
  const subject = one('anna');
  const vaulted = await tokens('static-bound', [A], { subject });
  const printed = await tokens('siv-bound', [A], { subject });
  expect((await engine.inspect(inspectCall('static-bound', vaulted))).states).toEqual(['live']);
  expect((await engine.inspect(inspectCall('siv-bound', printed))).states).toEqual(['unknown']);
});
