import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Engine } from '../../src/engine/calls.ts';
import {
  DEV,
  detokenizeCall,
  domain,
  exchangeCall,
  installation,
  textOf,
  tokenizeCall,
} from './harness.ts';

const home = installation();
let engine: Engine;

beforeAll(async () => {
  engine = await home.open();
  await engine.createDomain(
    DEV,
    domain('account', 'fpe', 'digits:9', { safety: 'valid', note: 'x' }),
  );
  await engine.createDomain(DEV, domain('ssn', 'static', 'ssn'));
  await engine.createDomain(DEV, domain('note', 'siv', 'text'));
  await engine.createDomain(DEV, domain('visit', 'dynamic', 'digits:9'));
  await engine.createDomain(DEV, domain('pseudonym', 'one-way', 'text'));
  await engine.createDomain(DEV, domain('mask', 'transform', 'ssn'));
});

afterAll(async () => {
  await engine.close();
  home.remove();
});

describe('each kind', () => {
  for (const [name, values] of [
    ['account', ['123456789', '000000001', '123456789']],
    ['ssn', ['529-31-0047', '231-84-6605', '529-31-0047']],
    ['note', ['Zoë Ångström', 'x'.repeat(2_000), 'Zoë Ångström']],
  ] as const) {
    test(`${name}: tokens come back as they were, equal values as equal tokens`, async () => {
      const tokens = await engine.tokenize(tokenizeCall(name, values));
      expect(tokens.errors).toEqual([]);
      const [a, b, c] = textOf(tokens.tokens);
      expect(a).toBe(c);
      expect(a).not.toBe(b);
      const again = await engine.tokenize(tokenizeCall(name, values));
      expect(textOf(again.tokens)).toEqual([a, b, c]);
      const back = await engine.detokenize(detokenizeCall(name, tokens.tokens));
      expect(back.errors).toEqual([]);
      expect(textOf(back.values)).toEqual(values);
    });
  }

  test('visit: every item mints, and a retry with its id does not', async () => {
    const call = tokenizeCall('visit', ['123456789', '123456789'], { requestId: 'r1' });
    const first = await engine.tokenize(call);
    const tokens = textOf(first.tokens);
    expect(new Set(tokens).size).toBe(2);
    const again = await engine.tokenize(call);
    expect(textOf(again.tokens)).toEqual(tokens);
    expect(again.receipt).toEqual(first.receipt);
    const back = await engine.detokenize(detokenizeCall('visit', tokens));
    expect(textOf(back.values)).toEqual(['123456789', '123456789']);
  });

  test('exchange carries tokens from one domain into another', async () => {
    const source = textOf((await engine.tokenize(tokenizeCall('account', ['123456789']))).tokens);
    const target = await engine.exchange(exchangeCall('account', 'note', source));
    const back = await engine.detokenize(detokenizeCall('note', target.tokens));
    expect(textOf(back.values)).toEqual(['123456789']);
  });
});
