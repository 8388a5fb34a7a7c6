import assert from 'node:assert';
import { randomFillSync } from 'node:crypto';
import { DRAWN_FILL_MAX_PERCENT } from '../base/domain.ts';
import type { Store } from '../storage/store.ts';
import { CounterSet } from './counter-set.ts';
import type { DomainState } from './domains.ts';
import { erasedKeys } from './erasure.ts';
import { callErrorOf } from './failure.ts';
import { getU64, RECORD_KEY_BYTES, recordKeys, viewsOf } from './layout.ts';
import { REFUSED } from './refused.ts';

/** Which counters of one domain are free, where that is more than all from the next one on. */
export interface Space {
  /** Takes a counter for an import, which has made sure that the store does not have it; false
   *  where it was given out in order, or another call holds it. */
  hold(counter: number): boolean;
  /** The call that took these has ended; `stored` where its records are durable. */
  drop(counters: Float64Array, stored: boolean): void;
}

/** 1 for each counter that has a record or was erased, from one snapshot: between two reads an
 *  erasure could hide it from both. Rejects with `CallError`. */
export async function busyCounters(
  store: Store,
  domain: number,
  counters: Float64Array,
): Promise<Uint8Array> {
  const count = counters.length;
  const keys = viewsOf(recordKeys(domain, counters), RECORD_KEY_BYTES);
  for (const key of viewsOf(erasedKeys(domain, counters), RECORD_KEY_BYTES)) keys.push(key);
  const busy = new Uint8Array(count);
  try {
    const rows = await store.getMany(keys);
    for (let i = 0; i < count; i++) {
      if (rows[i] !== undefined) busy[i] = 1;
      else if (rows[count + i] !== undefined) busy[i] = ERASED;
    }
  } catch (error) {
    throw callErrorOf(error);
  }
  return busy;
}

/** In `busyCounters`: no record, and never one again. */
export const ERASED = 2;

/** Whole numbers below `limit`, each as likely as another: 32 random bits, those past the last
 *  whole multiple of `limit` thrown away. */
export class UniformDraw {
  readonly #limit: number;
  readonly #ceiling: number;
  readonly #pool = new Uint32Array(1_024);
  #used = 1_024;

  constructor(limit: number) {
    assert(limit > 0 && limit <= 0x1_0000_0000, 'a draw has 32 bits');
    this.#limit = limit;
    this.#ceiling = Math.floor(0x1_0000_0000 / limit) * limit;
  }

  next(): number {
    for (;;) {
      if (this.#used === this.#pool.length) {
        randomFillSync(this.#pool);
        this.#used = 0;
      }
      const word = this.#pool[this.#used++]!;
      if (word < this.#ceiling) return word % this.#limit;
    }
  }
}

/** A domain of under a million tokens: counters are drawn, uniformly from those that are free.
 *  What is in use is asked of the store and remembered at a bit a counter, since it never becomes
 *  free again. */
export class DrawnSpace implements Space {
  readonly #store: Store;
  readonly #state: DomainState;
  readonly #draws: UniformDraw;
  /** Taken by calls under way. */
  readonly #held = new CounterSet();
  /** Known to be in use, or erased. */
  readonly #spent = new CounterSet();
  /** In use, erased, or taken by calls under way. */
  #taken: number;

  constructor(store: Store, state: DomainState) {
    this.#store = store;
    this.#state = state;
    this.#draws = new UniformDraw(state.row.countersMax);
    this.#taken = state.running.live + state.running.erased;
  }

  /** How many may still be drawn now. */
  get room(): number {
    const { row, running } = this.#state;
    if (running.closed) return 0;
    const limit = Math.ceil((row.countersMax * DRAWN_FILL_MAX_PERCENT) / 100);
    return Math.max(0, limit - this.taken);
  }

  get taken(): number {
    const { live, erased } = this.#state.running;
    return Math.max(this.#taken, live + erased);
  }

  /** At most `count` free counters, a multiple of `unit`, in the order of the draw; the caller's
   *  until it drops them. Rejects with `CallError`, and then holds nothing. */
  async draw(count: number, unit: number): Promise<Float64Array> {
    const wanted = Math.floor(Math.min(count, this.room) / unit) * unit;
    // Taken before the first pause: calls at once never go past the limit together.
    this.#taken += wanted;
    const found = new Float64Array(wanted);
    let have = 0;
    while (have < wanted) {
      const tries = this.#candidates(wanted - have);
      let busy: Uint8Array;
      try {
        busy = await busyCounters(this.#store, this.#state.row.number, tries);
      } catch (error) {
        for (const counter of tries) this.#held.delete(counter);
        for (const counter of found.subarray(0, have)) this.#held.delete(counter);
        this.#taken -= wanted;
        throw error;
      }
      for (let i = 0; i < tries.length; i++) {
        if (busy[i] === 0) found[have++] = tries[i]!;
        else {
          this.#held.delete(tries[i]!);
          this.#spent.add(tries[i]!);
        }
      }
    }
    return found;
  }

  /** Distinct, and held from now on. There are always enough: what calls have taken together with
   *  what is in use stays below the limit. */
  #candidates(count: number): Float64Array {
    const counters = new Float64Array(count);
    for (let have = 0; have < count; ) {
      const counter = this.#draws.next();
      if (this.#spent.has(counter) || !this.#held.add(counter)) continue;
      counters[have++] = counter;
    }
    return counters;
  }

  hold(counter: number): boolean {
    if (this.#spent.has(counter) || !this.#held.add(counter)) return false;
    this.#taken++;
    return true;
  }

  drop(counters: Float64Array, stored: boolean): void {
    for (const counter of counters) {
      this.#held.delete(counter);
      if (stored) this.#spent.add(counter);
    }
    if (!stored) this.#taken -= counters.length;
  }
}

/** Counters that are looked up in the store at once. */
const WINDOW = 4_096;

/** A domain whose counters ascend and step over those that imports have placed. Only a window ahead
 *  of the next one is known, so that millions of imported tokens take no memory. */
export class SteppedSpace implements Space {
  readonly #store: Store;
  readonly #state: DomainState;
  /** Taken by imports under way. */
  readonly #held = new Set<number>();
  /** Not free, among the counters below `#probing`. */
  readonly #blocked = new Set<number>();
  /** Below this it is known which counters are free. */
  #probed = 0;
  /** As it will be after the read under way. */
  #probing = 0;
  #reading: Promise<void> | undefined;

  constructor(store: Store, state: DomainState) {
    this.#store = store;
    this.#state = state;
  }

  /** Reads the next window. Rejects with `CallError`. */
  look(): Promise<void> {
    this.#reading ??= this.#probe().finally(() => {
      this.#reading = undefined;
    });
    return this.#reading;
  }

  /** Whether `count` free counters are known, or there are no more. They are there to be given for
   *  as long as the caller does not pause. */
  ready(count: number): boolean {
    if (this.#probed >= this.#state.row.countersMax) return true;
    let free = 0;
    for (let counter = this.#state.next; counter < this.#probed && free < count; counter++) {
      if (!this.#blocked.has(counter) && !this.#held.has(counter)) free++;
    }
    return free >= count;
  }

  async #probe(): Promise<void> {
    const { row, next } = this.#state;
    for (const counter of this.#blocked) if (counter < next) this.#blocked.delete(counter);
    const from = Math.max(next, this.#probed);
    const to = Math.min(row.countersMax, from + WINDOW);
    // Before the read: an import that ends meanwhile may not be in what the read sees.
    this.#probing = to;
    const ends = Float64Array.of(from, to);
    const records = viewsOf(recordKeys(row.number, ends), RECORD_KEY_BYTES);
    const erased = viewsOf(erasedKeys(row.number, ends), RECORD_KEY_BYTES);
    // Erased ones later: an erasure between the two reads takes a record and leaves its own row.
    for (const [first, last] of [records, erased]) {
      try {
        for await (const { key } of this.#store.range({ from: first!, to: last! })) {
          this.#blocked.add(getU64(key, 5));
        }
      } catch (error) {
        throw callErrorOf(error);
      }
    }
    this.#probed = to;
  }

  /** The next free counter, where it was `ready`; `REFUSED.exhausted` where there is none. */
  give(): number {
    const state = this.#state;
    if (state.running.closed) return REFUSED.closed;
    while (state.next < this.#probed) {
      const counter = state.next++;
      if (!this.#blocked.has(counter) && !this.#held.has(counter)) return counter;
    }
    assert(this.#probed >= state.row.countersMax, 'the counters were looked up');
    return REFUSED.exhausted;
  }

  hold(counter: number): boolean {
    if (counter < this.#state.next || this.#held.has(counter)) return false;
    this.#held.add(counter);
    return true;
  }

  /** Stored or not, those of the known window stay out of it: whether a write that failed is there
   *  only a later read can tell. */
  drop(counters: Float64Array): void {
    for (const counter of counters) {
      this.#held.delete(counter);
      if (counter >= this.#state.next && counter < this.#probing) this.#blocked.add(counter);
    }
  }
}
