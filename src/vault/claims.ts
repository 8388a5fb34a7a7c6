import assert from 'node:assert';
import { CallError } from '../base/call-error.ts';
import type { DomainState } from './domains.ts';
import { IndexTable } from './index-table.ts';
import { INDEX_BYTES, wordsOf } from './layout.ts';
import { REFUSED } from './refused.ts';

/** The counters of a batch of static tokens. One with `newRows` must end in `commit` or in
 *  `release`. */
export interface Claim {
  readonly domain: string;
  /** Row by row as asked; one of `REFUSED` where the row gets none. Rows that get one stand before
   *  those that the domain has no room for. */
  readonly counters: Float64Array;
  /** 1 where this claim made the counter: the call has to bring its record. Of equal indexes in
   *  one batch the first row counts. */
  readonly created: Uint8Array;
  /** The rows with `created`, ascending. */
  readonly newRows: Uint32Array;
  /** Their counters, row by row as `newRows`; they ascend, unless they were drawn or imported. */
  readonly newCounters: Float64Array;
  /** They were drawn or imported. */
  readonly placed: boolean;
  /** Set where some counters were made by other calls, not yet committed. Await it BEFORE this
   *  call's own commit: it resolves once their records are durable, and rejects with
   *  `CallError('STORE_UNAVAILABLE')` if one of those calls failed; then release this claim and
   *  claim anew (or fail the call). No two calls ever wait for each other, as long as a call
   *  holds one claim. */
  readonly after: Promise<void> | undefined;
}

/** Where the counters of new rows come from. */
export interface CounterSource {
  readonly placed: boolean;
  /** False where rows that an open claim has made are refused: whoever waits holds nothing that
   *  the other call may want. */
  readonly waits: boolean;
  /** The counter of a row that has none, or one of `REFUSED`. */
  give(row: number): number;
  /** Takes back all that was given, before anybody else was. */
  reset(): void;
}

/** The next counters of a domain in which none is placed. */
export function ascending(domain: DomainState): CounterSource {
  const { next } = domain;
  return {
    placed: false,
    waits: true,
    give() {
      if (domain.running.closed) return REFUSED.closed;
      return domain.next < domain.row.countersMax ? domain.next++ : REFUSED.exhausted;
    },
    reset() {
      domain.next = next;
    },
  };
}

const SLOT_MAX = 0xffff_ffff;

type Phase = 'open' | 'committed' | 'ended';

/** The vault's side of a claim. */
interface Owner {
  readonly claim: Claim;
  readonly slot: number;
  readonly domain: number;
  readonly words: Uint32Array;
  phase: Phase;
  /** Made by the first call that has to wait. */
  waiting: PromiseWithResolvers<void> | undefined;
  /** Counters whose rows were forgotten before the claim ends. */
  erased: Set<number> | undefined;
}

/** Create-or-get for static tokens among concurrent calls: one index gets one counter, however
 *  many calls ask for it at once. */
export class Claims {
  readonly #table = new IndexTable();
  readonly #owners = new Map<number, Owner>();
  readonly #byClaim = new WeakMap<Claim, Owner>();
  #nextSlot = 1;
  /** Reads under way by their ticket, ascending. */
  readonly #reading = new Set<number>();
  #ticket = 0;
  /** Committed owners that a read begun before their commit may have missed. */
  readonly #lingering: { owner: Owner; ticket: number }[] = [];

  /** Rows that are claimed and not yet forgotten. */
  get size(): number {
    return this.#table.size;
  }

  /** Claims that have neither been committed nor released, and reads for some that are to come. */
  get open(): number {
    let count = this.#reading.size;
    for (const { phase } of this.#owners.values()) if (phase === 'open') count++;
    return count;
  }

  /** Must be called before the store is read for `claim`, and `endRead` after. */
  beginRead(): number {
    this.#reading.add(++this.#ticket);
    return this.#ticket;
  }

  endRead(ticket: number): void {
    this.#reading.delete(ticket);
    this.#forget();
  }

  /** `stored`: what the store holds for each row, NaN where nothing; it becomes the claim's
   *  counters. Between `beginRead` and `endRead`, without a pause, so that claims have an order:
   *  each waits only for those before it. */
  claim(
    domain: DomainState,
    indexes: Uint8Array,
    stored: Float64Array,
    source: CounterSource = ascending(domain),
    all = false,
  ): Claim {
    const words = wordsOf(indexes);
    const slot = this.#nextSlot;
    assert(!this.#owners.has(slot), 'a claim is four billion claims old');
    const before = new Set<number>();
    const rows = this.#newRows(domain, words, stored, before, source.waits);
    let made = this.#make(domain, words, stored, rows, slot, source);
    if (all && made > 0 && stored.includes(REFUSED.exhausted)) {
      this.#unmake(domain, words, stored, rows.subarray(0, made));
      source.reset();
      made = 0;
    }
    if (made > 0) this.#nextSlot = slot === SLOT_MAX ? 1 : slot + 1;
    const newRows = rows.slice(0, made);
    return this.#enter(slot, domain, words, stored, newRows, before, source.placed);
  }

  /** As if these rows, and their repeats, had got no counter either. */
  #unmake(domain: DomainState, words: Uint32Array, stored: Float64Array, made: Uint32Array): void {
    const given = new Set(Array.from(made, (row) => stored[row]!));
    for (const row of made) this.#table.remove(domain.row.number, words, row * 4);
    for (let row = 0; row < stored.length; row++) {
      if (given.has(stored[row]!)) stored[row] = REFUSED.exhausted;
    }
  }

  /** How many counters a claim made now would ask its source for, or a few more. */
  missing(domain: DomainState, indexes: Uint8Array, stored: Float64Array): number {
    return this.#newRows(domain, wordsOf(indexes), stored.slice(), new Set(), true).length;
  }

  /** Gives counters to `rows`, and leaves in its front those that were not repeats of an earlier
   *  one and got one; how many. */
  #make(
    domain: DomainState,
    words: Uint32Array,
    stored: Float64Array,
    rows: Uint32Array,
    slot: number,
    source: CounterSource,
  ): number {
    const { number } = domain.row;
    let made = 0;
    for (const row of rows) {
      const place = this.#table.find(number, words, row * 4);
      if (place >= 0) {
        stored[row] = this.#table.counter(place);
        continue;
      }
      const counter = source.give(row);
      stored[row] = counter;
      if (counter < 0) continue;
      this.#table.add(number, words, row * 4, counter, slot);
      rows[made++] = row;
    }
    return made;
  }

  /** Rows known neither to the store nor to a claim; the others get their claimed counters. */
  #newRows(
    domain: DomainState,
    words: Uint32Array,
    stored: Float64Array,
    before: Set<number>,
    waits: boolean,
  ): Uint32Array {
    const rows = new Uint32Array(stored.length);
    let count = 0;
    for (let row = 0; row < stored.length; row++) {
      if (!Number.isNaN(stored[row]!)) continue;
      const place = this.#table.find(domain.row.number, words, row * 4);
      if (place < 0) {
        rows[count++] = row;
        continue;
      }
      const owner = this.#table.owner(place);
      const open = !waits && this.#owners.get(owner)?.phase === 'open';
      stored[row] = open ? REFUSED.taken : this.#table.counter(place);
      if (!open) before.add(owner);
    }
    return rows.subarray(0, count);
  }

  #enter(
    slot: number,
    domain: DomainState,
    words: Uint32Array,
    counters: Float64Array,
    newRows: Uint32Array,
    before: Set<number>,
    placed: boolean,
  ): Claim {
    const created = new Uint8Array(counters.length);
    for (const row of newRows) created[row] = 1;
    const newCounters = new Float64Array(newRows.length);
    for (let i = 0; i < newRows.length; i++) newCounters[i] = counters[newRows[i]!]!;
    const after = this.#await(before);
    const claim = { domain: domain.id, counters, created, newRows, newCounters, placed, after };
    const owner: Owner = {
      claim,
      slot,
      domain: domain.row.number,
      words,
      // A claim that made nothing holds nothing, and need not end.
      phase: newRows.length > 0 ? 'open' : 'ended',
      waiting: undefined,
      erased: undefined,
    };
    if (newRows.length > 0) this.#owners.set(slot, owner);
    this.#byClaim.set(claim, owner);
    return claim;
  }

  #await(slots: Set<number>): Promise<void> | undefined {
    const waits: Promise<void>[] = [];
    for (const slot of slots) {
      const owner = this.#owners.get(slot);
      assert(owner !== undefined, 'a claimed row has no owner');
      if (owner.phase === 'committed') continue;
      if (owner.waiting === undefined) {
        owner.waiting = Promise.withResolvers();
        owner.waiting.promise.catch(() => {}); // The waiting call may have ended meanwhile.
      }
      waits.push(owner.waiting.promise);
    }
    if (waits.length === 0) return undefined;
    const all = Promise.all(waits).then(() => {});
    all.catch(() => {});
    return all;
  }

  /** The indexes of `newRows`, 16 bytes a row. */
  newIndexes(claim: Claim): Uint8Array {
    const owner = this.#byClaim.get(claim);
    if (claim.newRows.length === 0) return new Uint8Array(0);
    assert(owner?.phase === 'open', 'the claim has ended');
    const all = new Uint8Array(owner.words.buffer);
    if (claim.newRows.length === claim.counters.length) return all;
    const indexes = new Uint8Array(claim.newRows.length * INDEX_BYTES);
    for (let i = 0; i < claim.newRows.length; i++) {
      const from = claim.newRows[i]! * INDEX_BYTES;
      for (let j = 0; j < INDEX_BYTES; j++) indexes[i * INDEX_BYTES + j] = all[from + j]!;
    }
    return indexes;
  }

  /** The claim's records are durable. Its rows stay known until every read that began before has
   *  ended, since such a read saw the store without them. */
  committed(claim: Claim): void {
    if (claim.newRows.length === 0) return;
    const owner = this.#byClaim.get(claim);
    assert(owner?.phase === 'open', 'a claim ends once');
    owner.phase = 'committed';
    owner.waiting?.resolve();
    this.#lingering.push({ owner, ticket: this.#ticket });
    this.#forget();
  }

  /** The claim's call failed before its commit, or its commit failed. */
  released(claim: Claim, cause?: unknown): void {
    const owner = this.#byClaim.get(claim);
    if (owner === undefined || owner.phase !== 'open') return;
    this.#end(owner);
    owner.waiting?.reject(new CallError('STORE_UNAVAILABLE', { cause }));
  }

  /** These counters were erased, durably: a claim that still speaks of one says so no more, since
   *  its value gets a new token. A row that names another counter by now stays. */
  forget(domain: number, indexes: Uint8Array, counters: Float64Array): void {
    const words = wordsOf(indexes);
    for (let i = 0; i < counters.length; i++) {
      const place = this.#table.find(domain, words, i * 4);
      if (place < 0 || this.#table.counter(place) !== counters[i]) continue;
      const owner = this.#owners.get(this.#table.owner(place));
      assert(owner?.phase === 'committed', 'what was erased had been committed');
      owner.erased ??= new Set();
      owner.erased.add(counters[i]!);
      this.#table.remove(domain, words, i * 4);
    }
  }

  #forget(): void {
    const oldest = this.#reading.values().next().value ?? Number.POSITIVE_INFINITY;
    while (this.#lingering.length > 0 && this.#lingering[0]!.ticket < oldest) {
      this.#end(this.#lingering.shift()!.owner);
    }
  }

  #end(owner: Owner): void {
    owner.phase = 'ended';
    this.#owners.delete(owner.slot);
    const { newRows, newCounters } = owner.claim;
    for (let i = 0; i < newRows.length; i++) {
      // The row of an erased counter may be another claim's by now.
      if (owner.erased?.has(newCounters[i]!) === true) continue;
      this.#table.remove(owner.domain, owner.words, newRows[i]! * 4);
    }
  }
}
