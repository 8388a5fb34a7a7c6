import assert from 'node:assert';
import type { Column } from '../base/column.ts';
import type { Store } from '../storage/store.ts';
import type { Edit } from './call-write.ts';
import { ascending, type Claim, type Claims, type CounterSource } from './claims.ts';
import type { VaultWrite } from './committer.ts';
import type { DomainState, Domains } from './domains.ts';
import { spentChanges } from './erasure.ts';
import { Exclusive } from './exclusive.ts';
import { callErrorOf } from './failure.ts';
import { INDEX_BYTES, INDEX_KEY_BYTES, indexKeys, viewsOf } from './layout.ts';
import type { NewRecords } from './new-records.ts';
import { busyCounters, DrawnSpace, type Space, SteppedSpace } from './placement.ts';
import { REFUSED } from './refused.ts';
import { counterOf } from './rows.ts';
import type { NewRules } from './rules.ts';

/** Counters for new records of a `listed` domain or one without an index. To be given to `release`
 *  when the call has ended. */
export interface Minted {
  readonly domain: string;
  /** As many as there were, in the order in which the call's rows get them. */
  readonly counters: Float64Array;
  /** Drawn, or imported. */
  readonly placed: boolean;
  /** They ascend by one. */
  readonly whole: boolean;
  /** Why there are fewer than asked for. */
  readonly refused: number;
}

export type Reader = Pick<Store, 'getMany'>;

/** Gives counters to new records: in order where a domain's tokens are a permutation, by chance
 *  where its format is too small for one, and as they stand in imported tokens. No two records get
 *  the same. */
export class Minting {
  readonly #store: Store;
  readonly #reads: Reader;
  readonly #domains: Domains;
  readonly #claims: Claims;
  /** Domains that are not simply counted up. */
  readonly #spaces = new Map<number, Space>();
  /** One claim at a time asks a space. */
  readonly #turns = new Exclusive();
  /** Counters that a space holds, and whether their records are durable. */
  readonly #holds = new WeakMap<Float64Array, { stored: boolean }>();
  /** The write that stores them. */
  readonly #writes = new WeakMap<VaultWrite, Float64Array>();

  /** `reads` may join small ones. */
  constructor(parts: { store: Store; domains: Domains; claims: Claims }, reads: Reader) {
    this.#store = parts.store;
    this.#reads = reads;
    this.#domains = parts.domains;
    this.#claims = parts.claims;
  }

  /** As `Vault.claim`; with `all` no row gets a new counter where not every row can have one. */
  async claim(id: string, indexes: Uint8Array, all = false): Promise<Claim> {
    const state = this.#domains.get(id);
    assert(state.row.index === 'unique', 'the domain has no unique index');
    const ticket = this.#claims.beginRead();
    try {
      const stored = await findCounters(this.#reads, state.row.number, indexes);
      if (this.#plain(state)) {
        return this.#claims.claim(state, indexes, stored, ascending(state), all);
      }
      return await this.#turns.run([id], () => this.#claimApart(state, indexes, stored, all));
    } finally {
      this.#claims.endRead(ticket);
    }
  }

  async #claimApart(
    state: DomainState,
    indexes: Uint8Array,
    stored: Float64Array,
    all: boolean,
  ): Promise<Claim> {
    const claims = this.#claims;
    const space = this.#space(state);
    if (space instanceof SteppedSpace) {
      // Asked anew after each pause: meanwhile imports hold counters, and calls give theirs up.
      while (!space.ready(claims.missing(state, indexes, stored))) await space.look();
      const { next } = state;
      const source: CounterSource = {
        placed: false,
        waits: true,
        give: () => space.give(),
        reset: () => {
          state.next = next;
        },
      };
      return claims.claim(state, indexes, stored, source, all);
    }
    const pool = new Pool(space, state.running.closed);
    try {
      await pool.fill(() => claims.missing(state, indexes, stored));
      const claim = claims.claim(state, indexes, stored, pool, all);
      this.#hold(claim.newCounters);
      return claim;
    } finally {
      pool.drop();
    }
  }

  /** Counters for at most `count` new records, a multiple of `unit`: fewer where there are no
   *  more. Rejects with `CallError`, and then holds nothing. */
  async mint(id: string, count: number, unit = 1): Promise<Minted> {
    const state = this.#domains.get(id);
    assert(state.row.index !== 'unique', 'counters of the domain are claimed');
    const refused = state.running.closed ? REFUSED.closed : REFUSED.exhausted;
    if (this.#plain(state)) {
      const first = state.next;
      const counters = new Float64Array(state.takeUpTo(count, unit));
      for (let i = 0; i < counters.length; i++) counters[i] = first + i;
      return { domain: id, counters, placed: false, whole: true, refused };
    }
    const space = this.#space(state);
    if (space instanceof DrawnSpace) {
      const counters = await space.draw(count, unit);
      this.#hold(counters);
      return { domain: id, counters, placed: true, whole: false, refused };
    }
    const counters = await this.#step(state, space as SteppedSpace, count, unit);
    return { domain: id, counters, placed: false, whole: false, refused };
  }

  #step(
    state: DomainState,
    space: SteppedSpace,
    count: number,
    unit: number,
  ): Promise<Float64Array> {
    return this.#turns.run([state.id], async () => {
      while (!space.ready(count)) await space.look();
      const counters = new Float64Array(count);
      let have = 0;
      while (have < count) {
        const counter = space.give();
        if (counter < 0) break;
        counters[have++] = counter;
      }
      return counters.subarray(0, have - (have % unit));
    });
  }

  /** A claim of imported tokens in a `unique` domain, row i at `counters[i]`: `REFUSED.taken` where
   *  the counter is not free or its value has another, no new row where the two belong together
   *  already. It waits for no other call. Whoever calls this holds `Vault.exclusive`. */
  async placeClaim(id: string, counters: Float64Array, indexes: Uint8Array): Promise<Claim> {
    const state = this.#domains.get(id);
    const space = this.#space(state);
    const { number } = state.row;
    const ticket = this.#claims.beginRead();
    try {
      const stored = await findCounters(this.#store, number, indexes);
      const busy = await busyCounters(this.#store, number, counters);
      const source: CounterSource = {
        placed: true,
        waits: false,
        give: (row) => {
          const counter = counters[row]!;
          return busy[row] === 0 && space.hold(counter) ? counter : REFUSED.taken;
        },
        reset: () => {},
      };
      const claim = this.#claims.claim(state, indexes, stored, source);
      for (let row = 0; row < counters.length; row++) {
        const given = claim.counters[row]!;
        if (given >= 0 && given !== counters[row]) claim.counters[row] = REFUSED.taken;
      }
      this.#hold(claim.newCounters);
      return claim;
    } finally {
      this.#claims.endRead(ticket);
    }
  }

  /** Counters of imported tokens in a domain that is not `unique`, as they are asked for: those
   *  that are free, and 1 in `busy` for those with a record, 2 for those that can have none.
   *  Whoever calls this holds `Vault.exclusive`. */
  async place(
    id: string,
    counters: Float64Array,
  ): Promise<{ readonly minted: Minted; readonly busy: Uint8Array }> {
    const state = this.#domains.get(id);
    const space = this.#space(state);
    const busy = await busyCounters(this.#store, state.row.number, counters);
    const free: number[] = [];
    for (let i = 0; i < counters.length; i++) {
      if (busy[i] !== 0) continue;
      if (space.hold(counters[i]!)) free.push(counters[i]!);
      else busy[i] = 2;
    }
    const held = Float64Array.from(free);
    const { taken } = REFUSED;
    const minted = { domain: id, counters: held, placed: true, whole: false, refused: taken };
    this.#hold(held);
    return { minted, busy };
  }

  /** Sets counters aside for good, as if they had been erased: a log names their tokens, and this
   *  vault does not have them. Those it has stay as they are. Whoever calls this holds
   *  `Vault.exclusive` until the edit is committed, and no call mints meanwhile. */
  async setAside(id: string, counters: Float64Array, commit: number): Promise<Edit> {
    const state = this.#domains.get(id);
    const { number } = state.row;
    const distinct = Float64Array.from(new Set(counters));
    const busy = await busyCounters(this.#store, number, distinct);
    const lost = distinct.filter((_, i) => busy[i] === 0);
    const delta = { domain: state, erased: lost.length, placed: lost.length };
    return { changes: spentChanges(number, lost, commit), deltas: [delta] };
  }

  /** The call of a claim or of minted counters has ended, however it did. Harmless when called
   *  again. */
  release(taken: Claim | Minted): void {
    if ('newRows' in taken) this.#claims.released(taken);
    const counters = 'newRows' in taken ? taken.newCounters : taken.counters;
    const hold = this.#holds.get(counters);
    if (hold === undefined) return;
    this.#holds.delete(counters);
    const { number } = this.#domains.get(taken.domain).row;
    this.#spaces.get(number)?.drop(counters, hold.stored);
  }

  /** Which counters a write brings records for. */
  prepared(write: VaultWrite, records: NewRecords | undefined): void {
    if (records === undefined) return;
    const counters = 'claim' in records ? records.claim.newCounters : records.counters;
    if (counters !== undefined && this.#holds.has(counters)) this.#writes.set(write, counters);
  }

  /** The write is durable. */
  stored(write: VaultWrite): void {
    const counters = this.#writes.get(write);
    const hold = counters && this.#holds.get(counters);
    if (hold !== undefined) hold.stored = true;
  }

  /** Restored with neither log nor mark: its tokens of before may be anything. */
  closed(id: string): boolean {
    return this.#domains.get(id).running.closed;
  }

  /** Share of the domain's tokens that nobody can get any more, 0 to 1. Imported tokens lie evenly
   *  over all counters, so those not passed yet are in proportion. */
  fill(id: string): number {
    const state = this.#domains.get(id);
    const { countersMax, drawn } = state.row;
    const space = this.#spaces.get(state.row.number);
    if (space instanceof DrawnSpace) return Math.min(1, space.taken / countersMax);
    const { live, erased, placed } = state.running;
    if (drawn) return Math.min(1, (live + erased) / countersMax);
    const passed = state.next / countersMax;
    return Math.min(1, passed + (placed / countersMax) * (1 - passed));
  }

  /** Forgets what it knows of the store, which was opened again; no call mints meanwhile. */
  reload(): void {
    this.#spaces.clear();
  }

  #plain({ row, running }: DomainState): boolean {
    return !row.drawn && running.placed === 0 && !this.#spaces.has(row.number);
  }

  #space(state: DomainState): Space {
    const { number, drawn } = state.row;
    let space = this.#spaces.get(number);
    if (space === undefined) {
      space = drawn ? new DrawnSpace(this.#store, state) : new SteppedSpace(this.#store, state);
      this.#spaces.set(number, space);
    }
    return space;
  }

  #hold(counters: Float64Array): void {
    if (counters.length > 0) this.#holds.set(counters, { stored: false });
  }
}

/** Drawn counters for one claim. */
class Pool implements CounterSource {
  readonly placed = true;
  readonly waits = true;
  readonly #space: DrawnSpace;
  readonly #closed: boolean;
  #counters = new Float64Array(0);
  #used = 0;

  constructor(space: Space, closed: boolean) {
    assert(space instanceof DrawnSpace, 'counters of the domain are drawn');
    this.#space = space;
    this.#closed = closed;
  }

  /** Until there are as many as are missing, or no more to be had. */
  async fill(missing: () => number): Promise<void> {
    for (let more = missing(); more > 0; more = missing() - this.#counters.length) {
      const drawn = await this.#space.draw(more, 1);
      const before = this.#counters;
      this.#counters = new Float64Array(before.length + drawn.length);
      this.#counters.set(before);
      this.#counters.set(drawn, before.length);
      if (drawn.length < more) return;
    }
  }

  give(): number {
    if (this.#used < this.#counters.length) return this.#counters[this.#used++]!;
    return this.#closed ? REFUSED.closed : REFUSED.exhausted;
  }

  reset(): void {
    this.#used = 0;
  }

  /** Those that the claim did not use are free again. */
  drop(): void {
    this.#space.drop(this.#counters.subarray(this.#used), false);
  }
}

/** The records of minted counters, all of them; `indexes` 16 bytes a row in a listed domain. */
export function mintedRecords(
  { domain, counters, placed, whole }: Minted,
  indexes: Uint8Array,
  more: {
    readonly sealed: Column;
    readonly subjects?: Uint8Array;
    readonly rules: NewRules | undefined;
  },
): NewRecords {
  if (placed) return { domain, counters, indexes, ...more };
  return { domain, first: counters[0]!, indexes, ...more, ...(whole ? {} : { stepped: counters }) };
}

/** Counters by index, 16 bytes a row; NaN where there is none, `REFUSED.damaged` where the row is.
 *  One snapshot. Rejects with `CallError`. */
export async function findCounters(
  store: Reader,
  domain: number,
  indexes: Uint8Array,
): Promise<Float64Array> {
  const keys = viewsOf(indexKeys(domain, indexes), INDEX_KEY_BYTES);
  try {
    const rows = await store.getMany(keys);
    const counters = new Float64Array(rows.length);
    for (let i = 0; i < rows.length; i++) {
      const row = rows[i];
      counters[i] =
        row === undefined ? Number.NaN : counterOf(row, domain, indexes, i * INDEX_BYTES);
    }
    return counters;
  } catch (error) {
    throw callErrorOf(error);
  }
}
