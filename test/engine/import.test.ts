import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Engine } from '../../src/engine/calls.ts';
import {
  callerOf,
  DEV,
  detokenizeCall,
  domain,
  each,
  type Installation,
  installation,
  lookupCall,
  one,
  readLog,
  textOf,
  tokenizeCall,
} from './harness.ts';
import { importCall, multipleCall, tokensByItem } from './several.ts';

let home: Installation;
let engine: Engine;

beforeEach(async () => {
  home = installation();
  engine = await home.open();
  await engine.createDomain(DEV, domain('ssn', 'static', 'digits:9'));
  await engine.createDomain(DEV, domain('visit', 'dynamic', 'digits:9'));
  await engine.createDomain(DEV, domain('quiet', 'dynamic', 'digits:9', { listable: false }));
  await engine.createDomain(DEV, domain('ward', 'static', 'digits:2'));
});

afterEach(async () => {
  await engine.close();
  home.remove();
});

const shown = async (name: string, tokens: readonly string[], more = {}): Promise<string[]> =>
  textOf((await engine.detokenize(detokenizeCall(name, tokens, more))).values);
const live = async (name: string): Promise<number> =>
  (await engine.getDomain(DEV, name)).liveTokens;

const PAIRS = [
  ['123456789', '000000001'],
  ['123456780', '000000002'],
  ['111222333', '999999999'],
] as const;

describe('pairs that keep their tokens', () => {
  test.each(['ssn', 'visit', 'quiet'])('resolve, and are there once: %s', async (name) => {
    const answer = await engine.importTokens(importCall(name, PAIRS));
    expect(answer.errors).toEqual([]);
    expect(
      await shown(
        name,
        PAIRS.map(([, token]) => token),
      ),
    ).toEqual(PAIRS.map(([value]) => value));
    const again = await engine.importTokens(importCall(name, [...PAIRS, PAIRS[0]]));
    expect(again.errors).toEqual([]);
    expect(await live(name)).toBe(3);
  });

  test('are found again by their values', async () => {
    await engine.importTokens(importCall('ssn', PAIRS));
    const values = PAIRS.map(([value]) => value);
    const found = await engine.lookup(lookupCall('ssn', values));
    expect(textOf(found.tokens)).toEqual(PAIRS.map(([, token]) => token));
    const got = await engine.tokenize(tokenizeCall('ssn', [...values, '222333444']));
    expect(textOf(got.tokens).slice(0, 3)).toEqual(PAIRS.map(([, token]) => token));
    expect([...got.created]).toEqual([0, 0, 0, 1]);
    await engine.importTokens(
      importCall('visit', [
        ['5'.repeat(9), '000000007'],
        ['5'.repeat(9), '000000003'],
      ]),
    );
    const listed = await engine.tokenizeMultiple(multipleCall('visit', ['555555555'], 0));
    expect(tokensByItem(listed)[0]!.toSorted()).toEqual(['000000003', '000000007']);
  });

  test('collide row by row', async () => {
    const made = await engine.tokenize(tokenizeCall('ssn', ['123456789']));
    const [own] = textOf(made.tokens) as [string];
    const answer = await engine.importTokens(
      importCall('ssn', [
        ['123456789', own],
        ['123456789', '000000001'],
        ['123456780', own],
        ['123456780', '000000002'],
        ['111222333', '000000002'],
        ['123456780', '000000003'],
        ['', '000000004'],
        ['12', '000000005'],
        ['111222333', '12'],
        ['111222333', ''],
        ['111222333', '000000006'],
      ]),
    );
    expect(answer.errors).toEqual([
      { index: 1, reason: 'TOKEN_TAKEN' },
      { index: 2, reason: 'TOKEN_TAKEN' },
      { index: 4, reason: 'TOKEN_TAKEN' },
      { index: 5, reason: 'TOKEN_TAKEN' },
      { index: 6, reason: 'VALUE_EMPTY' },
      { index: 7, reason: 'VALUE_MALFORMED' },
      { index: 8, reason: 'TOKEN_MALFORMED' },
      { index: 9, reason: 'TOKEN_MALFORMED' },
    ]);
    expect(await shown('ssn', [own, '000000002', '000000006'])).toEqual([
      '123456789',
      '123456780',
      '111222333',
    ]);
    expect(await live('ssn')).toBe(3);
  });

  test.each(['visit', 'quiet'])('of a dynamic domain collide by token alone: %s', async (name) => {
    await engine.importTokens(importCall(name, PAIRS));
    const answer = await engine.importTokens(
      importCall(name, [
        ['123456789', '000000001'],
        ['123456789', '000000002'],
        ['123456789', '000000011'],
        ['123456780', '000000011'],
        ['123456789', '000000011'],
      ]),
    );
    expect(answer.errors).toEqual([
      { index: 1, reason: 'TOKEN_TAKEN' },
      { index: 3, reason: 'TOKEN_TAKEN' },
    ]);
    expect(await live(name)).toBe(4);
  });

  test('are never minted again, nor taken back after erasure', async () => {
    const tokens = Array.from({ length: 80 }, (_, i) => String(i).padStart(2, '0'));
    const pairs = tokens.map((token) => [token, token] as const);
    expect((await engine.importTokens(importCall('ward', pairs))).errors).toEqual([]);
    const values = Array.from({ length: 20 }, (_, i) => String(80 + i));
    const made = await engine.tokenize(tokenizeCall('ward', values));
    const fresh = textOf(made.tokens).filter((token) => token !== '');
    expect(fresh).toHaveLength(10);
    expect(fresh.every((token) => Number(token) >= 80)).toBe(true);
    await engine.erase({
      ...detokenizeCall('ward', ['05']),
      items: { by: 'tokens', tokens: detokenizeCall('ward', ['05']).tokens },
      purpose: 'HOPERAT',
      mode: 'delete',
    });
    const back = await engine.importTokens(importCall('ward', [['05', '05']]));
    expect(back.errors).toEqual([{ index: 0, reason: 'TOKEN_TAKEN' }]);
  });

  test('and tokens minted in order step over them, after a restart too', async () => {
    await engine.createDomain(DEV, domain('million', 'static', 'digits:6'));
    const pairs = Array.from(
      { length: 4_000 },
      (_, i) => [String(i).padStart(6, '0'), String(i * 250).padStart(6, '0')] as const,
    );
    for (let at = 0; at < pairs.length; at += 1_000) {
      const batch = importCall('million', pairs.slice(at, at + 1_000));
      expect((await engine.importTokens(batch)).errors).toEqual([]);
    }
    const used = new Set(pairs.map(([, token]) => token));
    for (let round = 0; round < 3; round++) {
      const values = Array.from({ length: 3_000 }, (_, i) => String(100_000 + round * 3_000 + i));
      const made = textOf((await engine.tokenize(tokenizeCall('million', values))).tokens);
      for (const token of made) {
        expect(used.has(token)).toBe(false);
        used.add(token);
      }
      await engine.close();
      engine = await home.open();
    }
    expect(await live('million')).toBe(13_000);
    expect(await shown('million', [pairs[7]![1]])).toEqual([pairs[7]![0]]);
  });

  test('are bound to the subjects named beside them', async () => {
    const more = { subject: each('anna', '') };
    await engine.importTokens(
      importCall(
        'ssn',
        [
          ['123456789', '000000001'],
          ['123456789', '000000002'],
        ],
        more,
      ),
    );
    expect(await shown('ssn', ['000000001', '000000002'], { subject: one('berta') })).toEqual([
      '',
      '123456789',
    ]);
    expect(await shown('ssn', ['000000001'], { subject: one('anna') })).toEqual(['123456789']);
    const { tokens } = await engine.listSubjectTokens({
      ...detokenizeCall('ssn', []),
      purpose: 'HOPERAT',
      subject: Buffer.from('anna'),
      limit: 10,
      after: '',
    });
    expect(textOf(tokens)).toEqual(['000000001']);
    const found = await engine.lookup(lookupCall('ssn', ['123456789'], { subject: one('anna') }));
    expect(textOf(found.tokens)).toEqual(['000000001']);
  });

  test('are shared where the domain shares its records', async () => {
    await engine.createDomain(
      DEV,
      domain('shared', 'static', 'digits:9', { subjectsShared: true }),
    );
    const pair = ['123456789', '000000001'] as const;
    const call = importCall('shared', [pair, pair], { subject: each('anna', 'berta') });
    expect((await engine.importTokens(call)).errors).toEqual([]);
    const later = importCall('shared', [pair], { subject: one('cora') });
    expect((await engine.importTokens(later)).errors).toEqual([]);
    expect(await live('shared')).toBe(1);
    for (const name of ['anna', 'berta', 'cora']) {
      expect(await shown('shared', ['000000001'], { subject: one(name) })).toEqual(['123456789']);
    }
    expect(await shown('shared', ['000000001'], { subject: one('dora') })).toEqual(['']);
  });

  test('at once agree on one partner', async () => {
    const calls = Array.from({ length: 8 }, (_, call) =>
      engine.importTokens(
        importCall('ssn', [
          ['123456789', `00000000${call}`],
          [`10000000${call}`, '000000099'],
        ]),
      ),
    );
    const minting = engine.tokenize(tokenizeCall('ssn', ['123456789', '222222222']));
    const failed = (await Promise.all(calls)).map(({ errors }) => errors.map(({ index }) => index));
    await minting;
    expect(failed.flat().filter((index) => index === 1)).toHaveLength(7);
    const winners = failed.filter((indexes) => !indexes.includes(0));
    expect(winners.length).toBeLessThanOrEqual(1);
    const tokens = textOf((await engine.lookup(lookupCall('ssn', ['123456789']))).tokens);
    expect(await shown('ssn', tokens)).toEqual(['123456789']);
    expect(await live('ssn')).toBe(3);
  });
});

test('an import is refused where it cannot be', async () => {
  const refused = async (call: Parameters<Engine['importTokens']>[0]): Promise<string> =>
    engine.importTokens(call).then(
      () => 'taken',
      (error) => error.reason,
    );
  await engine.createDomain(DEV, domain('fpe', 'fpe', 'digits:9'));
  expect(await refused(importCall('fpe', PAIRS))).toBe('KIND_UNSUPPORTED');
  expect(await refused(importCall('ssn', PAIRS, { purpose: '' }))).toBe('PURPOSE_REQUIRED');
  expect(await refused(importCall('ssn', PAIRS, { caller: callerOf('ehr') }))).toBe(
    'ACCESS_DENIED',
  );
});

test('an import has a leaf that names its tokens, and no counters', async () => {
  await engine.importTokens(importCall('ssn', [...PAIRS, ['x', '000000009']]));
  await engine.close();
  const [call] = (await readLog(home.folder)).filter(({ entry }) => entry.verb === 'ImportTokens');
  expect(call!.entry).toMatchObject({ done: 3, failed: 1, distinct: 0, purpose: 'HOPERAT' });
  expect(call!.entry.counters).toBeUndefined();
  expect(textOf(call!.body!.tokens)).toEqual([...PAIRS.map(([, token]) => token), '']);
  expect([...call!.body!.created]).toEqual([1, 1, 1, 0]);
});
