import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Engine } from '../../src/engine/calls.ts';
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

const KINDS = [
  ['fpe', 'digits:9', { safety: 'valid', note: 'x' }],
  ['siv', 'digits:9', {}],
  ['static', 'digits:9', {}],
  ['dynamic', 'digits:9', {}],
] as const;

beforeAll(async () => {
  engine = await home.open();
  for (const [kind, format, more] of KINDS) {
    for (const [name, onInvalid] of [
      ['pass', 'pass'],
      ['opaque', 'tokenize-opaque'],
    ]) {
      const options = { ...more, onInvalid };
      await engine.createDomain(DEV, domain(`${kind}-${name}`, kind, format, options));
    }
  }
});

afterAll(async () => {
  await engine.close();
  home.remove();
});

const MIXED = ['123456789', 'no number', '987654321', 'other words', '', 'no number'];
let requests = 0;

describe.each(KINDS)('%s', (kind) => {
  const requestId = (): string => (kind === 'dynamic' ? `invalid-${++requests}` : '');

  test('pass: values outside the format are answered as they came, with a notice', async () => {
    const id = `${kind}-pass`;
    const answer = await engine.tokenize(tokenizeCall(id, MIXED, { requestId: requestId() }));
    const tokens = textOf(answer.tokens);
    expect([tokens[1], tokens[3], tokens[4], tokens[5]]).toEqual([
      MIXED[1],
      MIXED[3],
      '',
      MIXED[1],
    ]);
    expect(answer.notices).toEqual([{ reason: 'VALUE_PASSED', indexes: [1, 3, 5] }]);
    expect(answer.errors).toEqual([{ index: 4, reason: 'VALUE_EMPTY' }]);
    // Nothing unread is ever taken for a value.
    const back = await engine.detokenize(detokenizeCall(id, tokens));
    expect(back.errors.map(({ index }) => index)).toEqual([1, 3, 4, 5]);
    expect(textOf(back.values)).toEqual([MIXED[0], '', MIXED[2], '', '', '']);
    const live = (await engine.getDomain(DEV, id)).liveTokens;
    expect(live).toBe(kind === 'static' || kind === 'dynamic' ? 2 : 0);
  });

  test('opaque: values outside the format are sealed and come back', async () => {
    const id = `${kind}-opaque`;
    const answer = await engine.tokenize(tokenizeCall(id, MIXED, { requestId: requestId() }));
    const tokens = textOf(answer.tokens);
    expect(tokens[1]).toMatch(/^tx_/);
    expect(tokens[1]).toBe(tokens[5]);
    expect(tokens[1]).not.toBe(tokens[3]);
    expect(answer.notices).toEqual([{ reason: 'VALUE_OPAQUE', indexes: [1, 3, 5] }]);
    expect(answer.errors).toEqual([{ index: 4, reason: 'VALUE_EMPTY' }]);
    const good = tokens.filter((token) => token !== '');
    const back = await engine.detokenize(detokenizeCall(id, good));
    expect(back.errors).toEqual([]);
    expect(textOf(back.values)).toEqual(MIXED.filter((value) => value !== ''));
    expect(back.notices).toEqual([{ reason: 'VALUE_OPAQUE', indexes: [1, 3, 4] }]);
    if (kind === 'dynamic') return;
    const found = await engine.lookup(lookupCall(id, MIXED));
    expect(textOf(found.tokens)).toEqual(tokens);
  });

  test('opaque tokens are bound to context and subject; a touched one does not open', async () => {
    const id = `${kind}-opaque`;
    const context = one('ward');
    const subject = each('anna', 'ben');
    const call = { context, subject, requestId: requestId() };
    const made = await engine.tokenize(tokenizeCall(id, ['no number', 'no number'], call));
    const [a, b] = textOf(made.tokens);
    expect(a).not.toBe(b);
    const back = await engine.detokenize(detokenizeCall(id, [a!, b!], { context, subject }));
    expect(textOf(back.values)).toEqual(['no number', 'no number']);
    const touched = a!.slice(0, -8) + (a!.at(-8) === 'a' ? 'b' : 'a') + a!.slice(-7);
    for (const [token, more] of [
      [a!, {}],
      [a!, { context, subject: one('ben') }],
      [a!, { subject: one('anna') }],
      [touched, { context, subject: one('anna') }],
    ] as const) {
      const wrong = await engine.detokenize(detokenizeCall(id, [token], more));
      expect(wrong.errors).toEqual([{ index: 0, reason: 'TOKEN_NOT_FOUND' }]);
    }
  });

  test('opaque values follow an exchange', async () => {
    const from = `${kind}-opaque`;
    const made = await engine.tokenize(
      tokenizeCall(from, ['no number', '123456789'], { requestId: requestId() }),
    );
    const into = kind === 'siv' ? 'static-opaque' : 'siv-opaque';
    const moved = await engine.exchange(exchangeCall(from, into, textOf(made.tokens)));
    expect(moved.errors).toEqual([]);
    expect(moved.notices).toEqual([{ reason: 'VALUE_OPAQUE', indexes: [0] }]);
    const back = await engine.detokenize(detokenizeCall(into, moved.tokens));
    expect(textOf(back.values)).toEqual(['no number', '123456789']);
  });

  test('inspect knows opaque tokens', async () => {
    const id = `${kind}-opaque`;
    const made = await engine.tokenize(tokenizeCall(id, ['no number'], { requestId: requestId() }));
    const [token] = textOf(made.tokens);
    const touched = token!.slice(0, -8) + (token!.at(-8) === 'a' ? 'b' : 'a') + token!.slice(-7);
    const { states } = await engine.inspect(inspectCall(id, [token!, touched]));
    expect(states).toEqual(['well-formed', 'unknown']);
  });
});

test('a masked or redacted view of an opaque value gives nothing of it away', async () => {
  const made = await engine.tokenize(tokenizeCall('static-opaque', ['no number', '123456789']));
  for (const view of ['masked', 'redacted'] as const) {
    const call = detokenizeCall('static-opaque', made.tokens, { view });
    const [opaque, number] = textOf((await engine.detokenize(call)).values);
    expect(opaque).toBe(view === 'masked' ? '********' : '[redacted]');
    expect(number).not.toContain('12345');
  }
});
