import { describe, expect, test } from 'vitest';
import { CallError } from '../../src/base/call-error.ts';
import { checkBulkGrant, QuotaBook, type Reservation } from '../../src/policy/quota.ts';
import { quotaOf, tokenizeLimit } from '../../src/policy/quota-limits.ts';
import { decodeState, encodeState, QuotaStateError } from '../../src/policy/quota-state.ts';

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
/** 2026-11-23, noon UTC. */
const NOON_MS = Date.UTC(2026, 10, 23, 12);

class HandClock {
  at = NOON_MS;
  nowMs(): number {
    return this.at;
  }
}

function setUp(): { clock: HandClock; book: QuotaBook } {
  const clock = new HandClock();
  return { clock, book: new QuotaBook(clock) };
}

const A = ['dev:ehr', 'clinic/ssn'] as const;

function refusal(work: () => unknown): CallError {
  try {
    work();
  } catch (error) {
    expect(error).toBeInstanceOf(CallError);
    return error as CallError;
  }
  throw new Error('it was not refused');
}

describe('reserve and settle', () => {
  test('a call is refused whole, and what is left stays', () => {
    const { book } = setUp();
    book.settle(book.reserve(...A, 'reveal', 9_990, 10_000), 9_990);
    const error = refusal(() => book.reserve(...A, 'reveal', 11, 10_000));
    expect(error.reason).toBe('BUDGET_EXHAUSTED');
    expect(error.metadata).toEqual({ window: '2026-11-23' });
    expect(error.retryDelayMs).toBe(12 * HOUR_MS);
    expect(book.left(...A, 'reveal', 10_000)).toBe(10);
    book.reserve(...A, 'reveal', 10, 10_000);
    expect(book.counters).toEqual({
      items: { tokenize: 0, reveal: 9_990 },
      refusedCalls: { tokenize: 0, reveal: 1 },
    });
  });

  test('what is reserved is taken at once and given back where it was not used', () => {
    const { book } = setUp();
    const first = book.reserve(...A, 'tokenize', 60, 100);
    refusal(() => book.reserve(...A, 'tokenize', 41, 100));
    book.settle(first, 10);
    expect(book.left(...A, 'tokenize', 100)).toBe(90);
    const failed = book.reserve(...A, 'tokenize', 90, 100);
    book.settle(failed, 0);
    expect(book.left(...A, 'tokenize', 100)).toBe(90);
  });

  test('callers, domains and classes have budgets of their own', () => {
    const { book } = setUp();
    book.reserve(...A, 'tokenize', 100, 100);
    expect(book.left(...A, 'reveal', 100)).toBe(100);
    expect(book.left('dev:ehr', 'clinic/mrn', 'tokenize', 100)).toBe(100);
    expect(book.left('dev:dev', 'clinic/ssn', 'tokenize', 100)).toBe(100);
    expect(book.left(...A, 'tokenize', 100)).toBe(0);
  });

  test('a reservation is settled once, and never above what it holds', () => {
    const { book } = setUp();
    const held = book.reserve(...A, 'tokenize', 5, 100);
    expect(() => book.settle(held, 6)).toThrow();
    expect(() => book.settle(held, -1)).toThrow();
    book.settle(held, 5);
    expect(() => book.settle(held, 5)).toThrow();
    expect(() => book.settle({ ...held } as Reservation, 1)).toThrow();
    expect(book.left(...A, 'tokenize', 100)).toBe(95);
  });

  test.each([-1, 1.5, Number.NaN])('%d items are a broken invariant', (count) => {
    expect(() => setUp().book.reserve(...A, 'tokenize', count, 100)).toThrow(/whole items/);
  });
});

describe('the day', () => {
  test('turns at midnight UTC, also while calls are under way', () => {
    const { clock, book } = setUp();
    clock.at = NOON_MS + 12 * HOUR_MS - 1;
    const open = book.reserve(...A, 'tokenize', 100, 100);
    expect(refusal(() => book.reserve(...A, 'tokenize', 1, 100)).retryDelayMs).toBe(1);
    clock.at++;
    book.reserve(...A, 'tokenize', 100, 100);
    book.settle(open, 100);
    expect(book.left(...A, 'tokenize', 100)).toBe(0);
    expect(book.left(...A, 'tokenize', 101)).toBe(1);
  });

  test('a clock set back brings no fresh budget', () => {
    const { clock, book } = setUp();
    book.settle(book.reserve(...A, 'tokenize', 40, 100), 40);
    clock.at = NOON_MS + DAY_MS;
    book.settle(book.reserve(...A, 'tokenize', 70, 100), 70);
    clock.at = NOON_MS;
    expect(book.left(...A, 'tokenize', 100)).toBe(30);
    expect(refusal(() => book.reserve(...A, 'tokenize', 31, 100)).metadata['window']).toBe(
      '2026-11-24',
    );
    clock.at = NOON_MS + DAY_MS;
    expect(book.left(...A, 'tokenize', 100)).toBe(30);
  });

  test('a clock that was far ahead does not freeze the book until then', () => {
    const { clock, book } = setUp();
    clock.at = Date.UTC(2099, 0, 1);
    book.settle(book.reserve(...A, 'tokenize', 70, 100), 70);
    clock.at = NOON_MS;
    expect(book.left(...A, 'tokenize', 100)).toBe(30);
    clock.at = NOON_MS + DAY_MS;
    expect(book.left(...A, 'tokenize', 100)).toBe(100);
  });
});

describe('bulk grants', () => {
  const grant = { caller: A[0], domain: A[1], count: 500, untilMs: NOON_MS + HOUR_MS };

  test('raise both classes of one caller and domain, until then', () => {
    const { clock, book } = setUp();
    book.addGrant(grant);
    expect(book.left(...A, 'tokenize', 100)).toBe(600);
    expect(book.left(...A, 'reveal', 100)).toBe(600);
    expect(book.left(A[0], 'clinic/mrn', 'tokenize', 100)).toBe(100);
    book.settle(book.reserve(...A, 'tokenize', 550, 100), 550);
    clock.at = grant.untilMs - 1;
    expect(book.left(...A, 'tokenize', 100)).toBe(50);
    clock.at = grant.untilMs;
    expect(book.left(...A, 'tokenize', 100)).toBe(0);
    expect(book.left(...A, 'reveal', 100)).toBe(100);
    refusal(() => book.reserve(...A, 'tokenize', 1, 100));
  });

  test('add up, outlive midnight, and are forgotten when they are over', () => {
    const { clock, book } = setUp();
    book.addGrant({ ...grant, untilMs: NOON_MS + 30 * HOUR_MS });
    book.addGrant({ ...grant, count: 7 });
    expect(book.left(...A, 'tokenize', 100)).toBe(607);
    clock.at = NOON_MS + 13 * HOUR_MS;
    expect(book.left(...A, 'tokenize', 100)).toBe(600);
    clock.at = NOON_MS + 40 * HOUR_MS;
    expect(book.left(...A, 'tokenize', 100)).toBe(100);
    expect(decodeState(book.snapshot(1)).accounts).toEqual([]);
  });

  test('one that is over already changes nothing', () => {
    const { book } = setUp();
    book.addGrant({ ...grant, untilMs: NOON_MS });
    expect(book.changed).toBe(false);
    expect(book.left(...A, 'tokenize', 100)).toBe(100);
  });

  test.each([
    [0, 1],
    [-5, 1],
    [1.5, 1],
    [1e13, 1],
    [Number.NaN, 1],
    [5, 0],
    [5, -1],
    [5, Number.NaN],
    [5, Infinity],
  ])('checkBulkGrant refuses %d items until %d from now', (count, fromNowMs) => {
    const bad = { ...grant, count, untilMs: NOON_MS + fromNowMs };
    const error = refusal(() => checkBulkGrant(bad, NOON_MS));
    expect(error.reason).toBe('FIELD_INVALID');
    expect(error.violations).toHaveLength(1);
    expect(() => checkBulkGrant(grant, NOON_MS)).not.toThrow();
  });
});

describe('limits', () => {
  test.each([
    [1, 1],
    [100, 1],
    [2_900, 29],
    [1_000_000, 10_000],
    [888_931_098, 1_000_000],
    [Infinity, 1_000_000],
  ])('of a format of %d members %d are tokenized a day', (size, limit) => {
    expect(tokenizeLimit(size)).toBe(limit);
  });

  test.each([
    ['tokenize', 'fpe', 'tokenize'],
    ['tokenize', 'siv', 'tokenize'],
    ['tokenize', 'one-way', 'tokenize'],
    ['tokenize', 'static', undefined],
    ['tokenize', 'dynamic', undefined],
    ['tokenize', 'transform', undefined],
    ['lookup', 'fpe', 'tokenize'],
    ['lookup', 'one-way', 'tokenize'],
    ['lookup', 'static', 'reveal'],
    ['detokenize', 'fpe', 'reveal'],
    ['detokenize', 'siv', 'reveal'],
    ['detokenize', 'static', 'reveal'],
    ['detokenize', 'dynamic', 'reveal'],
    ['inspect', 'fpe', undefined],
    ['inspect', 'siv', 'tokenize'],
    ['inspect', 'dynamic', 'reveal'],
    ['exchange-from', 'fpe', 'tokenize'],
    ['exchange-from', 'static', 'reveal'],
    ['exchange-into', 'siv', 'tokenize'],
    ['exchange-into', 'dynamic', undefined],
  ] as const)('%s of %s draws on %s', (verb, kind, wanted) => {
    const quota = quotaOf(verb, kind, 1e9);
    expect(quota?.class).toBe(wanted);
    if (quota !== undefined) expect(quota.limit).toBe(wanted === 'reveal' ? 10_000 : 1_000_000);
    const tight = quotaOf(verb, kind, 1e9, { tokenizeItemsMax: 5, revealItemsMax: 3 });
    if (tight !== undefined) expect(tight.limit).toBe(wanted === 'reveal' ? 3 : 5);
  });
});

describe('the record at rest', () => {
  const state = {
    logPosition: 2 ** 52,
    day: 20_780,
    accounts: [
      { caller: 'dev:ehr', domain: 'clinic/ssn', tokenize: 7, reveal: 0, grants: [] },
      {
        caller: 'spiffe://clinic.example/é',
        domain: 'clinic/mrn',
        tokenize: 0,
        reveal: 2 ** 53 - 1,
        grants: [{ count: 5, untilMs: NOON_MS }],
      },
    ],
  };
  const bytes = encodeState(state);

  test('reads back, also from the middle of another buffer', () => {
    expect(decodeState(bytes)).toEqual(state);
    const wide = new Uint8Array(bytes.length + 20);
    wide.set(bytes, 9);
    expect(decodeState(wide.subarray(9, 9 + bytes.length))).toEqual(state);
  });

  test('cut, prolonged or of another version it is refused, and the book keeps its own', () => {
    const { book } = setUp();
    book.settle(book.reserve(...A, 'tokenize', 5, 100), 5);
    for (let length = 0; length < bytes.length; length++) {
      expect(() => book.restore(bytes.subarray(0, length))).toThrow(QuotaStateError);
    }
    expect(() => book.restore(Uint8Array.of(...bytes, 0))).toThrow(QuotaStateError);
    for (let i = 0; i < 4; i++) {
      expect(() => book.restore(bytes.with(i, bytes[i]! ^ 1))).toThrow(QuotaStateError);
    }
    expect(() => book.restore(encodeState({ ...state, day: -1 }))).toThrow(QuotaStateError);
    expect(() => book.restore(encodeState({ ...state, day: Number.NaN }))).toThrow(QuotaStateError);
    expect(book.left(...A, 'tokenize', 100)).toBe(95);
  });

  test('holds what was settled, and nothing that is under way', () => {
    const { clock, book } = setUp();
    expect(book.changed).toBe(false);
    book.settle(book.reserve(...A, 'tokenize', 30, 100), 30);
    book.reserve(...A, 'tokenize', 50, 100);
    expect(book.changed).toBe(true);
    const snapshot = book.snapshot(17);
    expect(book.changed).toBe(false);
    const again = new QuotaBook(clock);
    expect(again.restore(snapshot)).toBe(17);
    expect(again.left(...A, 'tokenize', 100)).toBe(70);
    expect(book.left(...A, 'tokenize', 100)).toBe(20);
  });

  test('later entries count on top, each on its day', () => {
    const { clock, book } = setUp();
    const entry = { caller: A[0], domain: A[1], class: 'reveal' as const };
    book.replay({ ...entry, timeMs: NOON_MS, count: 5 });
    book.replay({ ...entry, timeMs: NOON_MS - DAY_MS, count: 50 });
    expect(book.left(...A, 'reveal', 100)).toBe(95);
    book.replay({ ...entry, timeMs: NOON_MS + DAY_MS, count: 9 });
    clock.at = NOON_MS + DAY_MS;
    expect(book.left(...A, 'reveal', 100)).toBe(91);
    clock.at += DAY_MS;
    expect(book.left(...A, 'reveal', 100)).toBe(100);
  });
});
