import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Engine } from '../../src/engine/calls.ts';
import { openLevelStore } from '../../src/storage/level-store.ts';
import {
  DEV,
  detokenizeCall,
  domain,
  exchangeCall,
  type Installation,
  installation,
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
  await engine.createDomain(DEV, domain('ward', 'static', 'digits:2'));
  await engine.createDomain(DEV, domain('bed', 'dynamic', 'digits:2'));
  await engine.createDomain(DEV, domain('ssn', 'static', 'ssn'));
});

afterEach(async () => {
  await engine.close();
  home.remove();
});

const all = Array.from({ length: 100 }, (_, i) => String(i).padStart(2, '0'));
let requests = 0;
const bedCall = (values: readonly string[], more = {}) =>
  tokenizeCall('bed', values, { requestId: `b${++requests}`, ...more });
const fillOf = async (name: string): Promise<number> => (await engine.getDomain(DEV, name)).fill;

describe('a format of a hundred values', () => {
  test('has ninety tokens, each its own, and then says that there are no more', async () => {
    for (const [name, call] of [
      ['ward', tokenizeCall('ward', all)],
      ['bed', bedCall(all)],
    ] as const) {
      const answer = await engine.tokenize(call);
      const tokens = textOf(answer.tokens);
      expect(new Set(tokens.slice(0, 90)).size).toBe(90);
      expect(tokens.slice(0, 90).every((token) => /^\d\d$/.test(token))).toBe(true);
      expect(tokens.slice(90)).toEqual(Array(10).fill(''));
      expect(answer.errors.map(({ index }) => index)).toEqual(all.slice(90).map(Number));
      expect(new Set(answer.errors.map(({ reason }) => reason))).toEqual(
        new Set(['FORMAT_EXHAUSTED']),
      );
      expect([...answer.created].filter((flag) => flag === 1)).toHaveLength(90);
      const back = await engine.detokenize(detokenizeCall(name, tokens.slice(0, 90)));
      expect(textOf(back.values)).toEqual(all.slice(0, 90));
      expect(await fillOf(name)).toBe(0.9);
    }
    const again = await engine.tokenize(tokenizeCall('ward', ['95', '05', '95', '06']));
    expect(again.errors.map(({ index }) => index)).toEqual([0, 2]);
    await engine.close();
    const minted = (await readLog(home.folder)).filter(({ entry }) => entry.verb === 'Tokenize');
    expect(minted.map(({ entry }) => entry.counters)).toEqual([undefined, undefined, undefined]);
    expect(minted[0]!.body!.tokens.ends).toHaveLength(100);
  });

  test('stops in order, or takes nothing, as the call says', async () => {
    for (const name of ['ward', 'bed']) {
      const call = (values: readonly string[], delivery: string) =>
        tokenizeCall(name, values, { requestId: `d${++requests}`, delivery: delivery as never });
      await expect(engine.tokenize(call(all, 'all-or-nothing'))).rejects.toMatchObject({
        reason: 'FORMAT_EXHAUSTED',
      });
      expect((await engine.getDomain(DEV, name)).liveTokens).toBe(0);
      await engine.tokenize(call(all.slice(0, 85), 'all-or-nothing'));
      const stop = await engine.tokenize(call([...all.slice(90), '01'], 'ordered-stop'));
      expect(textOf(stop.tokens)).toHaveLength(5);
      expect(stop.errors).toEqual([{ index: 5, reason: 'FORMAT_EXHAUSTED' }]);
    }
  });

  test('gives an item all of several tokens or none', async () => {
    const answer = await engine.tokenizeMultiple(multipleCall('bed', all.slice(0, 4), 25));
    expect([...answer.counts]).toEqual([25, 25, 25, 0]);
    expect(answer.errors).toEqual([{ index: 3, reason: 'FORMAT_EXHAUSTED' }]);
    const rest = await engine.tokenizeMultiple(multipleCall('bed', ['07'], 15));
    expect(new Set([...tokensByItem(answer).flat(), ...textOf(rest.tokens)]).size).toBe(90);
  });

  test('shares no token among calls at once', async () => {
    const calls = Array.from({ length: 12 }, (_, call) =>
      engine.tokenize(bedCall(all.slice(call * 8, call * 8 + 8))),
    );
    const tokens = (await Promise.all(calls)).flatMap(({ tokens: own }) =>
      textOf(own).filter((token) => token !== ''),
    );
    expect(tokens).toHaveLength(90);
    expect(new Set(tokens).size).toBe(90);
    const wards = await Promise.all(
      Array.from({ length: 12 }, (_, call) =>
        engine.tokenize(tokenizeCall('ward', all.slice(call, call + 50))),
      ),
    );
    const byValue = new Map<string, Set<string>>();
    for (const [call, { tokens: own }] of wards.entries()) {
      for (const [i, token] of textOf(own).entries()) {
        const value = all[call + i]!;
        byValue.set(value, (byValue.get(value) ?? new Set()).add(token));
      }
    }
    expect([...byValue.values()].every(({ size }) => size === 1)).toBe(true);
    expect(new Set([...byValue.values()].flatMap((set) => [...set])).size).toBe(byValue.size);
  });

  test('is a target of an exchange', async () => {
    await engine.createDomain(DEV, domain('room', 'static', 'digits:2'));
    const from = await engine.tokenize(tokenizeCall('ward', all.slice(0, 9)));
    const into = await engine.exchange(exchangeCall('ward', 'room', textOf(from.tokens)));
    const back = await engine.detokenize(detokenizeCall('room', textOf(into.tokens)));
    expect(textOf(back.values)).toEqual(all.slice(0, 9));
  });

  test('never gives an erased token again', async () => {
    const first = textOf((await engine.tokenize(bedCall(all.slice(0, 45)))).tokens);
    const tokens = detokenizeCall('bed', first).tokens;
    await engine.erase({
      ...detokenizeCall('bed', first),
      items: { by: 'tokens', tokens },
      purpose: 'HOPERAT',
      mode: 'delete',
    });
    const second = await engine.tokenize(bedCall(all.slice(0, 60)));
    const made = textOf(second.tokens).filter((token) => token !== '');
    expect(made).toHaveLength(45);
    expect(new Set([...first, ...made]).size).toBe(90);
    expect(await fillOf('bed')).toBe(0.9);
  });
});

test('tokens are drawn: two installations do not make the same ones', async () => {
  await engine.createDomain(DEV, domain('five', 'static', 'digits:5'));
  const values = Array.from({ length: 50 }, (_, i) => String(10_000 + i));
  const here = textOf((await engine.tokenize(tokenizeCall('five', values))).tokens);
  const other = installation();
  const elsewhere = await other.open();
  await elsewhere.createDomain(DEV, domain('five', 'static', 'digits:5'));
  const there = textOf((await elsewhere.tokenize(tokenizeCall('five', values))).tokens);
  expect(here.filter((token, i) => token === there[i]).length).toBeLessThan(3);
  await elsewhere.close();
  other.remove();
});

test('a damaged index row fails its own item', async () => {
  const values = ['529-31-0047', '231-84-6605', '536-22-1234'];
  const first = textOf((await engine.tokenize(tokenizeCall('ssn', values))).tokens);
  await engine.close();
  await damageIndex(home.folder);
  engine = await home.open();
  const asked = [...values, '219-09-9998'];
  const again = await engine.tokenize(tokenizeCall('ssn', asked));
  expect(again.errors).toHaveLength(1);
  const [{ index, reason }] = again.errors as [{ index: number; reason: string }];
  expect(reason).toBe('RECORD_CORRUPT');
  for (const [i, token] of textOf(again.tokens).entries()) {
    if (i === index) expect(token).toBe('');
    else if (i < 3) expect(token).toBe(first[i]);
    else expect(token).not.toBe('');
  }
  const stop = await engine.tokenize(
    tokenizeCall('ssn', ['219-09-9997', ...values], { delivery: 'ordered-stop' }),
  );
  expect(stop.errors).toEqual([{ index: index + 1, reason: 'RECORD_CORRUPT' }]);
  const live = (await engine.getDomain(DEV, 'ssn')).liveTokens;
  const around = ['219-09-9994', ...values, '219-09-9995'];
  const cut = await engine.tokenize(tokenizeCall('ssn', around, { delivery: 'ordered-stop' }));
  expect(cut.errors).toEqual([{ index: index + 1, reason: 'RECORD_CORRUPT' }]);
  expect((await engine.getDomain(DEV, 'ssn')).liveTokens).toBe(live + 1);
  const none = tokenizeCall('ssn', ['219-09-9996', ...values], { delivery: 'all-or-nothing' });
  await expect(engine.tokenize(none)).rejects.toMatchObject({ reason: 'RECORD_CORRUPT' });
  expect((await engine.getDomain(DEV, 'ssn')).liveTokens).toBe(live + 1);
});

/** Flips a bit of the first index row's check. */
async function damageIndex(folder: string): Promise<void> {
  const store = await openLevelStore({ folder: `${folder}/vault`, create: false });
  for await (const { key, value } of store.range({
    from: Uint8Array.of(0x69),
    to: Uint8Array.of(0x6a),
    limit: 1,
  })) {
    const damaged = Uint8Array.from(value);
    damaged[9]! ^= 1;
    await store.write([{ type: 'put', key: Uint8Array.from(key), value: damaged }]);
  }
  await store.close();
}
