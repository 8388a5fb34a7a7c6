import {
  type Change,
  copyOf,
  type Page,
  type RangeOptions,
  type Row,
  type Snapshot,
  type Store,
  StoreError,
} from './store.ts';

/** All fence the store. `full` and `unknown` write nothing; `unknown-written` writes all the same;
 *  so does `unknown-later`, but it shows once the store is opened again, as with LevelDB. */
export type MemoryFault = 'full' | 'unknown' | 'unknown-written' | 'unknown-later';

export interface MemoryStoreOptions {
  /** Asked before each write: what becomes of it. */
  readonly fail?: () => MemoryFault | undefined;
  /** Rows to start from, as `contents` gave them: a reopened store. */
  readonly contents?: ReadonlyMap<string, Uint8Array>;
}

const ROWS_A_PAGE = 1_000;

/** The rows are never changed in place, so a copy of the map is a snapshot. */
class MemorySnapshot implements Snapshot {
  readonly rows: ReadonlyMap<string, Uint8Array>;
  constructor(rows: ReadonlyMap<string, Uint8Array>) {
    this.rows = new Map(rows);
  }
  async close(): Promise<void> {
    await turn();
  }
}

/** A store that is gone with the process: for tests and for `--ephemeral`. It promises all that
 *  `Store` promises but durability. */
export class MemoryStore implements Store {
  readonly place = '';
  /** By key, its bytes as latin-1 characters: their order is the order of the bytes. */
  readonly #rows: Map<string, Uint8Array>;
  readonly #fail: NonNullable<MemoryStoreOptions['fail']>;
  #sorted: string[] | undefined;
  #failure: StoreError | undefined;
  #late: readonly Change[] = [];
  /** The conditional write before the next one. */
  #conditional: Promise<void> = Promise.resolve();
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
    if (this.#late.length === 0) return this.#rows;
    const rows = new Map(this.#rows);
    apply(rows, this.#late);
    return rows;
  }

  async write(changes: readonly Change[]): Promise<void> {
    if (this.#closed) throw new StoreError('closed');
    if (this.#failure !== undefined) throw new StoreError('fenced', this.#failure);
    const copies = changes.map(copyOf);
    await turn();
    // Another write may have failed while this one waited its turn.
    if (this.#failure !== undefined) throw new StoreError('unknown', this.#failure);
    const fault = this.#fail();
    if (fault === undefined || fault === 'unknown-written') {
      apply(this.#rows, copies);
      this.#sorted = undefined;
    }
    if (fault === 'unknown-later') this.#late = copies;
    if (fault === undefined) return;
    this.#failure = new StoreError(fault === 'full' ? 'full' : 'unknown');
    throw this.#failure;
  }

  async writeIfAbsent(absent: readonly Uint8Array[], changes: readonly Change[]): Promise<boolean> {
    // Copies, as `write` makes them: the caller may change the bytes while this one waits.
    const names = absent.map(nameOf);
    const copies = changes.map(copyOf);
    const before = this.#conditional;
    const done = Promise.withResolvers<void>();
    this.#conditional = done.promise;
    await before;
    try {
      if (this.#closed) throw new StoreError('closed');
      if (this.#failure !== undefined) throw new StoreError('fenced', this.#failure);
      if (names.some((name) => this.#rows.has(name))) return false;
      await this.write(copies);
      return true;
    } finally {
      done.resolve();
    }
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
    const sorted = this.#namesOf(options.snapshot);
    const source = options.snapshot instanceof MemorySnapshot ? options.snapshot.rows : this.#rows;
    const from = place(sorted, nameOf(options.from));
    const to = place(sorted, nameOf(options.to));
    const keys = sorted.slice(from, Math.max(from, to));
    if (options.reverse === true) keys.reverse();
    if (options.limit !== undefined) keys.length = Math.min(keys.length, options.limit);
    // The values are never changed in place, so holding them is a snapshot.
    const rows = keys.map((key) => ({ key, value: source.get(key) ?? new Uint8Array(0) }));
    for (const { key, value } of rows) {
      await turn();
      if (this.#closed) throw new StoreError('closed');
      yield { key: Uint8Array.from(Buffer.from(key, 'latin1')), value: copy(value) };
    }
  }

  async *pages(options: RangeOptions): AsyncGenerator<Page> {
    let page: (readonly [Uint8Array, Uint8Array])[] = [];
    for await (const { key, value } of this.range(options)) {
      page.push([key, value]);
      if (page.length < ROWS_A_PAGE) continue;
      yield page;
      page = [];
    }
    if (page.length > 0) yield page;
  }

  #namesOf(snapshot: Snapshot | undefined): readonly string[] {
    if (snapshot instanceof MemorySnapshot) return [...snapshot.rows.keys()].sort();
    this.#sorted ??= [...this.#rows.keys()].sort();
    return this.#sorted;
  }

  snapshot(): Snapshot {
    if (this.#closed) throw new StoreError('closed');
    return new MemorySnapshot(this.#rows);
  }

  async compact(): Promise<void> {
    await turn();
    if (this.#closed) throw new StoreError('closed');
    if (this.#failure !== undefined) throw new StoreError('fenced', this.#failure);
  }

  async reopen(): Promise<void> {
    await turn();
    if (this.#closed) throw new StoreError('closed');
    apply(this.#rows, this.#late);
    this.#late = [];
    this.#sorted = undefined;
    this.#failure = undefined;
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

function apply(rows: Map<string, Uint8Array>, changes: readonly Change[]): void {
  for (const change of changes) {
    if (change.type === 'del') rows.delete(nameOf(change.key));
    else rows.set(nameOf(change.key), change.value);
  }
}

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
