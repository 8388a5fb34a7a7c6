import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { Engine } from '../../src/engine/calls.ts';
import {
  callerOf,
  copyOf,
  DEV,
  detokenizeCall,
  domain,
  each,
  exchangeCall,
  heldClock,
  type Installation,
  inspectCall,
  installation,
  lookupCall,
  readLog,
  textOf,
  tokenizeCall,
} from './harness.ts';

const NOON = Date.UTC(2026, 10, 23, 12);
const DAY_MS = 86_400_000;
const limits = { quota: { tokenizeItemsMax: 10, revealItemsMax: 10 } };

let homes: Installation[] = [];
let open: Engine | undefined;

/** A quota of ten items of each class. */
async function start(clock = heldClock(NOON)) {
  const home = installation({ clock, limits });
  homes.push(home);
  const engine = await home.open();
  open = engine;
  const fpe = { safety: 'valid', note: 'x' };
  await engine.createDomain(DEV, domain('account', 'fpe', 'digits:9', fpe));
  await engine.createDomain(DEV, domain('ssn', 'static', 'ssn'));
  await engine.createDomain(DEV, domain('note', 'siv', 'text'));
  return { home, engine, clock };
}

// The running record of each second holds a call twice rather than never after a crash; without it
// the count is exact.
beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
});

afterEach(async () => {
  vi.useRealTimers();
  await open?.close();
  open = undefined;
  for (const home of homes) home.remove();
  homes = [];
});

const numbers = (count: number, from = 0): string[] =>
  Array.from({ length: count }, (_, i) => String(100_000_000 + from + i));

/** How many distinct items are left, found out without using them. */
async function left(engine: Engine, id = 'account'): Promise<number> {
  for (let count = 30; count > 0; count--) {
    const delivery = 'all-or-nothing';
    // The empty value fails the call, so that all of it is given back.
    const call = tokenizeCall(id, [...numbers(count - 1), ''], { delivery });
    const reason = await engine.tokenize(call).catch((error) => error.reason);
    if (reason === 'VALUE_EMPTY') return count;
    expect(reason).toBe('BUDGET_EXHAUSTED');
  }
  return 0;
}

describe('tokenize of a deterministic kind', () => {
  test('distinct items are charged; the whole call is refused, with a time to return', async () => {
    const { engine } = await start();
    expect(await left(engine)).toBe(10);
    await engine.tokenize(tokenizeCall('account', numbers(4)));
    expect(await left(engine)).toBe(6);
    const twice = [...numbers(6), ...numbers(6), ...numbers(6)];
    expect((await engine.tokenize(tokenizeCall('account', twice))).errors).toEqual([]);
    expect(await left(engine)).toBe(0);
    const refused = engine.tokenize(tokenizeCall('account', numbers(1)));
    await expect(refused).rejects.toMatchObject({
      reason: 'BUDGET_EXHAUSTED',
      metadata: { window: '2026-11-23' },
      retryDelayMs: DAY_MS / 2,
    });
  });

  test('equal values of other contexts or subjects are other items', async () => {
    const { engine } = await start();
    const value = numbers(1)[0]!;
    const names = Array.from({ length: 8 }, (_, i) => `p${i}`);
    await engine.tokenize(
      tokenizeCall(
        'account',
        [...names, ...names].map(() => value),
        {
          subject: each(...names, ...names),
        },
      ),
    );
    expect(await left(engine)).toBe(2);
  });

  test('each caller and domain has its own, and a new day brings a new one', async () => {
    const { engine, clock } = await start();
    await engine.tokenize(tokenizeCall('account', numbers(10)));
    expect(await left(engine)).toBe(0);
    expect(await left(engine, 'note')).toBe(10);
    const caller = callerOf('ehr');
    expect(
      (await engine.tokenize(tokenizeCall('account', numbers(10), { caller }))).errors,
    ).toEqual([]);
    clock.ms += DAY_MS;
    expect(await left(engine)).toBe(10);
  });

  test('minting is free; its lookups, reveals and exchanges are not', async () => {
    const { engine } = await start();
    const values = Array.from({ length: 12 }, (_, i) => `529-31-00${10 + i}`);
    const tokens = textOf((await engine.tokenize(tokenizeCall('ssn', values))).tokens);
    await engine.lookup(lookupCall('ssn', values.slice(0, 3)));
    await engine.detokenize(detokenizeCall('ssn', tokens.slice(0, 3)));
    await engine.inspect(inspectCall('ssn', tokens.slice(0, 2)));
    await engine.exchange(exchangeCall('ssn', 'note', tokens.slice(0, 2)));
    for (const call of [
      engine.lookup(lookupCall('ssn', values.slice(0, 1))),
      engine.detokenize(detokenizeCall('ssn', tokens.slice(0, 1))),
      engine.inspect(inspectCall('ssn', tokens.slice(0, 1))),
      engine.exchange(exchangeCall('ssn', 'note', tokens.slice(0, 1))),
    ]) {
      await expect(call).rejects.toMatchObject({ reason: 'BUDGET_EXHAUSTED' });
    }
    expect(await left(engine, 'note')).toBe(8);
  });

  test('an exchange refused by its target gives the source its items back', async () => {
    const { engine } = await start();
    const tokens = textOf((await engine.tokenize(tokenizeCall('account', numbers(1)))).tokens);
    await engine.tokenize(tokenizeCall('note', numbers(10)));
    const refused = engine.exchange(exchangeCall('account', 'note', tokens));
    await expect(refused).rejects.toMatchObject({ reason: 'BUDGET_EXHAUSTED' });
    expect(await left(engine)).toBe(9);
  });
});

test('a refusal that tells which items are known is charged and logged', async () => {
  const { engine, home } = await start();
  const delivery = 'all-or-nothing';
  const known = '529-31-0047';
  const [token] = textOf((await engine.tokenize(tokenizeCall('ssn', [known]))).tokens);
  const guesses = ['529-31-0050', '529-31-0051', known];
  const lookup = engine.lookup(lookupCall('ssn', guesses, { delivery }));
  await expect(lookup).rejects.toMatchObject({ reason: 'VALUE_NOT_FOUND' });
  const reveal = (count: number) => {
    const unknown = Array.from({ length: count }, (_, i) => `900-00-00${10 + i}`);
    return engine.detokenize(detokenizeCall('ssn', [...unknown, token!], { delivery }));
  };
  await expect(reveal(3)).rejects.toMatchObject({ reason: 'TOKEN_NOT_FOUND' });
  await expect(reveal(3)).rejects.toMatchObject({ reason: 'BUDGET_EXHAUSTED' });
  await engine.close();
  const refused = (await readLog(home.folder)).filter(({ entry }) => entry.extra?.['refused']);
  expect(refused.map(({ entry }) => [entry.verb, entry.distinct, entry.extra])).toEqual([
    ['Lookup', 3, { refused: 'VALUE_NOT_FOUND' }],
    ['Detokenize', 4, { refused: 'TOKEN_NOT_FOUND' }],
  ]);
  open = await home.open();
  const again = open.lookup(lookupCall('ssn', [...guesses, '529-31-0052']));
  await expect(again).rejects.toMatchObject({ reason: 'BUDGET_EXHAUSTED' });
  expect((await open.lookup(lookupCall('ssn', guesses))).errors).toHaveLength(2);
});

test('what was used is remembered over a restart, clean or not', async () => {
  const { engine, home, clock } = await start();
  await engine.tokenize(tokenizeCall('account', numbers(4)));
  const crashed = installation({ clock, limits, folder: copyOf(home.folder) });
  homes.push(crashed);
  await engine.close();
  for (const one of [home, crashed]) {
    open = await one.open();
    expect(await left(open)).toBe(6);
    await open.close();
  }
  open = await home.open();
  expect(await left(open)).toBe(6);
});

describe('a bulk grant', () => {
  const grant = (clock: { ms: number }, count: number) => ({
    caller: DEV.id,
    domain: 'account',
    count,
    untilMs: clock.ms + 3_600_000,
  });

  test('raises the quota and ends', async () => {
    const { engine, clock } = await start();
    await engine.grantBulk(callerOf('officer'), grant(clock, 5));
    expect(await left(engine)).toBe(15);
    await engine.tokenize(tokenizeCall('account', numbers(12)));
    clock.ms += 3_600_000;
    expect(await left(engine)).toBe(0);
  });

  test('outlives restarts, clean or not, and counts once', async () => {
    const { engine, home, clock } = await start();
    await engine.grantBulk(DEV, grant(clock, 5));
    const crashed = installation({ clock, limits, folder: copyOf(home.folder) });
    homes.push(crashed);
    await engine.close();
    for (const one of [home, crashed, home, crashed]) {
      open = await one.open();
      expect(await left(open)).toBe(15);
      await open.close();
    }
    open = undefined;
  });

  test('is refused without an end or a count', async () => {
    const { engine, clock } = await start();
    for (const bad of [
      { ...grant(clock, 0) },
      { ...grant(clock, 1.5) },
      { ...grant(clock, 5), untilMs: clock.ms },
    ]) {
      await expect(engine.grantBulk(DEV, bad)).rejects.toMatchObject({ reason: 'FIELD_INVALID' });
    }
    const absent = engine.grantBulk(DEV, { ...grant(clock, 5), domain: 'absent' });
    await expect(absent).rejects.toMatchObject({ reason: 'RESOURCE_NOT_FOUND' });
  });
});
