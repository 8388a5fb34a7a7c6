import assert from 'node:assert';
import { CallError } from '../base/call-error.ts';
import type { Clock } from '../base/clock.ts';
import type { QuotaClass } from './quota-limits.ts';
import { decodeState, encodeState, type QuotaState } from './quota-state.ts';

/** Items taken out of a quota and not yet accounted for. Settle it once, whatever happens. */
export interface Reservation {
  readonly class: QuotaClass;
  /** Items reserved. */
  readonly count: number;
  /** When; the log entry of the call carries the same time, so that both count on one day. */
  readonly timeMs: number;
}

/** Raises a caller's quota in a domain: `count` items a day more, in each class, until then. */
export interface BulkGrant {
  readonly caller: string;
  readonly domain: string;
  readonly count: number;
  /** Since 1970, UTC; over at that moment. */
  readonly untilMs: number;
}

/** A call as the log holds it, to be counted again after a restart. */
export interface QuotaEntry {
  readonly timeMs: number;
  readonly caller: string;
  readonly domain: string;
  readonly class: QuotaClass;
  /** Items used, as settled. */
  readonly count: number;
}

/** Since the start of the process, for metrics. */
export interface QuotaCounters {
  readonly items: Readonly<Record<QuotaClass, number>>;
  readonly refusedCalls: Readonly<Record<QuotaClass, number>>;
}

/** What one caller did in one domain on the day of the book. */
class Account {
  readonly used = { tokenize: 0, reveal: 0 };
  /** Reserved and not settled. No log entry stands for it yet, so no snapshot holds it. */
  readonly pending = { tokenize: 0, reveal: 0 };
  readonly grants: { readonly count: number; readonly untilMs: number }[];

  constructor(grants: Account['grants'] = []) {
    this.grants = grants;
  }
}

class Held implements Reservation {
  readonly account: Account;
  readonly class: QuotaClass;
  readonly count: number;
  readonly timeMs: number;
  settled = false;

  constructor(account: Account, kind: QuotaClass, count: number, timeMs: number) {
    this.account = account;
    this.class = kind;
    this.count = count;
    this.timeMs = timeMs;
  }
}

const DAY_MS = 86_400_000;
const GRANTS_MAX = 64;

/** Counts items by caller, domain and UTC day. In memory; durable through `snapshot` and the log,
 *  which the engine writes. One book a process, on the main thread. */
export class QuotaBook {
  readonly #clock: Clock;
  #accounts = new Map<string, Map<string, Account>>();
  /** Days since 1970; see `#turn` for a clock that is set back. */
  #day = 0;
  #changed = false;
  readonly #items = { tokenize: 0, reveal: 0 };
  readonly #refusedCalls = { tokenize: 0, reveal: 0 };

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Takes `count` items before any of them is worked on, or throws `CallError` BUDGET_EXHAUSTED
   *  and takes none; metadata `window` is the UTC day, and the retry delay lasts until it is over.
   *  `limit` is the daily one, from `quotaOf`. */
  reserve(
    caller: string,
    domain: string,
    kind: QuotaClass,
    count: number,
    limit: number,
  ): Reservation {
    assert(Number.isSafeInteger(count) && count >= 0 && limit >= 0, 'a quota counts whole items');
    const nowMs = this.#clock.nowMs();
    this.#turn(nowMs);
    const account = this.#account(caller, domain);
    const { used, pending } = account;
    if (used[kind] + pending[kind] + count > limit + raisedBy(account, nowMs)) {
      this.#refusedCalls[kind]++;
      const endMs = (this.#day + 1) * DAY_MS;
      const window = new Date(this.#day * DAY_MS).toISOString().slice(0, 10);
      throw new CallError('BUDGET_EXHAUSTED', {
        metadata: { window },
        retryDelayMs: endMs - nowMs,
      });
    }
    pending[kind] += count;
    return new Held(account, kind, count, nowMs);
  }

  /** What `reserve` would still take now; Infinity for a limit of Infinity. */
  left(caller: string, domain: string, kind: QuotaClass, limit: number): number {
    const nowMs = this.#clock.nowMs();
    this.#turn(nowMs);
    const account = this.#accounts.get(caller)?.get(domain);
    if (account === undefined) return limit;
    const taken = account.used[kind] + account.pending[kind];
    return Math.max(0, limit + raisedBy(account, nowMs) - taken);
  }

  /** Ends a reservation: `used` items of it stay counted, the others are given back; 0 for a call
   *  that failed as a whole. To be called in the turn in which its log entry became durable. */
  settle(reservation: Reservation, used: number): void {
    assert(reservation instanceof Held, 'a reservation comes from reserve()');
    assert(!reservation.settled, 'a reservation is settled once');
    assert(used >= 0 && used <= reservation.count, 'no more is used than was reserved');
    reservation.settled = true;
    // After midnight the account is no longer the book's: then this counts for the day before.
    const { account, class: kind } = reservation;
    account.pending[kind] -= reservation.count;
    if (used === 0) return;
    account.used[kind] += used;
    this.#items[kind] += used;
    this.#changed = true;
  }

  /** From the call that grants, and from its log entry after a restart. One that is over already
   *  changes nothing. Input is checked before: `checkBulkGrant`. */
  addGrant(grant: BulkGrant): void {
    const nowMs = this.#clock.nowMs();
    this.#turn(nowMs);
    if (grant.untilMs <= nowMs) return;
    const { grants } = this.#account(grant.caller, grant.domain);
    const running = grants.filter((one) => one.untilMs > nowMs).slice(1 - GRANTS_MAX);
    grants.splice(0, grants.length, ...running, { count: grant.count, untilMs: grant.untilMs });
    this.#changed = true;
  }

  /** Counts a call again from its log entry, in the log's order, after `restore`. */
  replay(entry: QuotaEntry): void {
    const day = Math.floor(entry.timeMs / DAY_MS);
    if (day < this.#day) return;
    this.#turn(entry.timeMs);
    this.#account(entry.caller, entry.domain).used[entry.class] += entry.count;
    this.#changed = true;
  }

  /** The state as bytes: all that was settled and granted, and that the log is counted up to
   *  `logPosition` (entries below it). Take it in one turn of the event loop with that position.
   *  An entry above it that was settled already counts twice after a restart: a position too low
   *  refuses too much and never too little. */
  snapshot(logPosition: number): Uint8Array {
    this.#turn(this.#clock.nowMs());
    this.#changed = false;
    return encodeState({ logPosition, day: this.#day, accounts: this.#rows() });
  }

  /** Replaces the whole state by that of a snapshot. Returns its log position: `replay` and
   *  `addGrant` go on from there. Throws `QuotaStateError`, and nothing has changed. */
  restore(bytes: Uint8Array): number {
    const state = decodeState(bytes);
    this.#accounts = new Map();
    this.#day = state.day;
    for (const row of state.accounts) {
      const account = this.#account(row.caller, row.domain);
      account.used.tokenize = row.tokenize;
      account.used.reveal = row.reveal;
      account.grants.push(...row.grants);
    }
    this.#changed = false;
    return state.logPosition;
  }

  /** Whether anything was counted or granted since the last snapshot or restore. */
  get changed(): boolean {
    return this.#changed;
  }

  get counters(): QuotaCounters {
    return { items: { ...this.#items }, refusedCalls: { ...this.#refusedCalls } };
  }

  /** A later day begins with nothing used. A clock set back by less than a day or so stays on its
   *  day, and one set back further takes the counts along: neither brings a fresh budget, and a
   *  clock once far ahead does not freeze the book until then. */
  #turn(nowMs: number): void {
    const day = Math.floor(nowMs / DAY_MS);
    if (day === this.#day || day === this.#day - 1) return;
    if (day > this.#day) this.#clear(nowMs);
    this.#day = day;
  }

  /** New accounts that take over the grants still running. */
  #clear(nowMs: number): void {
    const accounts = this.#accounts;
    this.#accounts = new Map();
    for (const [caller, domains] of accounts) {
      for (const [domain, account] of domains) {
        const grants = account.grants.filter((grant) => grant.untilMs > nowMs);
        if (grants.length > 0) this.#account(caller, domain, grants);
      }
    }
  }

  #account(caller: string, domain: string, grants: Account['grants'] = []): Account {
    let domains = this.#accounts.get(caller);
    if (domains === undefined) {
      domains = new Map();
      this.#accounts.set(caller, domains);
    }
    let account = domains.get(domain);
    if (account === undefined) {
      account = new Account(grants);
      domains.set(domain, account);
    }
    return account;
  }

  #rows(): QuotaState['accounts'] {
    const nowMs = this.#clock.nowMs();
    const rows: QuotaState['accounts'][number][] = [];
    for (const [caller, domains] of this.#accounts) {
      for (const [domain, { used, grants }] of domains) {
        const running = grants.filter((grant) => grant.untilMs > nowMs);
        if (used.tokenize + used.reveal + running.length === 0) continue;
        rows.push({
          caller,
          domain,
          tokenize: used.tokenize,
          reveal: used.reveal,
          grants: running,
        });
      }
    }
    return rows;
  }
}

/** What running grants add to the daily limit. */
function raisedBy(account: Account, nowMs: number): number {
  let sum = 0;
  for (const grant of account.grants) if (grant.untilMs > nowMs) sum += grant.count;
  return sum;
}

/** Throws `CallError` FIELD_INVALID for a grant that no officer can mean. */
export function checkBulkGrant(grant: BulkGrant, nowMs: number): void {
  const violations = [];
  if (!Number.isSafeInteger(grant.count) || grant.count < 1 || grant.count > GRANT_ITEMS_MAX) {
    violations.push({ field: 'count', text: 'is a number from 1 to 1,000,000,000,000' });
  }
  if (!Number.isSafeInteger(grant.untilMs) || grant.untilMs <= nowMs) {
    violations.push({ field: 'until', text: 'lies in the future' });
  }
  if (violations.length > 0) throw new CallError('FIELD_INVALID', { violations });
}

const GRANT_ITEMS_MAX = 1_000_000_000_000;
