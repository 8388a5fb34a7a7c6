import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Engine } from '../../src/engine/calls.ts';
import type { RestrictCall, TargetAnswer } from '../../src/engine/vault-calls.ts';
import { openLevelStore } from '../../src/storage/level-store.ts';
import { PREFIX } from '../../src/vault/layout.ts';
import { BY_SUBJECT, byTokens, byValues, eraseCall } from './erasing.ts';
import {
  callerOf,
  copyOf,
  DEV,
  domain,
  each,
  exchangeCall,
  heldClock,
  inspectCall,
  installation,
  lookupCall,
  one,
  readLog,
  textOf,
  tokenizeCall,
} from './harness.ts';
import { findings, mintWith, newRequest, restrictCall, reveal } from './ruling.ts';

const clock = heldClock(1_900_000_000_000);
const limits = { quota: { tokenizeItemsMax: 1_000_000, revealItemsMax: 1_000_000 } };
const home = installation({ clock, limits });
let engine: Engine;
let next = 300_000_000;
const fresh = (): string => String(next++);
let people = 0;
const patient = (): string => `patient ${people++}`;

const STOPPED = 'TOKEN_RESTRICTED';
const UNKNOWN = 'TOKEN_NOT_FOUND';

beforeAll(async () => {
  engine = await home.open();
  const bound = { subjectRequired: true };
  await engine.createDomain(DEV, domain('mrn', 'static', 'digits:9'));
  await engine.createDomain(DEV, domain('study', 'static', 'digits:9'));
  await engine.createDomain(DEV, domain('visit', 'dynamic', 'digits:9'));
  await engine.createDomain(DEV, domain('own', 'static', 'digits:9', bound));
  await engine.createDomain(DEV, domain('free', 'siv', 'text'));
  await engine.createDomain(DEV, domain('note', 'siv', 'text', bound));
  const opaque = { onInvalid: 'tokenize-opaque', note: 'x' };
  await engine.createDomain(DEV, domain('loose', 'static', 'digits:9', { ...bound, ...opaque }));
  const fpe = { safety: 'valid', note: 'x' };
  await engine.createDomain(DEV, domain('account', 'fpe', 'digits:9', fpe));
});

afterAll(async () => {
  await engine.close();
  expect(await findings(home.folder)).toEqual([]);
  home.remove();
});

const reopen = async (): Promise<void> => {
  await engine.close();
  engine = await home.open();
};
const shown = (tokens: readonly string[], more = {}, id = 'mrn') =>
  reveal(engine, id, tokens, more);
const restrict = (id: string, items: RestrictCall['items'], more: Partial<RestrictCall> = {}) =>
  engine.restrict(restrictCall(id, items, more));
const lift = { lift: true };
const counted = ({ counts, errors }: TargetAnswer): unknown[] => {
  const reasons = new Map(errors.map(({ index, reason }) => [index, reason]));
  return Array.from(counts, (count, i) => reasons.get(i) ?? count);
};

/** Rules rows of all domains, in a copy of the vault. */
async function rulesRows(): Promise<number> {
  const folder = join(copyOf(home.folder), 'vault');
  const store = await openLevelStore({ folder, create: false });
  const range = { from: Uint8Array.of(PREFIX.rules), to: Uint8Array.of(PREFIX.rules + 1) };
  let rows = 0;
  for await (const _ of store.range(range)) rows++;
  await store.close();
  return rows;
}

describe('restrict', () => {
  test('stops reveals and exchanges at once, until lifted; Tokenize, Lookup find it', async () => {
    const [value, other] = [fresh(), fresh()];
    const [token, free] = await mintWith(engine, 'mrn', [value, other]);
    expect(counted(await restrict('mrn', byTokens(token!)))).toEqual([1]);
    expect(await shown([token!, free!])).toEqual([STOPPED, other]);
    const exchanged = await engine.exchange(exchangeCall('mrn', 'study', [token!, free!]));
    expect(exchanged.errors).toEqual([{ index: 0, reason: STOPPED }]);
    expect(await mintWith(engine, 'mrn', [value])).toEqual([token]);
    expect(textOf((await engine.lookup(lookupCall('mrn', [value]))).tokens)).toEqual([token]);
    await reopen();
    expect(await shown([token!, free!])).toEqual([STOPPED, other]);
    expect(counted(await restrict('mrn', byTokens(token!), lift))).toEqual([1]);
    expect(await shown([token!])).toEqual([value]);
  });

  test('one rules row, made and gone again; other rules outlive it', async () => {
    const [plain] = await mintWith(engine, 'visit', [fresh()]);
    const [ruled] = await mintWith(engine, 'visit', [fresh()], { labels: ['R'], revealsMax: 2 });
    await shown([ruled!], {}, 'visit');
    const both = byTokens(plain!, ruled!);
    await restrict('visit', both);
    await restrict('visit', both);
    const before = (await rulesRows()) - 2;
    await restrict('visit', both, lift);
    await restrict('visit', both, lift);
    // The one that has nothing else to say is gone.
    expect(await rulesRows()).toBe(before + 1);
    const { states, details } = await engine.inspect(
      inspectCall('visit', [plain!, ruled!], { withDetails: true }),
    );
    expect(states).toEqual(['live', 'live']);
    expect(details[1]).toMatchObject({ labels: ['R'], revealsMax: 2, reveals: 1 });
    expect(await findings(home.folder)).toEqual([]);
  });

  test('counts item by item: of equal tokens both, of unknown ones the reason', async () => {
    const [a, b] = await mintWith(engine, 'mrn', [fresh(), fresh()]);
    const items = byTokens(a!, '000000000', b!, a!);
    expect(counted(await restrict('mrn', items))).toEqual([1, UNKNOWN, 1, 1]);
    expect(await shown([a!, b!])).toEqual([STOPPED, STOPPED]);
  });

  test('by values: all tokens of each', async () => {
    const value = fresh();
    const more = { context: one('c') };
    await mintWith(engine, 'visit', [value, value], {}, more);
    const third = await mintWith(engine, 'visit', [value], {}, more);
    const [elsewhere] = await mintWith(engine, 'visit', [value]);
    const answer = await restrict('visit', byValues(value, fresh()), more);
    expect(counted(answer)).toEqual([3, 'VALUE_NOT_FOUND']);
    expect(await shown(third, more, 'visit')).toEqual([STOPPED]);
    expect(await shown([elsewhere!], {}, 'visit')).toEqual([value]);
  });

  test('delivery: all or nothing stops none, ordered stop those before the failed', async () => {
    const values = [fresh(), fresh()];
    const [a, b] = await mintWith(engine, 'mrn', values);
    const items = byTokens(a!, '000000000', b!);
    await expect(restrict('mrn', items, { delivery: 'all-or-nothing' })).rejects.toMatchObject({
      reason: UNKNOWN,
    });
    expect(await shown([a!, b!])).toEqual(values);
    const stop = await restrict('mrn', items, { delivery: 'ordered-stop' });
    expect([...stop.counts]).toEqual([1]);
    expect(stop.errors).toEqual([{ index: 1, reason: UNKNOWN }]);
    expect(await shown([a!, b!])).toEqual([STOPPED, values[1]]);
  });

  test('says nothing to a strange context or subject', async () => {
    const who = patient();
    const mine = { context: one('c'), subject: one(who) };
    const [token] = await mintWith(engine, 'own', [fresh()], {}, mine);
    await restrict('own', byTokens(token!));
    expect(await shown([token!], mine, 'own')).toEqual([STOPPED]);
    expect(await shown([token!], { ...mine, context: one('d') }, 'own')).toEqual([UNKNOWN]);
    expect(await shown([token!], { ...mine, subject: one('x') }, 'own')).toEqual([UNKNOWN]);
    const both = { context: one('c'), subject: each(who, 'x') };
    expect(await shown([token!, token!], both, 'own')).toEqual([STOPPED, UNKNOWN]);
  });

  test('does not keep a token from being erased, and leaves an unlinked one as it is', async () => {
    const [a, b] = await mintWith(engine, 'mrn', [fresh(), fresh()]);
    await restrict('mrn', byTokens(a!, b!));
    await engine.erase(eraseCall('mrn', byTokens(a!)));
    await engine.erase(eraseCall('mrn', byTokens(b!), { mode: 'unlink' }));
    expect(await shown([a!, b!])).toEqual([UNKNOWN, 'TOKEN_UNLINKED']);
    const again = await restrict('mrn', byTokens(a!, b!), lift);
    expect(counted(again)).toEqual([UNKNOWN, 'TOKEN_UNLINKED']);
    expect(await findings(home.folder)).toEqual([]);
  });

  test('an end goes before a restriction', async () => {
    const [token] = await mintWith(engine, 'mrn', [fresh()], { expireMs: clock.ms + 10 });
    await restrict('mrn', byTokens(token!));
    expect(await shown([token!])).toEqual([STOPPED]);
    clock.ms += 10;
    expect(await shown([token!])).toEqual(['TOKEN_ENDED']);
  });

  test('needs a purpose and the right, and a kind that can', async () => {
    const [token] = await mintWith(engine, 'mrn', [fresh()]);
    const call = (more: Partial<RestrictCall>) => restrict('mrn', byTokens(token!), more);
    await expect(call({ purpose: '' })).rejects.toMatchObject({ reason: 'PURPOSE_REQUIRED' });
    await expect(call({ caller: callerOf('clinician') })).rejects.toMatchObject({
      reason: 'ACCESS_DENIED',
    });
    const who = { subject: one(patient()) };
    for (const id of ['account', 'free']) {
      const refused = { reason: 'KIND_UNSUPPORTED' };
      await expect(restrict(id, byTokens('123456789'))).rejects.toMatchObject(refused);
      await expect(restrict(id, BY_SUBJECT, who)).rejects.toMatchObject(refused);
    }
    await expect(restrict('note', byTokens('x'))).rejects.toMatchObject({
      reason: 'KIND_UNSUPPORTED',
    });
  });
});

describe('restrict by subject', () => {
  test('all tokens of the patient in every domain, SIV and opaque ones by a flag', async () => {
    const [who, other] = [patient(), patient()];
    const mine = { subject: one(who) };
    const theirs = { subject: one(other) };
    const values = [fresh(), fresh()];
    const made = (id: string, more: object, list = values) => mintWith(engine, id, list, {}, more);
    const sivOf = async (more: object) =>
      textOf((await engine.tokenize(tokenizeCall('note', ['Zoë'], more))).tokens);
    const [own, visit, strange] = [
      await made('own', mine),
      await made('visit', mine),
      await made('own', theirs),
    ];
    const loose = await made('loose', mine, [values[0]!, 'no digits']);
    const siv = await sivOf(mine);
    const foreign = await sivOf(theirs);
    const answer = await restrict('', BY_SUBJECT, mine);
    expect([...answer.counts]).toEqual([5]);
    const check = async (stopped: boolean): Promise<void> => {
      const wanted = (list: string[]) => (stopped ? list.map(() => STOPPED) : list);
      expect(await shown(own, mine, 'own')).toEqual(wanted(values));
      expect(await shown(visit, mine, 'visit')).toEqual(wanted(values));
      expect(await shown(loose, mine, 'loose')).toEqual(wanted([values[0]!, 'no digits']));
      expect(await shown(siv, mine, 'note')).toEqual(wanted(['Zoë']));
      expect(await shown(strange, theirs, 'own')).toEqual(values);
      expect(await shown(foreign, theirs, 'note')).toEqual(['Zoë']);
      expect(await shown(siv, theirs, 'note')).not.toContain('Zoë');
    };
    await check(true);
    await reopen();
    await check(true);
    const lifted = await restrict('', BY_SUBJECT, { ...mine, ...lift });
    expect([...lifted.counts]).toEqual([5]);
    await check(false);
    await reopen();
    await check(false);
  });

  test('one domain, and a patient nobody knows', async () => {
    const who = { subject: one(patient()) };
    const value = fresh();
    const [own] = await mintWith(engine, 'own', [value], {}, who);
    const [visit] = await mintWith(engine, 'visit', [value], {}, who);
    expect([...(await restrict('own', BY_SUBJECT, who)).counts]).toEqual([1]);
    expect(await shown([own!], who, 'own')).toEqual([STOPPED]);
    expect(await shown([visit!], who, 'visit')).toEqual([value]);
    expect([...(await restrict('', BY_SUBJECT, { subject: one(patient()) })).counts]).toEqual([0]);
    expect([...(await restrict('note', BY_SUBJECT, who)).counts]).toEqual([0]);
  });
});

describe('leaf and repeat', () => {
  test('the leaf names neither token nor subject, the body does; one commit', async () => {
    const who = patient();
    const value = fresh();
    const [token] = await mintWith(engine, 'visit', [value], {}, { subject: one(who) });
    const items = byTokens(token!, '000000000');
    const { receipt } = await restrict('visit', items);
    await restrict('', BY_SUBJECT, { subject: one(who), ...lift });
    const log = await readLog(copyOf(home.folder));
    const { entry, bytes, body } = log[receipt.leafIndex]!;
    expect(entry).toMatchObject({
      verb: 'Restrict',
      domain: 'clinic/visit',
      purpose: 'PATRQT',
      done: 1,
      failed: 1,
      extra: { lift: 0, tokens: 1 },
    });
    expect(entry.commit).toBeGreaterThan(0);
    expect(textOf(body!.tokens)).toEqual([token, '000000000']);
    expect(body!.errors).toEqual([{ index: 1, reason: UNKNOWN }]);
    const last = log.at(-1)!;
    expect(last.entry).toMatchObject({
      verb: 'Restrict',
      domain: '',
      extra: { lift: 1, tokens: 1 },
    });
    expect(textOf(last.body!.tokens)).toEqual([token]);
    expect(last.body!.subjects).toHaveLength(16);
    for (const text of [token!, value, who]) expect(Buffer.from(bytes).includes(text)).toBe(false);
  });

  test('a repeat under its request id answers the same and does nothing', async () => {
    const [a, b] = await mintWith(engine, 'mrn', [fresh(), fresh()]);
    const requestId = newRequest();
    const call = (more = {}) => restrict('mrn', byTokens(a!, '0', b!), { requestId, ...more });
    const first = await call();
    await restrict('mrn', byTokens(a!, b!), lift);
    const again = await call();
    expect(again).toEqual(first);
    expect(await shown([a!, b!])).not.toContain(STOPPED);
    await expect(call(lift)).rejects.toMatchObject({ reason: 'REQUEST_ID_REUSED' });
    await reopen();
    expect(counted(await call())).toEqual(counted(first));
  });
});

/** One token as the model has it. */
interface Token {
  readonly value: string;
  readonly token: string;
  readonly idleMs: number;
  readonly expireMs: number;
  left: number;
  usedMs: number;
  stopped: boolean;
}

test('random calls and times: as a plain model of each token', { timeout: 120_000 }, async () => {
  const rules = fc.record({
    idleMs: fc.constantFrom(0, 1_000, 50_000),
    livesMs: fc.constantFrom(0, 3_000, 200_000),
    revealsMax: fc.constantFrom(0, 1, 3),
  });
  const places = fc.array(fc.nat({ max: 5 }), { minLength: 1, maxLength: 6 });
  const step = fc.oneof(
    fc.record({ do: fc.constant('mint' as const), rules }),
    fc.record({ do: fc.constant('reveal' as const), places }),
    fc.record({ do: fc.constant('reveal' as const), places }),
    fc.record({ do: fc.constant('restrict' as const), places }),
    fc.record({ do: fc.constant('lift' as const), places }),
    fc.record({ do: fc.constant('wait' as const), ms: fc.constantFrom(1, 999, 1_000, 40_000) }),
    fc.record({ do: fc.constant('restart' as const) }),
  );

  const expected = (own: Token): string => {
    if (own.expireMs > 0 && clock.ms >= own.expireMs) return 'TOKEN_ENDED';
    if (own.idleMs > 0 && clock.ms - own.usedMs >= own.idleMs) return 'TOKEN_ENDED';
    if (own.left === 0) return 'TOKEN_ENDED';
    if (own.stopped) return STOPPED;
    // A use that moves by less is not written.
    const step = Math.min(own.idleMs / 100, 60_000);
    if (clock.ms - own.usedMs > step) own.usedMs = clock.ms;
    own.left -= 1;
    return own.value;
  };

  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 4, maxLength: 16 }), async (steps) => {
      const model: Token[] = [];
      const at = (list: readonly number[]): Token[] =>
        model.length === 0 ? [] : list.map((place) => model[place % model.length]!);
      for (const one of steps) {
        if (one.do === 'mint') {
          const { idleMs, livesMs, revealsMax } = one.rules;
          const expireMs = livesMs === 0 ? 0 : clock.ms + livesMs;
          const value = fresh();
          const [token] = await mintWith(engine, 'mrn', [value], { idleMs, expireMs, revealsMax });
          const left = revealsMax === 0 ? Number.POSITIVE_INFINITY : revealsMax;
          const { ms: usedMs } = clock;
          model.push({ value, token: token!, idleMs, expireMs, left, usedMs, stopped: false });
        } else if (one.do === 'wait') clock.ms += one.ms;
        else if (one.do === 'restart') await reopen();
        else {
          const own = at(one.places);
          if (own.length === 0) continue;
          const tokens = own.map(({ token }) => token);
          if (one.do === 'reveal') {
            const wanted = own.map(expected);
            expect(await shown(tokens)).toEqual(wanted);
          } else {
            const more = { lift: one.do === 'lift' };
            expect(counted(await restrict('mrn', byTokens(...tokens), more))).toEqual(
              own.map(() => 1),
            );
            for (const token of own) token.stopped = one.do === 'restrict';
          }
        }
      }
    }),
    { numRuns: 15, interruptAfterTimeLimit: 60_000 },
  );
});
