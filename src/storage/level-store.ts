import { mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { Level } from 'level';
import { type Change, type RangeOptions, type Row, type Store, StoreError } from './store.ts';
import { lockFolder, type StoreLock } from './store-lock.ts';

export interface LevelStoreOptions {
  /** Absolute or relative; made (mode 0700) when `create` is set. */
  readonly folder: string;
  /** True makes a store where there is nothing, and only there; false opens one that is there. A
   *  store that lost its files is never taken for a new one (facts.md F7). */
  readonly create: boolean;
}

/** The file that names the live manifest. Without it LevelDB sees no database at all. */
const CURRENT = 'CURRENT';
const ROWS_A_READ = 1_000;

/** LevelDB behind `Store`. Rejects with `StoreError`: `in-use`, `missing`, `exists`, `corrupt`. */
export async function openLevelStore(options: LevelStoreOptions): Promise<Store> {
  const { folder, create } = options;
  if (create) await mkdir(folder, { recursive: true, mode: 0o700 });
  const names = await readdir(folder).catch((cause: unknown) => {
    throw new StoreError('missing', cause);
  });
  // Checked by us and not left to LevelDB: over orphaned tables it would start an empty store.
  if (create && names.length > 0) throw new StoreError('exists');
  if (!create && !names.includes(CURRENT)) throw new StoreError('missing');
  const lock = await lockFolder(folder);
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
    await level.open();
  } catch (cause) {
    await lock.release();
    throw new StoreError(openFault(cause), cause);
  }
  return new LevelStore(level, lock);
}

/** F8: what went wrong is in `cause.code`; the error's own code says only that it is not open. */
function openFault(error: unknown): 'in-use' | 'corrupt' {
  const cause = error instanceof Error ? (error.cause ?? error) : error;
  return codeOf(cause) === 'LEVEL_LOCKED' ? 'in-use' : 'corrupt';
}

function codeOf(error: unknown): unknown {
  return error instanceof Error && 'code' in error ? error.code : undefined;
}

class LevelStore implements Store {
  readonly #level: Level<Uint8Array, Uint8Array>;
  readonly #lock: StoreLock;
  /** The first failed write: the reason of the fence. */
  #failure: StoreError | undefined;
  #closing: Promise<void> | undefined;
  readonly #underWay = new Set<Promise<void>>();

  constructor(level: Level<Uint8Array, Uint8Array>, lock: StoreLock) {
    this.#level = level;
    this.#lock = lock;
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

  async getMany(keys: readonly Uint8Array[]): Promise<readonly (Uint8Array | undefined)[]> {
    if (this.#closing !== undefined) throw new StoreError('closed');
    try {
      return await this.#level.getMany(keys as Uint8Array[]);
    } catch (cause) {
      throw new StoreError(readFault(cause), cause);
    }
  }

  async *range(options: RangeOptions): AsyncGenerator<Row> {
    if (this.#closing !== undefined) throw new StoreError('closed');
    const snapshot = this.#level.snapshot();
    const iterator = this.#level.iterator({
      gte: options.from,
      lt: options.to,
      reverse: options.reverse ?? false,
      limit: options.limit ?? -1,
      snapshot,
    });
    try {
      for (;;) {
        const rows = await iterator.nextv(ROWS_A_READ);
        if (rows.length === 0) return;
        for (const [key, value] of rows) yield { key, value };
      }
    } catch (cause) {
      throw new StoreError(readFault(cause), cause);
    } finally {
      await iterator.close();
      await snapshot.close();
    }
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
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
