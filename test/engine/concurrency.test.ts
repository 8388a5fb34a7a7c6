import { afterEach, describe, expect, test } from 'vitest';
import type { Caller } from '../../src/base/caller.ts';
import type { Engine } from '../../src/engine/calls.ts';
import {
  DEV,
  detokenizeCall,
  domain,
  each,
  type Installation,
  type InstallationOptions,
  installation,
  lookupCall,
  textOf,
  tokenizeCall,
} from './harness.ts';

let home: Installation;
let engine: Engine;

afterEach(async () => {
  await engine.close();
  home.remove();
});

async function start(options: InstallationOptions = {}): Promise<void> {
  home = installation(options);
  engine = await home.open();
  const fpe = { safety: 'valid', note: 'x' };
  await engine.createDomain(DEV, domain('account', 'fpe', 'digits:9', fpe));
  await engine.createDomain(DEV, domain('visit', 'static', 'digits:9'));
  await engine.createDomain(DEV, domain('note', 'siv', 'text'));
}

const VALUES = Array.from({ length: 64 }, (_, i) => String(100_000_000 + i * 7));

test('64 calls at once to each kind: every caller gets its own tokens and values', async () => {
  await start();
  for (const id of ['account', 'visit', 'note']) {
    const answers = await Promise.all(
      VALUES.map((value) => engine.tokenize(tokenizeCall(id, [value, '']))),
    );
    const tokens = answers.map((answer) => textOf(answer.tokens)[0]!);
    expect(new Set(tokens).size, id).toBe(64);
    for (const { errors } of answers)
      expect(
        errors.map(({ index }) => index),
        id,
      ).toEqual([1]);
    expect(new Set(answers.map(({ receipt }) => receipt.leafIndex)).size, id).toBe(64);
    const backs = await Promise.all(
      tokens.map((token) => engine.detokenize(detokenizeCall(id, [token]))),
    );
    expect(
      backs.map(({ values }) => textOf(values)[0]),
      id,
    ).toEqual(VALUES);
  }
});

describe('static tokens', () => {
  test('of one value asked for at once are one token, made once', async () => {
    await start();
    const answers = await Promise.all(
      VALUES.map(() => engine.tokenize(tokenizeCall('visit', ['123456789', '123456789']))),
    );
    expect(new Set(answers.flatMap(({ tokens }) => textOf(tokens))).size).toBe(1);
    const created = answers.map((answer) => answer.created.reduce((sum, one) => sum + one, 0));
    expect(created.reduce((sum, one) => sum + one)).toBe(1);
    expect((await engine.getDomain(DEV, 'visit')).liveTokens).toBe(1);
  });

  test('overlap in every order without a deadlock', async () => {
    await start();
    const calls = Array.from({ length: 24 }, (_, i) => {
      const values = VALUES.slice(i % 5, (i % 5) + 12);
      return engine.tokenize(tokenizeCall('visit', i % 2 ? values : values.toReversed()));
    });
    const answers = await Promise.all(calls);
    const byValue = new Map<string, Set<string>>();
    for (const [i, { tokens }] of answers.entries()) {
      const values = VALUES.slice(i % 5, (i % 5) + 12);
      const asked = i % 2 ? values : values.toReversed();
      for (const [row, token] of textOf(tokens).entries()) {
        const known = byValue.get(asked[row]!) ?? new Set();
        byValue.set(asked[row]!, known.add(token));
      }
    }
    expect([...byValue.values()].every((tokens) => tokens.size === 1)).toBe(true);
    expect((await engine.getDomain(DEV, 'visit')).liveTokens).toBe(byValue.size);
  });

  test('a call does not fail because another one that minted its value gave up', async () => {
    // An id that no log entry has room for fails a call after it has claimed and minted.
    const broken: Caller = { id: `dev:${'x'.repeat(1_200)}`, organisation: 'clinic' };
    const grants = [{ actions: ['Tokenize'], domains: ['clinic/*'], purposes: [] }] as const;
    await start({ moduleDelayMs: 2, callers: [{ ...broken, grants }] });
    const shared = tokenizeCall('visit', ['123456789', '987654321']);
    const [first, ...others] = await Promise.allSettled([
      engine.tokenize({ ...shared, caller: broken }),
      ...Array.from({ length: 8 }, () => engine.tokenize(shared)),
    ]);
    expect(first).toMatchObject({ status: 'rejected', reason: { reason: 'FIELD_INVALID' } });
    expect(others.map(({ status }) => status)).toEqual(others.map(() => 'fulfilled'));
    const found = await engine.lookup(lookupCall('visit', ['123456789', '987654321']));
    for (const other of others) {
      if (other.status === 'rejected') continue;
      expect(textOf(other.value.tokens)).toEqual(textOf(found.tokens));
    }
    const back = await engine.detokenize(detokenizeCall('visit', found.tokens));
    expect(textOf(back.values)).toEqual(['123456789', '987654321']);
    expect((await engine.getDomain(DEV, 'visit')).liveTokens).toBe(2);
  });
});

describe('calls that nobody waits for', () => {
  test('are dropped before the module, and leave nothing', async () => {
    await start();
    const late = tokenizeCall('visit', ['123456789'], { deadlineMs: Date.now() - 1 });
    await expect(engine.tokenize(late)).rejects.toMatchObject({ reason: 'DEADLINE_PASSED' });
    const gone = tokenizeCall('visit', ['123456789'], { cancelled: () => true });
    await expect(engine.tokenize(gone)).rejects.toMatchObject({ reason: 'CALL_CANCELLED' });
    let asked = 0;
    const between = tokenizeCall('visit', ['123456789'], { cancelled: () => asked++ > 0 });
    await expect(engine.tokenize(between)).rejects.toMatchObject({ reason: 'CALL_CANCELLED' });
    expect((await engine.getDomain(DEV, 'visit')).liveTokens).toBe(0);
    const answer = await engine.tokenize(tokenizeCall('visit', ['123456789']));
    expect([...answer.created]).toEqual([1]);
  });
});

describe('a key worker in trouble', () => {
  test('that died: calls fail at once, health tells, and the engine closes', async () => {
    await start();
    // The edge never lets a column of the wrong length through: a broken invariant.
    const broken = tokenizeCall('note', ['a', 'b'], { context: each('x') });
    const calls = [engine.tokenize(broken), engine.tokenize(tokenizeCall('account', VALUES))];
    for (const call of calls) {
      await expect(call).rejects.toMatchObject({ reason: 'MODULE_UNAVAILABLE' });
    }
    for (const call of [
      engine.tokenize(tokenizeCall('account', VALUES)),
      engine.detokenize(detokenizeCall('account', VALUES)),
      engine.createDomain(DEV, domain('more', 'siv', 'text')),
    ]) {
      await expect(call).rejects.toMatchObject({ reason: 'MODULE_UNAVAILABLE' });
    }
    expect(home.fatal).toEqual(['key-worker-died']);
    expect(engine.health()).toEqual({ serving: false, reason: 'MODULE_UNAVAILABLE' });
  });

  test('that hangs is told of', async () => {
    await start({ moduleDelayMs: 15, limits: { moduleCallMsMax: 120 } });
    home.fatal.length = 0;
    expect(engine.health()).toEqual({ serving: true, reason: undefined });
    await engine.tokenize(tokenizeCall('account', VALUES));
    expect(home.fatal).toContain('module-hangs');
  });
});

test('closing waits for calls under way, refuses later ones, and ends the thread', async () => {
  const threads = () =>
    process.getActiveResourcesInfo().filter((name) => name === 'MessagePort' || name === 'Worker');
  const before = threads();
  await start();
  expect(threads().length).toBeGreaterThan(before.length);
  const calls = VALUES.map((value) => engine.tokenize(tokenizeCall('visit', [value])));
  const closing = engine.close();
  expect(engine.health()).toEqual({ serving: false, reason: 'DRAINING' });
  const late = engine.tokenize(tokenizeCall('visit', ['123456789']));
  await expect(late).rejects.toMatchObject({ reason: 'DRAINING' });
  expect((await Promise.all(calls)).flatMap(({ errors }) => errors)).toEqual([]);
  await closing;
  await engine.close();
  expect(threads()).toEqual(before);
  engine = await home.open();
  const found = await engine.lookup(lookupCall('visit', VALUES));
  expect(found.errors).toEqual([]);
});
