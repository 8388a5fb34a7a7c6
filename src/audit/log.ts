import { CallError } from '../base/call-error.ts';
import type { Clock } from '../base/clock.ts';
import { formatProof } from './checkpoint.ts';
import { Disk } from './disk.ts';
import { inTime } from './in-time.ts';
import { Journal } from './journal.ts';
import { type FolderLock, lockFolder } from './lock.ts';
import { type Verifier, verifierOf } from './note.ts';
import type { Publisher } from './publisher.ts';
import { recover } from './recover.ts';
import { TileStore } from './tile-store.ts';
import { TILE_WIDTH } from './tiles.ts';
import { consistencyProof, HASH_BYTES, inclusionProof } from './tree.ts';

/** What the log may be told, and what it is told with. */
export interface LogOptions {
  /** Made with mode 0700 where it is absent. On one filesystem, local. */
  readonly folder: string;
  /** Checkpoint origin and key name, e.g. `lockstep.example/log`: no spaces, no plus. */
  readonly origin: string;
  /** Ed25519 over the bytes (RFC 8032): 64 bytes. May be slow or fail; it is tried again. */
  readonly sign: (message: Uint8Array) => Promise<Uint8Array>;
  /** Raw Ed25519 public key of `sign`, 32 bytes. */
  readonly publicKey: Uint8Array;
  readonly clock: Clock;
  /** A new entry is covered by a checkpoint within this time. Default 1,000. */
  readonly checkpointMs?: number;
  /** A journal segment is closed once it is longer. Default 64 MiB. */
  readonly segmentBytesMax?: number;
  /** An append that the disk does not answer for so long fences the log. Default 10,000. */
  readonly appendMsMax?: number;
  /** False: an empty folder is a lost log and refused. Default true. */
  readonly create?: boolean;
  /** Things an operator should read; never values. */
  readonly onEvent?: (event: LogEvent) => void;
}

export type LogEvent =
  /** At open: bytes of an append that nobody was told of were cut off. */
  | { readonly kind: 'torn-tail'; readonly index: number; readonly bytes: number }
  /** Signing or writing a checkpoint failed; it is tried again. */
  | { readonly kind: 'checkpoint-failed'; readonly cause: unknown }
  /** No entry is taken any more until the log is opened again. */
  | { readonly kind: 'fenced'; readonly cause: unknown };

export interface LogRecord {
  /** `encodeEntry`'s bytes, 1 to 65,535. */
  readonly entry: Uint8Array;
  /** Sealed body; empty for none. */
  readonly body: Uint8Array;
}

export interface Appended {
  /** Index of the first record; the others follow it. */
  readonly firstIndex: number;
  /** RFC 6962 leaf hashes, 32 bytes a record. */
  readonly leafHashes: Uint8Array;
}

/** The transparency log. One owner a folder, on the main thread. */
export interface AuditLog {
  /** Entries acknowledged. */
  readonly size: number;
  /** True from the first failed write until the log is opened again: reads only. */
  readonly fenced: boolean;
  /** What every append is answered now, its cause being why; undefined while all is well. */
  readonly refusal: CallError | undefined;
  /** After a failed append: recovers from the files as opening does, and goes on. Entries of an
   *  append whose outcome was unknown may have survived, from the old `size` on; resolves to how
   *  many. Reads and proofs go on meanwhile. Rejects with `AuditError` where acknowledged entries
   *  are gone, with LOG_UNAVAILABLE while the disk still holds a write, or with what the disk said;
   *  the log stays fenced then. One at a time. */
  reopen(): Promise<number>;
  /** Durable (one synchronous write for all of them) before it resolves. Rejects with
   *  LOG_UNAVAILABLE; the outcome is then unknown and the log fenced. Calls queue up. */
  append(records: readonly LogRecord[]): Promise<Appended>;
  /** The checkpoint as last published. */
  head(): { readonly size: number; readonly root: Uint8Array; readonly checkpoint: string };
  /** Publishes a checkpoint over all that was acknowledged before the call. */
  flush(): Promise<void>;
  /** Throws RangeError for an index not below `size`. */
  entry(index: number): Promise<Uint8Array>;
  /** The sealed body; empty for none, undefined once retention dropped it. */
  body(index: number): Promise<Uint8Array | undefined>;
  /** The entry and its C2SP tlog-proof, after the next checkpoint that covers it. */
  proof(index: number): Promise<{ readonly leaf: Uint8Array; readonly text: string }>;
  /** RFC 6962 consistency proof from an older checkpoint's size (from 1) to `head()`. */
  consistency(fromSize: number): Promise<readonly Uint8Array[]>;
  /** Entries from `index` up to `size` as of the call, ascending. */
  entriesFrom(index: number): AsyncIterable<{ readonly index: number; readonly entry: Uint8Array }>;
  /** Waits for the append under way, publishes a last checkpoint, lets go of the folder. */
  close(): Promise<void>;
}

const ENTRY_BYTES_MAX = 65_535; // A bundle counts them in 16 bits.

/** Opens the log, or makes it where the folder is empty. Verifies the last checkpoint, the right
 *  edge and the entries since; refuses with AuditError whatever is not just an unacknowledged tail.
 *  `before` is for tests that end the run between two file operations. */
export async function openLog(
  options: LogOptions,
  before?: (operation: string) => void,
): Promise<AuditLog> {
  const verifier = verifierOf(options.origin, options.publicKey);
  const disk = new Disk(options.folder, before);
  if (options.create ?? true) await disk.makeFolder('.');
  const lock = await lockFolder(options.folder);
  try {
    const found = await openFiles(options, disk, verifier);
    return new Log(options, { disk, lock, verifier, ...found });
  } catch (error) {
    await lock.release();
    throw error;
  }
}

/** What the files hold, ready to be gone on with; `known` of a log that was open before. */
async function openFiles(
  options: LogOptions,
  disk: Disk,
  verifier: Verifier,
  known?: { readonly size: number; readonly root: Uint8Array },
): Promise<Pick<Parts, 'journal' | 'publisher'>> {
  const create = known === undefined && (options.create ?? true);
  const found = await recover(disk, { verifier, sign: options.sign, create, known });
  if (found.tornBytes > 0) {
    const { size: index } = found.journal;
    options.onEvent?.({ kind: 'torn-tail', index, bytes: found.tornBytes });
  }
  const segmentBytesMax = options.segmentBytesMax ?? 64 * 2 ** 20;
  const journal = await Journal.open(disk, segmentBytesMax, found.journal);
  return { journal, publisher: found.publisher };
}

interface Parts {
  readonly disk: Disk;
  readonly lock: FolderLock;
  readonly verifier: Verifier;
  readonly journal: Journal;
  readonly publisher: Publisher;
}

class Log implements AuditLog {
  readonly #options: LogOptions;
  readonly #disk: Disk;
  readonly #lock: FolderLock;
  readonly #verifier: Verifier;
  #journal: Journal;
  #publisher: Publisher;
  readonly #tiles: TileStore;
  readonly #onEvent: (event: LogEvent) => void;
  readonly #checkpointMs: number;
  readonly #appendMsMax: number;
  /** The appends so far, in a row; it never rejects. */
  #last: Promise<unknown> = Promise.resolve();
  #fence: CallError | undefined;
  #closed = false;
  #writing = false;
  #timer: NodeJS.Timeout | undefined;
  /** The publication that is due; all who wait for a checkpoint wait for it. */
  #due: Promise<void> | undefined;
  #hurry: (() => void) | undefined;
  /** Nothing is published meanwhile; it never rejects. */
  #reopening: Promise<void> | undefined;

  constructor(options: LogOptions, parts: Parts) {
    this.#options = options;
    this.#disk = parts.disk;
    this.#lock = parts.lock;
    this.#verifier = parts.verifier;
    this.#journal = parts.journal;
    this.#publisher = parts.publisher;
    this.#tiles = new TileStore(parts.disk);
    this.#onEvent = options.onEvent ?? (() => {});
    this.#checkpointMs = options.checkpointMs ?? 1_000;
    this.#appendMsMax = options.appendMsMax ?? 10_000;
    if (this.#publisher.size > this.#publisher.published.size) this.#schedule();
  }

  get size(): number {
    return this.#publisher.size;
  }

  get fenced(): boolean {
    return this.#fence !== undefined;
  }

  get refusal(): CallError | undefined {
    return this.#fence;
  }

  append(records: readonly LogRecord[]): Promise<Appended> {
    for (const { entry } of records) {
      if (entry.length === 0 || entry.length > ENTRY_BYTES_MAX) {
        return Promise.reject(new RangeError('an entry has 1 to 65,535 bytes'));
      }
    }
    const result = this.#last.then(() => this.#append(records));
    this.#last = result.catch(() => {});
    return result;
  }

  async #append(records: readonly LogRecord[]): Promise<Appended> {
    if (this.#fence !== undefined) throw this.#fence;
    if (this.#closed) throw new CallError('DRAINING');
    const firstIndex = this.#journal.size;
    const leafHashes = new Uint8Array(records.length * HASH_BYTES);
    if (records.length === 0) return { firstIndex, leafHashes };
    try {
      await inTime(this.#write(records, leafHashes), this.#appendMsMax);
    } catch (cause) {
      throw this.#refuse(cause);
    }
    // A disk that answered after its time left the log fenced, and nobody may count on the write.
    for (const [i, { entry }] of records.entries()) {
      this.#publisher.push(entry, leafHashes.subarray(i * HASH_BYTES, (i + 1) * HASH_BYTES));
    }
    this.#schedule();
    return { firstIndex, leafHashes };
  }

  async #write(records: readonly LogRecord[], leafHashes: Uint8Array): Promise<void> {
    this.#writing = true;
    try {
      // Full tiles go out before more comes in, so that a tile disk in trouble is felt here.
      await this.#publisher.pressure();
      await this.#journal.append(records, leafHashes, () => this.#publisher.published.text);
    } finally {
      this.#writing = false;
    }
  }

  #refuse(cause: unknown): CallError {
    if (this.#fence === undefined) {
      this.#fence = new CallError('LOG_UNAVAILABLE', { cause, retryDelayMs: 250 });
      this.#onEvent({ kind: 'fenced', cause });
    }
    return this.#fence;
  }

  async reopen(): Promise<number> {
    if (this.#closed) throw new CallError('DRAINING');
    if (this.#fence === undefined) return 0;
    await this.#last;
    // What the disk still holds may yet land where the next append would go.
    if (this.#writing) throw new CallError('LOG_UNAVAILABLE');
    const before = this.size;
    const done = Promise.withResolvers<void>();
    this.#reopening = done.promise;
    try {
      this.#hurry?.();
      await this.#due?.catch(() => {});
      const known = { size: before, root: this.#publisher.root() };
      const found = await openFiles(this.#options, this.#disk, this.#verifier, known);
      this.#journal.close();
      this.#journal = found.journal;
      this.#publisher = found.publisher;
      this.#fence = undefined;
    } finally {
      this.#reopening = undefined;
      done.resolve();
    }
    if (this.#publisher.size > this.#publisher.published.size) this.#schedule();
    return this.size - before;
  }

  head(): { readonly size: number; readonly root: Uint8Array; readonly checkpoint: string } {
    const { size, root, text } = this.#publisher.published;
    return { size, root, checkpoint: text };
  }

  /** Publishes soon, unless that is under way. */
  #schedule(): void {
    if (this.#due !== undefined || this.#closed || this.#reopening !== undefined) return;
    const due = this.#wait().then(() =>
      this.#reopening === undefined ? this.#publish() : undefined,
    );
    this.#due = due;
    due
      .then(() => {
        this.#due = undefined;
        if (this.#publisher.size > this.#publisher.published.size) this.#schedule();
      })
      .catch((cause: unknown) => {
        this.#due = undefined;
        this.#onEvent({ kind: 'checkpoint-failed', cause });
        this.#schedule();
      });
  }

  /** Three quarters of the promised time; the rest is for writing and signing. */
  #wait(): Promise<void> {
    return new Promise((resolve) => {
      this.#timer = setTimeout(resolve, this.#checkpointMs * 0.75);
      this.#hurry = resolve;
    });
  }

  async #publish(): Promise<void> {
    try {
      await this.#journal.refuseIfReplaced();
    } catch (cause) {
      throw this.#refuse(cause);
    }
    await this.#publisher.publish();
  }

  async flush(): Promise<void> {
    await this.#last;
    await this.#covered(this.size, true);
  }

  /** Resolves once a checkpoint covers `size` entries. */
  async #covered(size: number, now: boolean): Promise<void> {
    while (this.#publisher.published.size < size) {
      await this.#reopening;
      this.#schedule();
      if (now) this.#hurry?.();
      if (this.#due === undefined) throw new CallError('DRAINING');
      try {
        await this.#due;
      } catch (cause) {
        throw new CallError('LOG_UNAVAILABLE', { cause });
      }
    }
  }

  async entry(index: number): Promise<Uint8Array> {
    this.#check(index);
    const { size } = this.#publisher.published;
    if (index < size) {
      const tile = Math.floor(index / TILE_WIDTH);
      const width = Math.min(TILE_WIDTH, size - tile * TILE_WIDTH);
      return new Uint8Array((await this.#tiles.entries(tile, width))[index % TILE_WIDTH]!);
    }
    const record = await this.#journal.record(index);
    // Beyond the checkpoint no segment is ever dropped.
    if (record === undefined) throw new CallError('RECORD_CORRUPT');
    return new Uint8Array(record.entry);
  }

  async body(index: number): Promise<Uint8Array | undefined> {
    this.#check(index);
    const record = await this.#journal.record(index);
    return record === undefined ? undefined : new Uint8Array(record.body);
  }

  #check(index: number): void {
    if (!Number.isSafeInteger(index) || index < 0 || index >= this.size) {
      throw new RangeError('no such entry');
    }
  }

  async proof(index: number): Promise<{ readonly leaf: Uint8Array; readonly text: string }> {
    this.#check(index);
    await this.#covered(index + 1, false);
    const { size, text } = this.#publisher.published;
    const path = await inclusionProof(index, size, this.#tiles.nodes(size));
    return { leaf: await this.entry(index), text: formatProof(index, path, text) };
  }

  consistency(fromSize: number): Promise<readonly Uint8Array[]> {
    const { size } = this.#publisher.published;
    return consistencyProof(fromSize, size, this.#tiles.nodes(size));
  }

  async *entriesFrom(
    index: number,
  ): AsyncGenerator<{ readonly index: number; readonly entry: Uint8Array }> {
    const end = this.size;
    let at = index;
    for (let { size } = this.#publisher.published; at < Math.min(size, end); ) {
      const tile = Math.floor(at / TILE_WIDTH);
      const width = Math.min(TILE_WIDTH, size - tile * TILE_WIDTH);
      const entries = await this.#tiles.entries(tile, width);
      for (; at < tile * TILE_WIDTH + width; at++) {
        yield { index: at, entry: entries[at % TILE_WIDTH]! };
      }
    }
    for await (const { index: place, record } of this.#journal.records(at, end)) {
      yield { index: place, entry: new Uint8Array(record.entry) };
    }
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    try {
      await this.flush();
    } catch {
      // What is acknowledged is in the journal; the next opening publishes it.
    }
    this.#closed = true;
    clearTimeout(this.#timer);
    await this.#reopening;
    await this.#last;
    // A write that the disk still holds must not meet a descriptor that means another file.
    if (!this.#writing) this.#journal.close();
    await this.#lock.release();
  }
}
