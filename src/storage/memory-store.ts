import { type Change, type RangeOptions, type Row, type Store, StoreError } from './store.ts';

export interface MemoryStoreOptions {
  /** Asked before each write: what becomes of it. `full` and `unknown` fence the store and write
   *  nothing; `unknown-written` fences it although the write took place; undefined lets it pass. */
  readonly fail?: () => 'full' | 'unknown' | 'unknown-written' | undefined;
  /** Rows to start from, as `contents` gave them: a reopened store. */
  readonly contents?: ReadonlyMap<string, Uint8Array>;
}

/** A store that is gone with the process: for tests and for `--ephemeral`. It promises all that
 *  `Store` promises but durability. */
export class MemoryStore implements Store {
  /** By key, its bytes as latin-1 characters: their order is the order of the bytes. */
  readonly #rows: Map<string, Uint8Array>;
  readonly #fail: NonNullable<MemoryStoreOptions['fail']>;
  #sorted: string[] | undefined;
  #failure: StoreError | undefined;
  #closed = false;

  constructor(options: MemoryStoreOptions = {}) {
    this.#rows = new Map(options.contents ?? []);
    this.#fail = options.fail ?? (() => undefined);
  }

  get fenced(): boolean {
    return this.#failure !== undefined;
  }

  /** What a reopened store would hold. */
  get contents(): ReadonlyMap<string, Uint8Array> {
    return this.#rows;
  }

  async write(changes: readonly Change[]): Promise<void> {
    if (this.#closed) throw new StoreError('closed');
    if (this.#failure !== undefined) throw new StoreError('fenced', this.#failure);
    const copies = changes.map((change) => ({
      key: nameOf(change.key),
      value: change.type === 'put' ? copy(change.value) : undefined,
    }));
    await turn();
    // Another write may have failed while this one waited its turn.
    if (this.#failure !== undefined) throw new StoreError('unknown', this.#failure);
    const fault = this.#fail();
    if (fault === undefined || fault === 'unknown-written') {
      for (const { key, value } of copies) {
        if (value === undefined) this.#rows.delete(key);
        else this.#rows.set(key, value);
      }
      this.#sorted = undefined;
    }
    if (fault === undefined) return;
    this.#failure = new StoreError(fault === 'full' ? 'full' : 'unknown');
    throw this.#failure;
  }

  async getMany(keys: readonly Uint8Array[]): Promise<readonly (Uint8Array | undefined)[]> {
    if (this.#closed) throw new StoreError('closed');
    const values = keys.map((key) => {
      const value = this.#rows.get(nameOf(key));
      return value === undefined ? undefined : copy(value);
    });
    await turn();
    return values;
  }

  async *range(options: RangeOptions): AsyncGenerator<Row> {
    if (this.#closed) throw new StoreError('closed');
    this.#sorted ??= [...this.#rows.keys()].sort();
    const from = place(this.#sorted, nameOf(options.from));
    const to = place(this.#sorted, nameOf(options.to));
    const keys = this.#sorted.slice(from, Math.max(from, to));
    if (options.reverse === true) keys.reverse();
    if (options.limit !== undefined) keys.length = Math.min(keys.length, options.limit);
    // The values are never changed in place, so holding them is a snapshot.
    const rows = keys.map((key) => ({ key, value: this.#rows.get(key) ?? new Uint8Array(0) }));
    for (const { key, value } of rows) {
      await turn();
      if (this.#closed) throw new StoreError('closed');
      yield { key: Uint8Array.from(Buffer.from(key, 'latin1')), value: copy(value) };
    }
  }

  async close(): Promise<void> {
    await turn();
    this.#closed = true;
  }
}

/** Asynchronous as a disk is: whoever counts on an immediate answer finds out in a test. */
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

const nameOf = (key: Uint8Array): string =>
  Buffer.from(key.buffer, key.byteOffset, key.byteLength).toString('latin1');

/** Not slice: a Buffer's is a view. */
const copy = (bytes: Uint8Array): Uint8Array => Uint8Array.from(bytes);

/** How many of the sorted names come before `name`. */
function place(sorted: readonly string[], name: string): number {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (sorted[middle]! < name) low = middle + 1;
    else high = middle;
  }
  return low;
}
