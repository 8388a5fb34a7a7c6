import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import type { Engine } from '../../src/engine/calls.ts';
import { openLevelStore } from '../../src/storage/level-store.ts';
import { rulesKey } from '../../src/vault/rules.ts';
import { Vault } from '../../src/vault/vault.ts';
import { byTokens, eraseCall } from './erasing.ts';
import {
  DEV,
  domain,
  exchangeCall,
  heldClock,
  inspectCall,
  installation,
  one,
  textOf,
} from './harness.ts';
import { mintWith, NO_RULES, restrictCall, reveal } from './ruling.ts';

const START_MS = 1_900_000_000_000;
const clock = heldClock(START_MS);
const home = installation({ clock });
let engine: Engine;
let next = 100_000_000;
/** A value that no other test has. */
const fresh = (): string => String(next++);

const shown = (tokens: readonly string[], more = {}, id = 'mrn') =>
  reveal(engine, id, tokens, more);
const ENDED = 'TOKEN_ENDED';
const UNKNOWN = 'TOKEN_NOT_FOUND';

beforeAll(async () => {
  engine = await home.open();
  await engine.createDomain(DEV, domain('mrn', 'static', 'digits:9'));
  await engine.createDomain(DEV, domain('plain', 'static', 'digits:9'));
  await engine.createDomain(DEV, domain('study', 'static', 'digits:9'));
  const shared = { subjectsShared: true };
  await engine.createDomain(DEV, domain('here', 'static', 'digits:9', shared));
  await engine.createDomain(DEV, domain('there', 'static', 'digits:9', shared));
  await engine.createDomain(DEV, domain('visit', 'dynamic', 'digits:9'));
  await engine.createDomain(DEV, domain('note', 'siv', 'text'));
  await engine.createDomain(DEV, domain('eight', 'static', 'digits:8'));
});

afterAll(async () => {
  await engine.close();
  home.remove();
});

describe('exchange', () => {
  const convert = async (tokens: readonly string[], more = {}, into = 'study') => {
    const answer = await engine.exchange(exchangeCall('mrn', into, tokens, more));
    const reasons = new Map(answer.errors.map(({ index, reason }) => [index, reason]));
    return textOf(answer.tokens).map((token, i) => reasons.get(i) ?? token);
  };

  test('uses a reveal up, and gives rules to the tokens it makes', async () => {
    const value = fresh();
    const [token] = await mintWith(engine, 'mrn', [value], { revealsMax: 2 });
    const rules = { ...NO_RULES, revealsMax: 1, labels: ['study'] };
    const [made] = await convert([token!], { rules });
    expect(await convert([token!, token!])).toEqual([made, ENDED]);
    const { details } = await engine.inspect(inspectCall('study', [made!], { withDetails: true }));
    expect(details).toEqual([{ ...rules, createdMs: clock.ms, reveals: 0 }]);
    expect(await shown([made!], {}, 'study')).toEqual([value]);
    expect(await shown([made!], {}, 'study')).toEqual([ENDED]);
  });

  test('an item that the target refuses was opened all the same', async () => {
    const tokens = await mintWith(engine, 'mrn', [fresh(), fresh(), fresh()], { revealsMax: 1 });
    // Nine digits are not eight.
    expect(await convert(tokens.slice(0, 1), {}, 'eight')).toEqual(['VALUE_MALFORMED']);
    expect(await shown(tokens.slice(0, 1))).toEqual([ENDED]);
    // One behind the stop was not answered.
    expect(await convert(tokens.slice(1), { delivery: 'ordered-stop' }, 'eight')).toEqual([]);
    expect(await shown(tokens.slice(1))).toEqual([ENDED, expect.stringMatching(/^\d{9}$/)]);
    const [kept] = await mintWith(engine, 'mrn', [fresh()], { revealsMax: 1 });
    const whole = { delivery: 'all-or-nothing' };
    await expect(convert([kept!], whole, 'eight')).rejects.toMatchObject({
      reason: 'VALUE_MALFORMED',
    });
    expect(await shown([kept!])).toEqual([expect.stringMatching(/^\d{9}$/)]);
  });

  test('counted in both directions at once nobody waits for ever', async () => {
    // Sets that get a new subject are changed in their domain's turn, inside that of the count.
    const value = fresh();
    const many = { revealsMax: 1_000 };
    const mint = async (id: string, who: string) =>
      (await mintWith(engine, id, [value], many, { subject: one(who) }))[0]!;
    const names = Array.from({ length: 12 }, (_, i) => `s${i}`);
    const here = await mint('here', 'base');
    const there = await mint('there', 'base');
    for (const name of names) {
      await mint('here', name);
      await mint('there', `${name}${name}`);
    }
    const go = (from: string, into: string, token: string, who: string) =>
      engine.exchange(exchangeCall(from, into, [token], { subject: one(who) }));
    const stop = (id: string, token: string) =>
      engine.restrict(restrictCall(id, byTokens(token), { lift: true }));
    let over = false;
    const stopping = ['here', 'there'].map(async (id) => {
      while (!over) await stop(id, id === 'here' ? here : there);
    });
    const exchanges = names.flatMap((name) => [
      go('here', 'there', here, name),
      go('there', 'here', there, `${name}${name}`),
    ]);
    await Promise.all(exchanges);
    over = true;
    await Promise.all(stopping);
    const back = await go('here', 'there', here, 's0');
    expect(textOf(back.tokens)).toEqual([there]);
  });

  test('rules for a target without records are refused', async () => {
    const [token] = await mintWith(engine, 'mrn', [fresh()]);
    await expect(
      convert([token!], { rules: { ...NO_RULES, revealsMax: 1 } }, 'note'),
    ).rejects.toMatchObject({ reason: 'KIND_UNSUPPORTED' });
  });
});

describe('inspect', () => {
  test('states and details, nothing counted', async () => {
    const rules = {
      revealsMax: 1,
      idleMs: 5_000,
      expireMs: clock.ms + 9_000,
      labels: ['R', 'PSY'],
    };
    const [live, used, halted, plain, gone, dead] = await mintWith(
      engine,
      'visit',
      Array.from({ length: 6 }, fresh),
      rules,
    );
    const [bare] = await mintWith(engine, 'visit', [fresh()]);
    await shown([used!], {}, 'visit');
    await engine.restrict(restrictCall('visit', byTokens(halted!, bare!)));
    await engine.erase(eraseCall('visit', byTokens(gone!), { mode: 'unlink' }));
    await engine.erase(eraseCall('visit', byTokens(dead!)));
    const all = [live!, used!, halted!, plain!, gone!, dead!, bare!, 'x'];
    const ask = () => engine.inspect(inspectCall('visit', all, { withDetails: true }));
    const answer = await ask();
    expect(answer.states).toEqual([
      'live',
      'ended',
      'restricted',
      'live',
      'unlinked',
      'unknown',
      'restricted',
      'unknown',
    ]);
    const made = { ...rules, createdMs: clock.ms };
    expect(answer.details[0]).toEqual({ ...made, reveals: 0 });
    expect(answer.details[1]).toEqual({ ...made, reveals: 1 });
    expect(answer.details[5]).toBeUndefined();
    expect(answer.details[6]).toEqual({ ...NO_RULES, createdMs: 0, reveals: 0 });
    expect(answer.details[7]).toBeUndefined();
    clock.ms += 5_000;
    expect((await ask()).states.slice(0, 4)).toEqual(['ended', 'ended', 'ended', 'ended']);
    const without = await engine.inspect(inspectCall('visit', all));
    expect(without.details).toEqual([]);
  });

  test('details are for a thousand items at most', async () => {
    const tokens = new Array<string>(1_001).fill('000000000');
    const call = (withDetails: boolean) =>
      engine.inspect(inspectCall('mrn', tokens, { withDetails }));
    await expect(call(true)).rejects.toMatchObject({ reason: 'BATCH_TOO_LARGE' });
    expect((await call(false)).states).toHaveLength(1_001);
  });
});

test('a damaged rules row stops its token alone, and nobody learns its value', async () => {
  const own = installation({ clock });
  const first = await own.open();
  await first.createDomain(DEV, domain('mrn', 'static', 'digits:9'));
  const context = { context: one('c') };
  const values = ['111111111', '222222222'];
  const tokens = await mintWith(first, 'mrn', values, { labels: ['R'] }, context);
  await first.close();
  const store = await openLevelStore({ folder: join(own.folder, 'vault'), create: false });
  const key = rulesKey(1, 0);
  const [row] = await store.getMany([key]);
  const bad = Uint8Array.from(row!);
  bad[0]! ^= 1;
  await store.write([{ type: 'put', key, value: bad }]);
  await store.close();
  const again = await own.open();
  expect(await reveal(again, 'mrn', tokens, context)).toEqual(['RECORD_CORRUPT', values[1]]);
  expect(await reveal(again, 'mrn', tokens)).toEqual([UNKNOWN, UNKNOWN]);
  const { states, errors } = await again.inspect(inspectCall('mrn', tokens));
  expect(states).toEqual(['unknown', 'live']);
  expect(errors).toEqual([{ index: 0, reason: 'RECORD_CORRUPT' }]);
  const lifted = await again.restrict(restrictCall('mrn', byTokens(...tokens), { lift: true }));
  expect(lifted.errors).toEqual([{ index: 0, reason: 'RECORD_CORRUPT' }]);
  expect([...lifted.counts]).toEqual([0, 1]);
  const stop = restrictCall('mrn', byTokens(...tokens), { delivery: 'ordered-stop' });
  const stopped = await again.restrict(stop);
  expect([...stopped.counts]).toEqual([]);
  expect(stopped.errors).toEqual([{ index: 0, reason: 'RECORD_CORRUPT' }]);
  expect(await reveal(again, 'mrn', tokens, context)).toEqual(['RECORD_CORRUPT', values[1]]);
  const all = again.restrict({ ...stop, delivery: 'all-or-nothing' });
  await expect(all).rejects.toMatchObject({ reason: 'RECORD_CORRUPT' });
  await again.close();
  own.remove();
});

describe('domains without rules', () => {
  const reads = vi.fn();
  const turns = vi.fn();
  let folder: string;

  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), 'lockstep-rules-'));
    const probe = await openLevelStore({ folder: join(folder, 'store'), create: true });
    await probe.close();
    const store = Object.getPrototypeOf(probe) as typeof probe;
    const getMany = store.getMany;
    vi.spyOn(store, 'getMany').mockImplementation(function (this: typeof probe, keys) {
      reads(keys.length);
      return getMany.call(this, keys);
    });
    const exclusive = Vault.prototype.exclusive;
    vi.spyOn(Vault.prototype, 'exclusive').mockImplementation(function (this: Vault, ids, work) {
      turns(ids);
      return exclusive.call(this, ids, work);
    });
  });
  afterEach(() => {
    vi.restoreAllMocks();
    rmSync(folder, { recursive: true, force: true });
  });

  test('are read as before: one read a reveal, and nobody waits his turn', async () => {
    const tokens = await mintWith(engine, 'plain', [fresh(), fresh(), fresh()]);
    reads.mockClear();
    turns.mockClear();
    await shown(tokens, {}, 'plain');
    expect(reads.mock.calls).toEqual([[3]]);
    await engine.inspect(inspectCall('plain', tokens));
    expect(reads.mock.calls).toEqual([[3], [3]]);
    expect(turns).not.toHaveBeenCalled();
  });

  test('with rules that count nothing there is one read more, and no turn either', async () => {
    const labelled = await mintWith(engine, 'mrn', [fresh()], { labels: ['R'] });
    const counted = await mintWith(engine, 'mrn', [fresh()], { revealsMax: 9 });
    reads.mockClear();
    turns.mockClear();
    await shown(labelled);
    expect(reads.mock.calls).toEqual([[1], [1]]);
    expect(turns).not.toHaveBeenCalled();
    await shown(counted);
    expect(turns).toHaveBeenCalledTimes(1);
  });
});
