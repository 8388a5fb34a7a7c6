import type { Store } from '../storage/store.ts';

/** Reads below this share one; larger ones gain nothing by it. */
const SMALL = 64;

type Rows = readonly (Uint8Array | undefined)[];

interface Waiting {
  readonly keys: readonly Uint8Array[];
  readonly done: PromiseWithResolvers<Rows>;
}

/** Joins the small reads of one turn of the loop into one: a read is a trip to another thread, and
 *  calls of one value come in crowds. */
export class ReadBatch {
  readonly #store: Store;
  #waiting: Waiting[] = [];

  constructor(store: Store) {
    this.#store = store;
  }

  /** As `Store.getMany`. */
  getMany(keys: readonly Uint8Array[]): Promise<Rows> {
    if (keys.length >= SMALL) return this.#store.getMany(keys);
    const done = Promise.withResolvers<Rows>();
    if (this.#waiting.length === 0) setImmediate(() => void this.#read());
    this.#waiting.push({ keys, done });
    return done.promise;
  }

  async #read(): Promise<void> {
    const waiting = this.#waiting;
    this.#waiting = [];
    try {
      const rows = await this.#store.getMany(waiting.flatMap(({ keys }) => keys));
      let from = 0;
      for (const { keys, done } of waiting) {
        done.resolve(rows.slice(from, from + keys.length));
        from += keys.length;
      }
    } catch (error) {
      for (const { done } of waiting) done.reject(error);
    }
  }
}
