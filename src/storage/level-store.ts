import assert from 'node:assert';
import { mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { Level } from 'level';
import { rewriteRange } from './level-rewrite.ts';
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
import { lockFolder, type StoreLock } from './store-lock.ts';
import { placeOf } from './store-place.ts';

export interface LevelStoreOptions {
  /** Absolute or relative; made (mode 0700) when `create` is set. */
  readonly folder: string;
  /** True makes a store where there is nothing, and only there; false opens one that is there. A
   *  store that lost its files is never taken for a new one (facts.md F7). */
  readonly create: boolean;
  /** Rebuilds LevelDB's own files first, out of the tables and logs that are there. Rows that were
   *  deleted may come back, and a batch may come back in part: the layer above has to know. */
  readonly repair?: boolean;
  /** Stands for the folder's own place; for tests, where a copy stands for a crash. */
  readonly place?: string;
}

/** The file that names the live manifest. Without it LevelDB sees no database at all. */
const CURRENT = 'CURRENT';
/** Tables and write-ahead logs. */
const DATA = /^\d+\.(ldb|sst|log)$/;
const ROWS_A_READ = 1_000;
/** What one read holds in memory at most; LevelDB's default of 16 KiB costs a third more. */
const BYTES_A_READ = 64 * 1024;

/** LevelDB behind `Store`. Rejects with `StoreError`: `in-use`, `missing`, `exists`, `corrupt`. */
export async function openLevelStore(options: LevelStoreOptions): Promise<Store> {
  const { folder, create, repair = false } = options;
  if (create) await mkdir(folder, { recursive: true, mode: 0o700 });
  const names = await readdir(folder).catch((cause: unknown) => {
    throw new StoreError('missing', cause);
  });
  // Checked by us and not left to LevelDB: over orphaned tables it would start an empty store.
  if (create && names.length > 0) throw new StoreError('exists');
  const present = repair ? names.some((name) => DATA.test(name)) : names.includes(CURRENT);
  if (!create && !present) throw new StoreError('missing');
  const lock = await lockFolder(folder);
  const place = options.place ?? (await placeOf(folder));
  const level = new Level<Uint8Array, Uint8Array>(join(folder), {
    keyEncoding: 'view',
    valueEncoding: 'view',
    createIfMissing: create,
    errorIfExists: create,
    // Sealed rows do not compress: Snappy would cost time and, over raw blocks, notice nothing.
    // That each row proves itself is the business of the layer above (facts.md F2).
    compression: false,
    cacheSize: 64 * 1024 * 1024,
  });
  try {
    if (repair) await (Level as unknown as Repairable).repair(folder);
    await level.open();
  } catch (cause) {
    await lock.release();
    throw new StoreError(openFault(cause), cause);
  }
  return new LevelStore(level, lock, place);
}

/** F8: what went wrong is in `cause.code`; the error's own code says only that it is not open. */
function openFault(error: unknown): 'in-use' | 'full' | 'corrupt' {
  // Opening writes: the rows of the write-ahead log go into a table (facts.md F4).
  if (isFull(causeOf(error))) return 'full';
  return codeOf(causeOf(error)) === 'LEVEL_LOCKED' ? 'in-use' : 'corrupt';
}

const causeOf = (error: unknown): unknown =>
  error instanceof Error ? (error.cause ?? error) : error;

function codeOf(error: unknown): unknown {
  return error instanceof Error && 'code' in error ? error.code : undefined;
}

/** `level` is classic-level in Node; its own types name only what browsers have too. */
interface Repairable {
  repair(folder: string): Promise<void>;
}

type Levels = Level<Uint8Array, Uint8Array>;

class LevelSnapshot implements Snapshot {
  readonly taken: ReturnType<Levels['snapshot']>;
  readonly #release: () => void;
  constructor(taken: ReturnType<Levels['snapshot']>, release: () => void) {
    this.taken = taken;
    this.#release = release;
  }
  close(): Promise<void> {
    return this.taken.close().finally(this.#release);
  }
}

class LevelStore implements Store {
  readonly place: string;
  readonly #level: Levels;
  readonly #lock: StoreLock;
  /** The first failed write: the reason of the fence. */
  #failure: StoreError | undefined;
  #closing: Promise<void> | undefined;
  /** Reads wait for it; it never rejects. */
  #reopening: Promise<void> | undefined;
  /** The conditional write before the next one; it never rejects. */
  #conditional: Promise<void> = Promise.resolve();
  readonly #underWay = new Set<Promise<void>>();
  /** Snapshots and readings of ranges that have not ended. */
  readonly #views = new Set<Promise<void>>();

  constructor(level: Levels, lock: StoreLock, place: string) {
    this.#level = level;
    this.#lock = lock;
    this.place = place;
  }

  get fenced(): boolean {
    return this.#failure !== undefined;
  }

  async write(changes: readonly Change[]): Promise<void> {
    if (this.#closing !== undefined) throw new StoreError('closed');
    if (this.#failure !== undefined) throw new StoreError('fenced', this.#failure);
    if (changes.length === 0) return;
    const write = this.#writeBatch(changes);
    const settled = write.catch(() => {});
    this.#underWay.add(settled);
    try {
      await write;
    } finally {
      this.#underWay.delete(settled);
    }
  }

  /** A chained batch: it hands each change to LevelDB without an object between, a third of the
   *  time of an array batch on this thread. */
  async #writeBatch(changes: readonly Change[]): Promise<void> {
    const batch = this.#level.batch();
    try {
      for (const change of changes) {
        if (change.type === 'put') batch.put(change.key, change.value);
        else batch.del(change.key);
      }
      await batch.write({ sync: true });
    } catch (cause) {
      this.#failure ??= new StoreError(isFull(cause) ? 'full' : 'unknown', cause);
      throw new StoreError(isFull(cause) ? 'full' : 'unknown', cause);
    }
    // LevelDB goes on after a failed append and acknowledges rows that a later start drops (F3).
    // So an acknowledgement that comes after another write's failure says nothing.
    if (this.#failure !== undefined) throw new StoreError('unknown', this.#failure);
  }

  async writeIfAbsent(absent: readonly Uint8Array[], changes: readonly Change[]): Promise<boolean> {
    const before = this.#conditional;
    const done = Promise.withResolvers<void>();
    this.#conditional = done.promise;
    // Copies, as `write` makes them: the caller may change the bytes while this one waits.
    const keys = absent.map((key) => Uint8Array.from(key));
    const copies = changes.map(copyOf);
    await before;
    try {
      if (this.#failure !== undefined) throw new StoreError('fenced', this.#failure);
      const rows = await this.getMany(keys);
      if (rows.some((row) => row !== undefined)) return false;
      await this.write(copies);
      return true;
    } finally {
      done.resolve();
    }
  }

  async getMany(keys: readonly Uint8Array[]): Promise<readonly (Uint8Array | undefined)[]> {
    if (this.#closing !== undefined) throw new StoreError('closed');
    while (this.#reopening !== undefined) await this.#reopening;
    try {
      return await this.#level.getMany(keys as Uint8Array[]);
    } catch (cause) {
      throw new StoreError(readFault(cause), cause);
    }
  }

  async *range(options: RangeOptions): AsyncGenerator<Row> {
    for await (const page of this.pages(options)) {
      for (const [key, value] of page) yield { key, value };
    }
  }

  async *pages(options: RangeOptions): AsyncGenerator<Page> {
    if (this.#closing !== undefined) throw new StoreError('closed');
    while (this.#reopening !== undefined) await this.#reopening;
    const held = options.snapshot;
    assert(held === undefined || held instanceof LevelSnapshot, 'a snapshot is of its store');
    const snapshot = held?.taken ?? this.#snapshot();
    const iterator = this.#level.iterator({
      gte: options.from,
      lt: options.to,
      reverse: options.reverse ?? false,
      limit: options.limit ?? -1,
      highWaterMarkBytes: BYTES_A_READ,
      snapshot,
    });
    const release = this.#view();
    try {
      for (;;) {
        const rows = await iterator.nextv(ROWS_A_READ);
        if (rows.length === 0) return;
        yield rows;
      }
    } catch (cause) {
      throw new StoreError(readFault(cause), cause);
    } finally {
      await iterator.close();
      if (held === undefined) await snapshot.close();
      release();
    }
  }

  /** Counts a view of the rows; call the result when it has ended. */
  #view(): () => void {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#views.add(promise);
    return () => {
      this.#views.delete(promise);
      resolve();
    };
  }

  snapshot(): Snapshot {
    if (this.#closing !== undefined) throw new StoreError('closed');
    return new LevelSnapshot(this.#snapshot(), this.#view());
  }

  #snapshot(): ReturnType<Levels['snapshot']> {
    try {
      return this.#level.snapshot();
    } catch (cause) {
      throw new StoreError(readFault(cause), cause); // A reopen failed.
    }
  }

  async compact(from: Uint8Array, to: Uint8Array): Promise<void> {
    if (this.#closing !== undefined) throw new StoreError('closed');
    if (this.#failure !== undefined) throw new StoreError('fenced', this.#failure);
    try {
      const level = this.#level as unknown as Parameters<typeof rewriteRange>[0];
      // What a view of before can see is carried into the new files.
      await Promise.all(this.#views);
      await rewriteRange(level, from, to);
      // And one of meanwhile keeps the old files; they go with the first compaction after it.
      await Promise.all(this.#views);
      await level.compactRange(from, from);
    } catch (cause) {
      // A compaction that failed leaves LevelDB refusing every later write (facts.md F5).
      const failure = new StoreError(isFull(cause) ? 'full' : 'unknown', cause);
      if (readFault(cause) !== 'closed') this.#failure ??= failure;
      throw failure;
    }
  }

  async reopen(): Promise<void> {
    if (this.#closing !== undefined) throw new StoreError('closed');
    this.#failure ??= new StoreError('unknown');
    const work = this.#openAgain();
    this.#reopening = work.catch(() => {});
    try {
      await work;
      this.#failure = undefined;
    } finally {
      this.#reopening = undefined;
    }
  }

  /** LevelDB reads its write-ahead log into a new table, which it makes durable: so what a read
   *  finds from here on is on the disk, whatever the write that failed had left in the cache. */
  async #openAgain(): Promise<void> {
    await Promise.all(this.#underWay);
    try {
      await this.#level.close();
      await this.#level.open({ createIfMissing: false, errorIfExists: false });
    } catch (cause) {
      const fault = openFault(cause);
      throw new StoreError(fault === 'in-use' ? 'unknown' : fault, cause);
    }
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    await this.#reopening;
    await Promise.all(this.#underWay);
    await this.#level.close();
    await this.#lock.release();
  }
}

const readFault = (cause: unknown): 'closed' | 'corrupt' =>
  codeOf(cause) === 'LEVEL_DATABASE_NOT_OPEN' || codeOf(cause) === 'LEVEL_ITERATOR_NOT_OPEN'
    ? 'closed'
    : 'corrupt';

/** LevelDB gives the system's text and no number; this text is glibc's for ENOSPC and EDQUOT. */
const isFull = (cause: unknown): boolean =>
  cause instanceof Error && /No space left on device|Disk quota exceeded/.test(cause.message);
