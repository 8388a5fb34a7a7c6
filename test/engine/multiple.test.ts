import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Engine } from '../../src/engine/calls.ts';
import {
  callerOf,
  copyOf,
  DEV,
  detokenizeCall,
  domain,
  each,
  type Installation,
  installation,
  one,
  readLog,
  textOf,
  tokenizeCall,
} from './harness.ts';
import { multipleCall, tokensByItem } from './several.ts';

let home: Installation;
let engine: Engine;

beforeEach(async () => {
  home = installation();
  engine = await home.open();
  await engine.createDomain(DEV, domain('visit', 'dynamic', 'digits:9', { onInvalid: 'pass' }));
  await engine.createDomain(DEV, domain('quiet', 'dynamic', 'digits:9', { listable: false }));
  await engine.createDomain(DEV, domain('ssn', 'static', 'ssn'));
});

afterEach(async () => {
  await engine.close();
  home.remove();
});

const listed = async (values: readonly string[], more = {}): Promise<string[][]> =>
  tokensByItem(await engine.tokenizeMultiple(multipleCall('visit', values, 0, more)));
const live = async (): Promise<number> => (await engine.getDomain(DEV, 'visit')).liveTokens;

describe('minting several tokens a value', () => {
  test('each resolves to its value, and the list has them all in order', async () => {
    const values = ['123456789', '987654321', '123456789'];
    const answer = await engine.tokenizeMultiple(multipleCall('visit', values, 3));
    expect([...answer.counts]).toEqual([3, 3, 3]);
    const tokens = textOf(answer.tokens);
    expect(new Set(tokens).size).toBe(9);
    const back = await engine.detokenize(detokenizeCall('visit', tokens));
    expect(textOf(back.values)).toEqual(values.flatMap((value) => [value, value, value]));
    const [first, second] = await listed(['123456789', '987654321', '111222333']);
    const byItem = tokensByItem(answer);
    expect(first).toEqual([...byItem[0]!, ...byItem[2]!]);
    expect(second).toEqual(byItem[1]);
    expect(await live()).toBe(9);
  });

  test('items that fail or pass by have none, or themselves', async () => {
    const values = ['', 'passed', '123-456-789', '12', '123456780'];
    const answer = await engine.tokenizeMultiple(multipleCall('visit', values, 2));
    expect([...answer.counts]).toEqual([0, 1, 1, 1, 2]);
    expect(answer.errors).toEqual([{ index: 0, reason: 'VALUE_EMPTY' }]);
    expect(tokensByItem(answer).slice(1, 4)).toEqual([['passed'], ['123-456-789'], ['12']]);
    expect(answer.notices).toEqual([{ reason: 'VALUE_PASSED', indexes: [1, 2, 3] }]);
    expect(await live()).toBe(2);
  });

  test('stops where it is told to, or does nothing at all', async () => {
    const values = ['123456789', '', '123456780'];
    const stop = await engine.tokenizeMultiple(
      multipleCall('visit', values, 2, { delivery: 'ordered-stop' }),
    );
    expect([...stop.counts]).toEqual([2]);
    expect(stop.errors).toEqual([{ index: 1, reason: 'VALUE_EMPTY' }]);
    const none = engine.tokenizeMultiple(
      multipleCall('visit', values, 2, { delivery: 'all-or-nothing' }),
    );
    await expect(none).rejects.toMatchObject({ reason: 'VALUE_EMPTY' });
    expect(await live()).toBe(2);
  });

  test('context and subject belong to the value', async () => {
    const bound = { subject: each('anna', 'berta'), context: one('ward') };
    const values = ['123456789', '123456789'];
    const answer = await engine.tokenizeMultiple(multipleCall('visit', values, 2, bound));
    const [annas, bertas] = tokensByItem(answer);
    expect(await listed(['123456789'])).toEqual([[]]);
    expect(await listed(values, bound)).toEqual([annas, bertas]);
    const shown = await engine.detokenize(
      detokenizeCall('visit', [annas![1]!, bertas![0]!], {
        subject: one('anna'),
        context: one('ward'),
      }),
    );
    expect(textOf(shown.values)).toEqual(['123456789', '']);
    expect(shown.errors).toEqual([{ index: 1, reason: 'TOKEN_NOT_FOUND' }]);
  });

  test('rules are those of every token', async () => {
    const rules = { idleMs: 0, expireMs: 0, revealsMax: 1, labels: ['R'] };
    const answer = await engine.tokenizeMultiple(
      multipleCall('visit', ['123456789'], 2, { rules }),
    );
    const tokens = textOf(answer.tokens);
    await engine.detokenize(detokenizeCall('visit', tokens));
    const again = await engine.detokenize(detokenizeCall('visit', tokens));
    expect(again.errors.map(({ reason }) => reason)).toEqual(['TOKEN_ENDED', 'TOKEN_ENDED']);
  });

  test('is refused before any work', async () => {
    const refused = async (call: Parameters<Engine['tokenizeMultiple']>[0]): Promise<string> =>
      engine.tokenizeMultiple(call).then(
        () => 'taken',
        (error) => error.reason,
      );
    const values = Array.from({ length: 101 }, () => '123456789');
    expect(await refused(multipleCall('visit', values, 100))).toBe('BATCH_TOO_LARGE');
    expect(await refused(multipleCall('visit', ['1'], 1, { requestId: '' }))).toBe(
      'FIELD_REQUIRED',
    );
    expect(await refused(multipleCall('ssn', ['529-31-0047'], 1))).toBe('KIND_UNSUPPORTED');
    expect(await refused(multipleCall('quiet', ['123456789'], 0))).toBe('KIND_UNSUPPORTED');
    expect(await refused(multipleCall('quiet', ['123456789'], 2))).toBe('taken');
    const stranger = { caller: callerOf('auditor') };
    expect(await refused(multipleCall('visit', ['123456789'], 1, stranger))).toBe('ACCESS_DENIED');
    expect(await live()).toBe(0);
  });
});

describe('a repeated request', () => {
  const values = ['123456789', '', 'passed', '123456780'];
  const call = (more = {}) => multipleCall('visit', values, 3, { requestId: 'again', ...more });

  test('answers as the first did, after a restart too, and mints nothing', async () => {
    const first = await engine.tokenizeMultiple(call());
    const plain = ({ tokens, counts, ...rest }: typeof first) => ({
      ...rest,
      tokens: textOf(tokens),
      counts: [...counts],
    });
    expect(plain(await engine.tokenizeMultiple(call()))).toEqual(plain(first));
    const stop = { requestId: 'stop', delivery: 'ordered-stop' } as const;
    const stopped = plain(await engine.tokenizeMultiple(call(stop)));
    await engine.close();
    engine = await home.open();
    expect(plain(await engine.tokenizeMultiple(call()))).toEqual(plain(first));
    expect(plain(await engine.tokenizeMultiple(call(stop)))).toEqual(stopped);
    expect(await live()).toBe(9);
  });

  test('with another count, or under Tokenize, is another one', async () => {
    await engine.tokenizeMultiple(call());
    const other = engine.tokenizeMultiple(multipleCall('visit', values, 2, { requestId: 'again' }));
    await expect(other).rejects.toMatchObject({ reason: 'REQUEST_ID_REUSED' });
    await engine.tokenize(tokenizeCall('visit', ['123456789'], { requestId: 'again' }));
    expect(await live()).toBe(7);
  });

  test('leaves out what was erased since', async () => {
    const first = tokensByItem(await engine.tokenizeMultiple(call()));
    const erase = (tokens: readonly string[]) =>
      engine.erase({
        ...detokenizeCall('visit', tokens),
        items: { by: 'tokens', tokens: detokenizeCall('visit', tokens).tokens },
        purpose: 'HOPERAT',
        mode: 'delete',
      });
    await erase([first[0]![1]!, ...first[3]!]);
    const again = await engine.tokenizeMultiple(call());
    expect(tokensByItem(again)).toEqual([[first[0]![0], first[0]![2]], [], ['passed'], []]);
    expect(again.errors).toEqual([
      { index: 1, reason: 'VALUE_EMPTY' },
      { index: 3, reason: 'TOKEN_NOT_FOUND' },
    ]);
  });
});

describe('listing', () => {
  test('stays within an answer, item by item', async () => {
    await engine.tokenizeMultiple(multipleCall('visit', ['111111112'], 6_000));
    await engine.tokenizeMultiple(multipleCall('visit', ['111111113'], 4_001));
    await engine.tokenizeMultiple(multipleCall('visit', ['111111114'], 7));
    const values = ['111111112', '111111113', '111111114'];
    const answer = await engine.tokenizeMultiple(multipleCall('visit', values, 0));
    expect([...answer.counts]).toEqual([6_000, 0, 7]);
    expect(answer.errors).toEqual([{ index: 1, reason: 'ANSWER_TOO_LARGE' }]);
    const stop = await engine.tokenizeMultiple(
      multipleCall('visit', values, 0, { delivery: 'ordered-stop' }),
    );
    expect([...stop.counts]).toEqual([6_000]);
    const none = multipleCall('visit', values, 0, { delivery: 'all-or-nothing' });
    await expect(engine.tokenizeMultiple(none)).rejects.toMatchObject({
      reason: 'ANSWER_TOO_LARGE',
    });
  });

  test('counts as so many reveals, over a restart too; minting does not', async () => {
    await engine.close();
    home.remove();
    const limits = { quota: { tokenizeItemsMax: 1_000, revealItemsMax: 3 } };
    home = installation({ limits });
    engine = await home.open();
    await engine.createDomain(DEV, domain('visit', 'dynamic', 'digits:9'));
    await engine.tokenizeMultiple(multipleCall('visit', ['123456789', '123456780'], 5));
    await listed(['123456789', '123456780']);
    const crashed = installation({ folder: copyOf(home.folder), limits });
    for (const open of [crashed.open, home.open]) {
      await engine.close();
      engine = await open();
      await expect(listed(['123456789', '123456780'])).rejects.toMatchObject({
        reason: 'BUDGET_EXHAUSTED',
      });
      expect((await listed(['123456789']))[0]).toHaveLength(5);
    }
  });
});

test('each call has a leaf with its tokens and its range of counters', async () => {
  const answer = await engine.tokenizeMultiple(
    multipleCall('visit', ['123456789', 'passed', '123456780'], 2),
  );
  await listed(['123456789']);
  await engine.close();
  const calls = (await readLog(home.folder)).filter(
    ({ entry }) => entry.verb === 'TokenizeMultiple',
  );
  expect(calls.map(({ entry }) => [entry.done, entry.distinct, entry.counters])).toEqual([
    [3, 0, { first: 0, count: 4 }],
    [1, 1, undefined],
  ]);
  expect(textOf(calls[0]!.body!.tokens)).toEqual(textOf(answer.tokens));
  expect([...calls[0]!.body!.created]).toEqual([1, 1, 0, 1, 1]);
});
