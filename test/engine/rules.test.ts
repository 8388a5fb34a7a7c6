import { cpSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import type { CallRules, Engine } from '../../src/engine/calls.ts';
import { openLevelStore } from '../../src/storage/level-store.ts';
import { fsck } from '../../src/vault/fsck.ts';
import { rulesKey } from '../../src/vault/rules.ts';
import { Vault } from '../../src/vault/vault.ts';
import { byTokens, eraseCall } from './erasing.ts';
import {
  copyOf,
  DEV,
  detokenizeCall,
  domain,
  each,
  exchangeCall,
  heldClock,
  inspectCall,
  installation,
  one,
  readLog,
  textOf,
  tokenizeCall,
} from './harness.ts';
import { mintWith, NO_RULES, newRequest, restrictCall, reveal } from './ruling.ts';

const START_MS = 1_900_000_000_000;
const clock = heldClock(START_MS);
const home = installation({ clock });
let engine: Engine;
let next = 100_000_000;
/** A value that no other test has. */
const fresh = (): string => String(next++);

const reopen = async (): Promise<void> => {
  await engine.close();
  engine = await home.open();
};
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

afterEach(() => vi.useRealTimers());

afterAll(async () => {
  await engine.close();
  home.remove();
});

describe('rules of new tokens', () => {
  const bad = (rules: Partial<CallRules>, field: string, domainId = 'mrn') =>
    expect(mintWith(engine, domainId, [fresh()], rules)).rejects.toMatchObject({
      reason: 'FIELD_INVALID',
      violations: [{ field }],
    });

  test('bounds are told with their field', async () => {
    await bad({ idleMs: 999 }, 'rules.idle_ttl');
    await bad({ idleMs: 1_000.5 }, 'rules.idle_ttl');
    await bad({ idleMs: -1_000 }, 'rules.idle_ttl');
    await bad({ idleMs: 2 ** 53 }, 'rules.idle_ttl');
    await bad({ expireMs: clock.ms }, 'rules.expire_time');
    await bad({ expireMs: 2 ** 53 }, 'rules.expire_time');
    await bad({ revealsMax: 2 ** 32 }, 'rules.reveals_max');
    await bad({ revealsMax: 1.5 }, 'rules.reveals_max');
    await bad({ labels: new Array(9).fill('R') }, 'rules.labels');
    await bad({ labels: ['R', ''] }, 'rules.labels[1]');
    await bad({ labels: ['é'.repeat(33)] }, 'rules.labels[0]');
    await bad({ labels: ['a\nb'] }, 'rules.labels[0]');
    await bad({ labels: ['a\ud800'] }, 'rules.labels[0]');
    await bad({ labels: ['\ufffd'] }, 'rules.labels[0]');
  });

  test('kinds without records have none', async () => {
    const more = { requestId: '', rules: { ...NO_RULES, revealsMax: 1 } };
    await expect(engine.tokenize(tokenizeCall('note', ['x'], more))).rejects.toMatchObject({
      reason: 'KIND_UNSUPPORTED',
    });
  });

  test('are of the records that the call makes: a value keeps the rules it has', async () => {
    const [known, other] = [fresh(), fresh()];
    const [token] = await mintWith(engine, 'mrn', [known], { labels: ['old'] });
    const [same, made] = await mintWith(engine, 'mrn', [known, other], { labels: ['new'] });
    expect(same).toBe(token);
    const details = { withDetails: true };
    const answer = await engine.inspect(inspectCall('mrn', [token!, made!], details));
    expect(answer.details.map((own) => own?.labels)).toEqual([['old'], ['new']]);
  });

  test('another set of rules under one request id is another message', async () => {
    const values = [fresh()];
    const requestId = newRequest();
    const call = (rules: Partial<CallRules>) =>
      mintWith(engine, 'visit', values, rules, { requestId });
    const first = await call({ revealsMax: 2 });
    expect(await call({ revealsMax: 2 })).toEqual(first);
    await expect(call({ revealsMax: 3 })).rejects.toMatchObject({ reason: 'REQUEST_ID_REUSED' });
    await expect(call({ revealsMax: 2, labels: ['R'] })).rejects.toMatchObject({
      reason: 'REQUEST_ID_REUSED',
    });
  });
});

describe('time to live', () => {
  test('a token ends at its time, whatever happens, and its value keeps it', async () => {
    const value = fresh();
    const expireMs = clock.ms + 10_000;
    const [token] = await mintWith(engine, 'mrn', [value], { expireMs });
    clock.ms += 9_999;
    expect(await shown([token!])).toEqual([value]);
    clock.ms += 1;
    expect(await shown([token!])).toEqual([ENDED]);
    expect(await mintWith(engine, 'mrn', [value])).toEqual([token]);
    await reopen();
    expect(await shown([token!])).toEqual([ENDED]);
  });

  test('idle time slides with each reveal, across restarts, and ends for good', async () => {
    const value = fresh();
    const [token] = await mintWith(engine, 'mrn', [value], { idleMs: 1_000_000 });
    for (let i = 0; i < 4; i++) {
      clock.ms += 980_000;
      expect(await shown([token!])).toEqual([value]);
      if (i === 1) await reopen();
    }
    clock.ms += 1_000_000;
    expect(await shown([token!])).toEqual([ENDED]);
    await reopen();
    expect(await shown([token!])).toEqual([ENDED]);
  });

  test('a reveal that failed is no use, and one of another token neither', async () => {
    const [value, other] = [fresh(), fresh()];
    const rules = { idleMs: 100_000 };
    const mine = { context: one('mine') };
    const [token] = await mintWith(engine, 'mrn', [value], rules, mine);
    const [beside] = await mintWith(engine, 'mrn', [other], rules, mine);
    clock.ms += 60_000;
    expect(await shown([token!], { context: one('yours') })).toEqual([UNKNOWN]);
    expect(await shown([beside!], mine)).toEqual([other]);
    clock.ms += 60_000;
    expect(await shown([token!, beside!], mine)).toEqual([ENDED, other]);
  });

  test('a last use is written only where it moved by a hundredth', async () => {
    const [token] = await mintWith(engine, 'mrn', [fresh()], { idleMs: 1_000_000 });
    const commits = async (): Promise<number> => {
      const log = await readLog(copyOf(home.folder));
      return log.filter(({ entry }) => entry.verb === 'Detokenize' && entry.commit !== undefined)
        .length;
    };
    const before = await commits();
    clock.ms += 10_000;
    await shown([token!]);
    expect(await commits()).toBe(before);
    clock.ms += 1;
    await shown([token!]);
    expect(await commits()).toBe(before + 1);
  });
});

describe('a number of reveals', () => {
  test('ends the token, in the order of a batch and across restarts', async () => {
    const [a, b] = [fresh(), fresh()];
    const [ta, tb] = await mintWith(engine, 'mrn', [a, b], { revealsMax: 3 });
    expect(await shown([ta!, tb!, ta!, ta!, ta!, ta!])).toEqual([a, b, a, a, ENDED, ENDED]);
    await reopen();
    expect(await shown([ta!, tb!])).toEqual([ENDED, b]);
    // However little a view shows, it is a reveal.
    expect(await shown([tb!, tb!], { view: 'redacted' })).toEqual(['[redacted]', ENDED]);
  });

  test('counts only what was shown: not items of another context, nor behind a stop', async () => {
    const value = fresh();
    const [token] = await mintWith(
      engine,
      'mrn',
      [value],
      { revealsMax: 3 },
      { context: one('c') },
    );
    const batch = [token!, token!, token!];
    const context = each('x', 'c', 'c');
    expect(await shown(batch, { context })).toEqual([UNKNOWN, value, value]);
    const stop = { context: each('x', 'c', 'c'), delivery: 'ordered-stop' };
    expect(await shown(batch, stop)).toEqual([]);
    expect(await shown(batch, { context: each('x', 'x', 'c') })).toEqual([UNKNOWN, UNKNOWN, value]);
    expect(await shown([token!], { context: one('c') })).toEqual([ENDED]);
    // Whoever does not have the context does not learn that the token is over.
    expect(await shown([token!])).toEqual([UNKNOWN]);
  });

  test('a wrong context in front takes no use away from the right ones behind it', async () => {
    const value = fresh();
    const [token] = await mintWith(
      engine,
      'mrn',
      [value],
      { revealsMax: 1 },
      { context: one('c') },
    );
    const context = each('x', 'c', 'c');
    expect(await shown([token!, token!, token!], { context })).toEqual([UNKNOWN, value, ENDED]);
  });

  test('all or nothing: what fails counts nothing, and what is left is told', async () => {
    const value = fresh();
    const [token] = await mintWith(engine, 'mrn', [value], { revealsMax: 2 });
    const call = (tokens: string[]) =>
      engine.detokenize(detokenizeCall('mrn', tokens, { delivery: 'all-or-nothing' }));
    await expect(call([token!, token!, token!])).rejects.toMatchObject({
      reason: ENDED,
      violations: [{ field: 'tokens[2]' }],
    });
    expect(textOf((await call([token!, token!])).values)).toEqual([value, value]);
    await expect(call([token!])).rejects.toMatchObject({ reason: ENDED });
  });

  test('50 calls at once get exactly as many values as there are reveals', async () => {
    const value = fresh();
    const [token] = await mintWith(engine, 'mrn', [value], { revealsMax: 10 });
    const calls = Array.from({ length: 50 }, () => shown([token!]));
    const answers = (await Promise.all(calls)).flat();
    expect(answers.filter((answer) => answer === value)).toHaveLength(10);
    expect(answers.filter((answer) => answer === ENDED)).toHaveLength(40);
    const copy = copyOf(home.folder);
    await reopen();
    expect(await shown([token!])).toEqual([ENDED]);
    // As a crash right after the answers leaves it.
    const crashed = installation({ clock, folder: copy });
    const again = await crashed.open();
    expect(await reveal(again, 'mrn', [token!])).toEqual([ENDED]);
    await again.close();
  });

  test('a count whose leaf did not get into the log holds, and its leaf is made up', async () => {
    // Without the running record of each second it is known what is on the disk.
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
    const own = installation({ clock });
    const first = await own.open();
    await first.createDomain(DEV, domain('mrn', 'static', 'digits:9'));
    const [token] = await mintWith(first, 'mrn', ['123456789'], { revealsMax: 1 });
    const before = copyOf(own.folder);
    expect(await reveal(first, 'mrn', [token!])).toEqual(['123456789']);
    const folder = copyOf(own.folder);
    await first.close();
    own.remove();
    rmSync(join(folder, 'log'), { recursive: true });
    cpSync(join(before, 'log'), join(folder, 'log'), { recursive: true });
    const logged = async (): Promise<string[]> =>
      (await readLog(copyOf(folder))).map(({ entry }) => entry.verb);
    expect(await logged()).not.toContain('Detokenize');
    const again = await installation({ clock, folder }).open();
    expect(await reveal(again, 'mrn', [token!])).toEqual([ENDED]);
    expect((await logged()).filter((verb) => verb === 'Detokenize')).toHaveLength(2);
    await again.close();
  });

  test('an erased token is unknown and an unlinked one says so, counted or not', async () => {
    const tokens = await mintWith(engine, 'mrn', [fresh(), fresh()], { revealsMax: 9 });
    await engine.erase(eraseCall('mrn', byTokens(tokens[0]!)));
    await engine.erase(eraseCall('mrn', byTokens(tokens[1]!), { mode: 'unlink' }));
    expect(await shown(tokens)).toEqual([UNKNOWN, 'TOKEN_UNLINKED']);
    expect(await shown(tokens, { context: one('strange') })).toEqual([UNKNOWN, 'TOKEN_UNLINKED']);
  });

  test('reveals beside an erasure: no row comes back, and the vault stays whole', async () => {
    const values = Array.from({ length: 6 }, fresh);
    const tokens = await mintWith(engine, 'mrn', values, { revealsMax: 1_000 });
    const reveals = tokens.flatMap((token) => Array.from({ length: 4 }, () => shown([token])));
    const erased = tokens.map((token, i) =>
      engine.erase(eraseCall('mrn', byTokens(token), { mode: i % 2 === 0 ? 'delete' : 'unlink' })),
    );
    await Promise.all([...reveals, ...erased]);
    const gone = tokens.map((_, i) => (i % 2 === 0 ? UNKNOWN : 'TOKEN_UNLINKED'));
    expect(await shown(tokens)).toEqual(gone);
    await reopen();
    expect(await shown(tokens)).toEqual(gone);
    expect(await findings()).toEqual([]);
  });
});

/** What fsck says of a copy of the vault. */
async function findings(): Promise<unknown[]> {
  const store = await openLevelStore({
    folder: join(copyOf(home.folder), 'vault'),
    create: false,
  });
  const found: unknown[] = [];
  for await (const finding of fsck(store)) found.push(finding);
  await store.close();
  return found;
}

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
