import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Engine } from '../../src/engine/calls.ts';
import {
  DEV,
  detokenizeCall,
  domain,
  each,
  exchangeCall,
  installation,
  lookupCall,
  readLog,
  textOf,
  tokenizeCall,
} from './harness.ts';

const home = installation();
let engine: Engine;
let closed = false;

beforeAll(async () => {
  engine = await home.open();
  const fpe = { safety: 'valid', note: 'x' };
  await engine.createDomain(DEV, domain('account', 'fpe', 'digits:9', fpe));
  await engine.createDomain(DEV, domain('ssn', 'static', 'ssn'));
  await engine.createDomain(DEV, domain('note', 'siv', 'text'));
  await engine.createDomain(DEV, domain('soft', 'static', 'ssn', { onInvalid: 'pass' }));
});

afterAll(async () => {
  if (!closed) await engine.close();
  home.remove();
});

/** Good, good, bad, good. */
const VALUES = {
  account: ['123456789', '987654321', '12345', '111222333'],
  ssn: ['529-31-0047', '231-84-6605', 'xyz', '529-31-0048'],
} as const;

describe.each(['account', 'ssn'] as const)('%s', (id) => {
  const values = VALUES[id];
  const good = [values[0], values[1], values[3]];

  test('best effort: the bad item alone fails, in its place', async () => {
    const answer = await engine.tokenize(tokenizeCall(id, values));
    const tokens = textOf(answer.tokens);
    expect(answer.errors).toEqual([{ index: 2, reason: 'VALUE_MALFORMED' }]);
    expect(tokens.map((token) => token !== '')).toEqual([true, true, false, true]);
    const back = await engine.detokenize(detokenizeCall(id, tokens));
    expect(back.errors).toEqual([{ index: 2, reason: 'TOKEN_MALFORMED' }]);
    expect(textOf(back.values)).toEqual([values[0], values[1], '', values[3]]);
  });

  test('ordered stop: the columns end before the failed item, for tokens and values', async () => {
    const delivery = 'ordered-stop';
    const answer = await engine.tokenize(tokenizeCall(id, [...values, ''], { delivery }));
    expect(textOf(answer.tokens)).toHaveLength(2);
    expect(answer.errors).toEqual([{ index: 2, reason: 'VALUE_MALFORMED' }]);
    const tokens = textOf(answer.tokens);
    const back = await engine.detokenize(
      detokenizeCall(id, [tokens[0]!, 'bad', tokens[1]!, 'bad'], { delivery }),
    );
    expect(textOf(back.values)).toEqual([values[0]]);
    expect(back.errors).toEqual([{ index: 1, reason: 'TOKEN_MALFORMED' }]);
  });

  test('ordered stop: the first item may be the one that fails', async () => {
    const delivery = 'ordered-stop';
    const answer = await engine.tokenize(tokenizeCall(id, ['', ...values], { delivery }));
    expect(textOf(answer.tokens)).toEqual([]);
    expect(answer.errors).toEqual([{ index: 0, reason: 'VALUE_EMPTY' }]);
    const found = await engine.lookup(lookupCall(id, ['', ...values], { delivery }));
    expect(found.errors).toEqual([{ index: 0, reason: 'VALUE_EMPTY' }]);
    const back = await engine.detokenize(detokenizeCall(id, ['bad', 'bad'], { delivery }));
    expect(textOf(back.values)).toEqual([]);
    expect(back.errors).toEqual([{ index: 0, reason: 'TOKEN_MALFORMED' }]);
    const moved = await engine.exchange(exchangeCall(id, 'note', ['bad', 'bad'], { delivery }));
    expect(textOf(moved.tokens)).toEqual([]);
    expect(moved.errors).toEqual([{ index: 0, reason: 'TOKEN_MALFORMED' }]);
  });

  test('all or nothing: the call fails with the lowest reason, and nothing is stored', async () => {
    const delivery = 'all-or-nothing';
    const before = (await engine.getDomain(DEV, id)).liveTokens;
    const mixed = [`9${values[0].slice(1)}`, ...values];
    const refused = engine.tokenize(tokenizeCall(id, mixed, { delivery }));
    await expect(refused).rejects.toMatchObject({
      reason: id === 'ssn' ? 'VALUE_CHECK_FAILED' : 'VALUE_MALFORMED',
      violations:
        id === 'ssn' ? [{ field: 'values[0]' }, { field: 'values[3]' }] : [{ field: 'values[3]' }],
    });
    expect((await engine.getDomain(DEV, id)).liveTokens).toBe(before);
    const tokens = textOf((await engine.tokenize(tokenizeCall(id, good, { delivery }))).tokens);
    const back = engine.detokenize(detokenizeCall(id, [...tokens, 'bad'], { delivery }));
    await expect(back).rejects.toMatchObject({
      reason: 'TOKEN_MALFORMED',
      violations: [{ field: 'tokens[3]' }],
    });
    const whole = await engine.detokenize(detokenizeCall(id, tokens, { delivery }));
    expect(textOf(whole.values)).toEqual(good);
  });
});

describe('exchange', () => {
  const tokensOf = async (id: string, values: readonly string[], more = {}) =>
    textOf((await engine.tokenize(tokenizeCall(id, values, more))).tokens);

  test('ordered stop: rows that the source stopped at take their contexts along', async () => {
    const contexts = each('a', 'b', 'c', 'd');
    const subject = each('p', 'q', 's');
    const values = ['123456789', '987654321', '555666777'];
    const tokens = await tokensOf('account', values, { subject });
    for (const into of ['note', 'ssn', 'account2']) {
      if (into === 'account2') {
        const fpe = { safety: 'valid', note: 'x' };
        await engine.createDomain(DEV, domain(into, 'fpe', 'digits:9', fpe));
      }
      const moved = await engine.exchange(
        exchangeCall('account', into, [tokens[0]!, tokens[1]!, 'bad', tokens[2]!], {
          delivery: 'ordered-stop',
          targetContext: contexts,
          subject: each('p', 'q', 'r', 's'),
        }),
      );
      const rows = into === 'ssn' ? 0 : 2;
      expect(textOf(moved.tokens), into).toHaveLength(rows);
      expect(moved.errors, into).toHaveLength(1);
      expect(moved.errors[0]!.index, into).toBe(rows);
    }
  });

  test('all or nothing names the tokens, whichever side refused them', async () => {
    const delivery = 'all-or-nothing';
    const tokens = await tokensOf('account', ['529310047', '000000001']);
    const into = engine.exchange(exchangeCall('account', 'ssn', tokens, { delivery }));
    await expect(into).rejects.toMatchObject({ violations: [{ field: 'tokens[1]' }] });
  });

  test('best effort merges what the source and the target refused', async () => {
    const tokens = await tokensOf('note', ['529-31-0047', 'no number']);
    const moved = await engine.exchange(exchangeCall('note', 'ssn', ['bad', ...tokens]));
    expect(moved.errors).toEqual([
      { index: 0, reason: 'TOKEN_MALFORMED' },
      { index: 2, reason: 'VALUE_MALFORMED' },
    ]);
    expect(textOf(moved.tokens)[1]).toBe((await tokensOf('ssn', ['529-31-0047']))[0]);
  });
});

test('ordered stop: a lookup remarks only on rows that it answers', async () => {
  const values = ['529-31-0047', 'passed 1', '231-84-6606', 'passed 2'];
  await engine.tokenize(tokenizeCall('soft', ['529-31-0047']));
  const found = await engine.lookup(lookupCall('soft', values, { delivery: 'ordered-stop' }));
  expect(textOf(found.tokens).slice(1)).toEqual(['passed 1']);
  expect(found.errors).toEqual([{ index: 2, reason: 'VALUE_NOT_FOUND' }]);
  expect(found.notices).toEqual([{ reason: 'VALUE_PASSED', indexes: [1] }]);
});

test('each leaf counts what was done and what failed', async () => {
  await engine.close();
  closed = true;
  const calls = (await readLog(home.folder)).filter(({ entry }) => entry.verb === 'Tokenize');
  const counts = calls.map(({ entry }) => [entry.done, entry.failed].join());
  expect(counts.slice(0, 3)).toEqual(['3,1', '2,1', '0,1']);
  for (const { entry, body } of calls) {
    expect(
      entry.done + body!.errors.filter(({ index }) => index < body!.tokens.ends.length).length,
    ).toBe(body!.tokens.ends.length);
  }
});
