import { cpSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import type { CallRules, Engine } from '../../src/engine/calls.ts';
import { byTokens, eraseCall } from './erasing.ts';
import {
  copyOf,
  DEV,
  detokenizeCall,
  domain,
  each,
  heldClock,
  inspectCall,
  installation,
  one,
  readLog,
  textOf,
  tokenizeCall,
} from './harness.ts';
import { findings, mintWith, NO_RULES, newRequest, reveal } from './ruling.ts';

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
  await engine.createDomain(DEV, domain('visit', 'dynamic', 'digits:9'));
  await engine.createDomain(DEV, domain('note', 'siv', 'text'));
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
    const values = Array.from({ length: 20 }, fresh);
    const tokens = await mintWith(engine, 'mrn', values, { revealsMax: 1_000_000 });
    let over = false;
    const reveals = (async () => {
      while (!over) await shown(tokens);
    })();
    for (const [i, token] of tokens.entries()) {
      const mode = i % 2 === 0 ? 'delete' : 'unlink';
      await engine.erase(eraseCall('mrn', byTokens(token), { mode }));
    }
    over = true;
    await reveals;
    const gone = tokens.map((_, i) => (i % 2 === 0 ? UNKNOWN : 'TOKEN_UNLINKED'));
    expect(await shown(tokens)).toEqual(gone);
    await reopen();
    expect(await shown(tokens)).toEqual(gone);
    expect(await findings(home.folder)).toEqual([]);
  });
});
