import fc from 'fast-check';
import { expect, test } from 'vitest';
import { CallError } from '../../src/base/call-error.ts';
import {
  type BulkGrant,
  QuotaBook,
  type QuotaEntry,
  type Reservation,
} from '../../src/policy/quota.ts';

/** The naive book: it keeps every event and adds them all up at each question. */
interface Model {
  nowMs: number;
  readonly entries: QuotaEntry[];
  readonly grants: BulkGrant[];
  open: { readonly entry: QuotaEntry; readonly held: Reservation }[];
}

/** The system: a book and the log it could be rebuilt from. */
interface Real {
  book: QuotaBook;
  snapshot: Uint8Array;
  log: ({ readonly entry: QuotaEntry } | { readonly grant: BulkGrant })[];
}

const DAY_MS = 86_400_000;
const START_MS = Date.UTC(2026, 10, 23, 22);
const dayOf = (timeMs: number): number => Math.floor(timeMs / DAY_MS);
type Account = Pick<QuotaEntry, 'caller' | 'domain' | 'class'>;

function taken(model: Readonly<Model>, account: Account): number {
  return [...model.entries, ...model.open.map(({ entry }) => entry)]
    .filter((one) => one.caller === account.caller && one.domain === account.domain)
    .filter((one) => one.class === account.class && dayOf(one.timeMs) === dayOf(model.nowMs))
    .reduce((sum, one) => sum + one.count, 0);
}

function allowance(model: Readonly<Model>, account: Account, limit: number): number {
  return model.grants
    .filter((one) => one.caller === account.caller && one.domain === account.domain)
    .filter((one) => one.untilMs > model.nowMs)
    .reduce((sum, one) => sum + one.count, limit);
}

type Command = fc.Command<Model, Real>;

class Reserve implements Command {
  readonly account: Account;
  readonly count: number;
  readonly limit: number;
  constructor(account: Account, count: number, limit: number) {
    this.account = account;
    this.count = count;
    this.limit = limit;
  }
  check(): boolean {
    return true;
  }
  run(model: Model, real: Real): void {
    const { caller, domain, class: kind } = this.account;
    const free = allowance(model, this.account, this.limit) - taken(model, this.account);
    expect(real.book.left(caller, domain, kind, this.limit)).toBe(Math.max(0, free));
    if (this.count > free) {
      expect(() => real.book.reserve(caller, domain, kind, this.count, this.limit)).toThrow(
        CallError,
      );
      return;
    }
    const held = real.book.reserve(caller, domain, kind, this.count, this.limit);
    model.open.push({ entry: { ...this.account, count: this.count, timeMs: model.nowMs }, held });
  }
  toString(): string {
    return `reserve ${JSON.stringify(this.account)} ${this.count} of ${this.limit}`;
  }
}

class Settle implements Command {
  readonly which: number;
  readonly share: number;
  constructor(which: number, share: number) {
    this.which = which;
    this.share = share;
  }
  check(model: Readonly<Model>): boolean {
    return model.open.length > 0;
  }
  run(model: Model, real: Real): void {
    const [one] = model.open.splice(this.which % model.open.length, 1);
    const entry = { ...one!.entry, count: Math.floor(one!.entry.count * this.share) };
    real.book.settle(one!.held, entry.count);
    model.entries.push(entry);
    real.log.push({ entry });
  }
  toString(): string {
    return `settle ${this.which} × ${this.share}`;
  }
}

class Grant implements Command {
  readonly grant: Omit<BulkGrant, 'untilMs'>;
  readonly forMs: number;
  constructor(grant: Omit<BulkGrant, 'untilMs'>, forMs: number) {
    this.grant = grant;
    this.forMs = forMs;
  }
  check(): boolean {
    return true;
  }
  run(model: Model, real: Real): void {
    const grant = { ...this.grant, untilMs: model.nowMs + this.forMs };
    real.book.addGrant(grant);
    model.grants.push(grant);
    real.log.push({ grant });
  }
  toString(): string {
    return `grant ${JSON.stringify(this.grant)} for ${this.forMs}`;
  }
}

class Wait implements Command {
  readonly forMs: number;
  constructor(forMs: number) {
    this.forMs = forMs;
  }
  check(): boolean {
    return true;
  }
  run(model: Model): void {
    model.nowMs += this.forMs;
  }
  toString(): string {
    return `wait ${this.forMs}`;
  }
}

class Snapshot implements Command {
  check(): boolean {
    return true;
  }
  run(_model: Model, real: Real): void {
    real.snapshot = real.book.snapshot(real.log.length);
    expect(real.book.changed).toBe(false);
  }
  toString(): string {
    return 'snapshot';
  }
}

/** The process ends: calls under way are gone, the rest comes from snapshot and log. */
class Restart implements Command {
  check(): boolean {
    return true;
  }
  run(model: Model, real: Real): void {
    real.book = new QuotaBook({ nowMs: () => model.nowMs });
    const from = real.book.restore(real.snapshot);
    for (const line of real.log.slice(from)) {
      if ('entry' in line) real.book.replay(line.entry);
      else real.book.addGrant(line.grant);
    }
    model.open = [];
  }
  toString(): string {
    return 'restart';
  }
}

const caller = fc.constantFrom('a', 'b');
const domain = fc.constantFrom('org/x', 'org/y');
const account: fc.Arbitrary<Account> = fc.record({
  caller,
  domain,
  class: fc.constantFrom('tokenize', 'reveal'),
});
const durationMs = fc.oneof(
  fc.integer({ min: 1, max: 5 * 3_600_000 }),
  fc.constantFrom(1, 7_199_999, 7_200_000, DAY_MS),
);
const commands = [
  fc
    .tuple(account, fc.integer({ min: 0, max: 60 }), fc.constantFrom(50, 100))
    .map(([who, count, limit]) => new Reserve(who, count, limit)),
  fc
    .tuple(fc.nat(20), fc.constantFrom(0, 0.5, 1))
    .map(([which, share]) => new Settle(which, share)),
  fc
    .tuple(fc.record({ caller, domain, count: fc.integer({ min: 1, max: 80 }) }), durationMs)
    .map(([grant, forMs]) => new Grant(grant, forMs)),
  durationMs.map((forMs) => new Wait(forMs)),
  fc.constant(new Snapshot()),
  fc.constant(new Restart()),
];

test('the book equals one that adds everything up, over days, grants and restarts', () => {
  fc.assert(
    fc.property(fc.commands(commands, { maxCommands: 60, size: 'max' }), (list) => {
      fc.modelRun(() => {
        const model: Model = { nowMs: START_MS, entries: [], grants: [], open: [] };
        const book = new QuotaBook({ nowMs: () => model.nowMs });
        return { model, real: { book, snapshot: book.snapshot(0), log: [] } };
      }, list);
    }),
    { numRuns: 400 },
  );
});
