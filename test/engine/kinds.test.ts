import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Engine } from '../../src/engine/calls.ts';
import {
  DEV,
  detokenizeCall,
  domain,
  exchangeCall,
  inspectCall,
  installation,
  lookupCall,
  textOf,
  tokenizeCall,
} from './harness.ts';

const home = installation();
let engine: Engine;

const KINDS = [
  ['account', 'fpe', 'digits:9', { safety: 'valid', note: 'x' }, ['123456789', '987654321']],
  ['ssn', 'static', 'ssn', {}, ['529-31-0047', '231-84-6605']],
  ['note', 'siv', 'text', {}, ['Zoë Ångström', 'Bø']],
  ['visit', 'dynamic', 'digits:9', {}, ['123456789', '987654321']],
  ['pseudonym', 'one-way', 'text', {}, ['Zoë Ångström', 'Bø']],
  ['mask', 'transform', 'ssn', {}, ['529-31-0047', '231-84-6605']],
] as const;

beforeAll(async () => {
  engine = await home.open();
  for (const [id, kind, format, more] of KINDS) {
    await engine.createDomain(DEV, domain(id, kind, format, more));
  }
});

afterAll(async () => {
  await engine.close();
  home.remove();
});

const tokensOf = async (id: string, values: readonly string[], requestId = '') =>
  textOf((await engine.tokenize(tokenizeCall(id, values, { requestId }))).tokens);

describe.each(KINDS)('%s', (id, kind, _format, _more, values) => {
  const vaulted = kind === 'static' || kind === 'dynamic';
  const reversible = kind !== 'one-way' && kind !== 'transform';
  let requests = 0;
  const request = (): string => (kind === 'dynamic' ? `kinds-${++requests}` : '');

  test('tokenize answers row for row, with a key version and what it created', async () => {
    const call = tokenizeCall(id, [...values, values[0]], { requestId: request() });
    const answer = await engine.tokenize(call);
    const tokens = textOf(answer.tokens);
    expect(answer.errors).toEqual([]);
    expect(tokens).toHaveLength(3);
    expect(tokens[0]).not.toBe(tokens[1]);
    for (const token of tokens) expect(values).not.toContain(token);
    expect(tokens[0] === tokens[2]).toBe(kind !== 'dynamic');
    expect(answer.keyVersion).toBe(1);
    const created = { static: [1, 1, 0], dynamic: [1, 1, 1] }[kind as string] ?? [];
    expect([...answer.created]).toEqual(created);
  });

  test('lookup gives the same tokens and makes none', async () => {
    if (kind === 'dynamic') {
      const refused = engine.lookup(lookupCall(id, values));
      await expect(refused).rejects.toMatchObject({ reason: 'KIND_UNSUPPORTED' });
      return;
    }
    const tokens = await tokensOf(id, values);
    const before = (await engine.getDomain(DEV, id)).liveTokens;
    const answer = await engine.lookup(lookupCall(id, values));
    expect(textOf(answer.tokens)).toEqual(tokens);
    expect([...answer.created]).toEqual([]);
    expect((await engine.getDomain(DEV, id)).liveTokens).toBe(before);
  });

  test('detokenize gives the values back, where there is a way back', async () => {
    const tokens = await tokensOf(id, values, request());
    const call = detokenizeCall(id, [...tokens, tokens[0]!]);
    if (!reversible) {
      await expect(engine.detokenize(call)).rejects.toMatchObject({ reason: 'KIND_UNSUPPORTED' });
      return;
    }
    const answer = await engine.detokenize(call);
    expect(answer).toMatchObject({ errors: [], view: 'plain' });
    expect(textOf(answer.values)).toEqual([...values, values[0]]);
  });

  test('inspect says what a token is', async () => {
    const tokens = await tokensOf(id, values, request());
    const call = inspectCall(id, [tokens[0]!, 'not a token']);
    if (!reversible) {
      await expect(engine.inspect(call)).rejects.toMatchObject({ reason: 'KIND_UNSUPPORTED' });
      return;
    }
    const answer = await engine.inspect(call);
    expect(answer.states).toEqual([vaulted ? 'live' : 'well-formed', 'unknown']);
    expect(answer.keyVersions).toEqual([1, 0]);
    expect(answer.errors).toEqual([]);
  });

  test('exchange into it and out of it', async () => {
    const source = kind === 'siv' || kind === 'one-way' ? 'account' : 'note';
    const from = await tokensOf(source, source === 'note' ? values : ['123456789', '987654321']);
    const into = engine.exchange(exchangeCall(source, id, from));
    if (kind === 'dynamic') {
      await expect(into).rejects.toMatchObject({ reason: 'KIND_UNSUPPORTED' });
    } else {
      const plain = source === 'note' ? values : ['123456789', '987654321'];
      expect(textOf((await into).tokens)).toEqual(await tokensOf(id, plain));
    }
    const tokens = await tokensOf(id, values, request());
    const out = engine.exchange(exchangeCall(id, 'pseudonym', tokens));
    if (id === 'pseudonym') await expect(out).rejects.toMatchObject({ reason: 'FIELD_INVALID' });
    else if (!reversible) {
      await expect(out).rejects.toMatchObject({ reason: 'KIND_UNSUPPORTED' });
    } else expect(textOf((await out).tokens)).toEqual(await tokensOf('pseudonym', values));
  });
});

test('lookup of a value that has no token in a static domain is VALUE_NOT_FOUND', async () => {
  const known = await tokensOf('ssn', ['529-31-0047']);
  const answer = await engine.lookup(lookupCall('ssn', ['529-31-0047', '231-84-6606', 'x']));
  expect(textOf(answer.tokens)).toEqual([known[0], '', '']);
  expect(answer.errors).toEqual([
    { index: 1, reason: 'VALUE_NOT_FOUND' },
    { index: 2, reason: 'VALUE_MALFORMED' },
  ]);
});

test('a dynamic domain wants a request id', async () => {
  const call = tokenizeCall('visit', ['123456789']);
  await expect(engine.tokenize(call)).rejects.toMatchObject({ reason: 'FIELD_REQUIRED' });
});

test('an unknown, a foreign and a touched token look alike', async () => {
  const [siv] = await tokensOf('note', ['Zoë Ångström']);
  const [pseudonym] = await tokensOf('pseudonym', ['Zoë Ångström']);
  const touched = siv!.slice(0, -2) + (siv!.at(-2) === 'a' ? 'b' : 'a') + siv!.at(-1);
  const foreign = pseudonym!.replace('tk_pseudonym_', 'tk_note_');
  const answer = await engine.detokenize(detokenizeCall('note', [touched, foreign, pseudonym!]));
  expect(textOf(answer.values)).toEqual(['', '', '']);
  expect(answer.errors.slice(0, 1)).toEqual([{ index: 0, reason: 'TOKEN_NOT_FOUND' }]);
  expect(answer.errors[2]).toEqual({ index: 2, reason: 'TOKEN_NOT_FOUND' });

  const [visit] = await tokensOf('visit', ['123456789'], 'foreign');
  const other = String((Number(visit) + 1) % 1_000_000_000).padStart(9, '0');
  const unknown = await engine.detokenize(detokenizeCall('visit', [other]));
  expect(unknown.errors).toEqual([{ index: 0, reason: 'TOKEN_NOT_FOUND' }]);
});
