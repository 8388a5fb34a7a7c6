import { dirname } from 'node:path';
import { AuditError } from './audit-error.ts';
import { type Checkpoint, checkpointBody, openCheckpoint } from './checkpoint.ts';
import type { Disk } from './disk.ts';
import { formatNote, type Verifier } from './note.ts';
import {
  fullTiles,
  levelCount,
  partialFolder,
  partialWidth,
  TILE_WIDTH,
  TileBuilder,
  type TileKind,
  tilePath,
} from './tiles.ts';
import { EMPTY_ROOT, equalBytes } from './tree.ts';

export const CHECKPOINT_FILE = 'checkpoint';
/** Full tiles and bundles in memory before `pressure` asks for their writing: about 5 MiB. */
const WAITING_MAX = 32;

interface Waiting {
  readonly kind: TileKind;
  readonly index: number;
  readonly bytes: Uint8Array;
}

/** Turns acknowledged entries into tiles and signed checkpoints, apart from the append path. Order
 *  of a turn, each step durable before the next: full tiles, partial tiles, checkpoint. So no
 *  checkpoint covers what is not on disk, and since its size only grows over one unchanging
 *  sequence of durable entries, no two of them contradict each other. */
export class Publisher {
  readonly #disk: Disk;
  readonly #verifier: Verifier;
  readonly #sign: (message: Uint8Array) => Promise<Uint8Array>;
  readonly #builder: TileBuilder;
  readonly #waiting: Waiting[] = [];
  /** Partial tiles that lie on disk already, by path. */
  #partials = new Set<string>();
  /** Partial folders whose full tile is on disk. */
  #outgrown: string[] = [];
  #bundle = new Uint8Array(64 * 1024);
  #bundleBytes = 0;
  #published: Checkpoint;
  #turn: Promise<void> | undefined;
  #writing: Promise<void> | undefined;

  constructor(
    disk: Disk,
    verifier: Verifier,
    sign: (message: Uint8Array) => Promise<Uint8Array>,
    published: Checkpoint,
  ) {
    this.#disk = disk;
    this.#verifier = verifier;
    this.#sign = sign;
    this.#published = published;
    this.#builder = new TileBuilder((level, index, bytes) =>
      this.#waiting.push({ kind: level, index, bytes }),
    );
  }

  /** Begins at the published checkpoint: its partial tiles and the entries of its last bundle. */
  resume(partials: readonly Uint8Array[], lastEntries: readonly Uint8Array[]): void {
    this.#builder.resume(this.#published.size, partials);
    for (const entry of lastEntries) this.#addToBundle(entry);
  }

  get published(): Checkpoint {
    return this.#published;
  }

  /** Entries taken in, published or not. */
  get size(): number {
    return this.#builder.size;
  }

  /** RFC 6962 root over all that was taken in. */
  root(): Uint8Array {
    return this.#builder.root() ?? EMPTY_ROOT;
  }

  /** Takes in the next entry, which must be durable. The bytes are copied. */
  push(entry: Uint8Array, leaf: Uint8Array): void {
    this.#addToBundle(entry);
    this.#builder.push(leaf);
    if (this.#builder.size % TILE_WIDTH !== 0) return;
    const index = fullTiles(0, this.#builder.size) - 1;
    this.#waiting.push({
      kind: 'entries',
      index,
      bytes: this.#bundle.subarray(0, this.#bundleBytes),
    });
    this.#bundle = new Uint8Array(64 * 1024);
    this.#bundleBytes = 0;
  }

  #addToBundle(entry: Uint8Array): void {
    const end = this.#bundleBytes + 2 + entry.length;
    if (end > this.#bundle.length) {
      // Never in place: a turn may be writing the old buffer.
      const grown = new Uint8Array(Math.max(end, this.#bundle.length * 2));
      grown.set(this.#bundle.subarray(0, this.#bundleBytes));
      this.#bundle = grown;
    }
    this.#bundle[this.#bundleBytes] = entry.length >> 8;
    this.#bundle[this.#bundleBytes + 1] = entry.length & 0xff;
    this.#bundle.set(entry, this.#bundleBytes + 2);
    this.#bundleBytes = end;
  }

  /** Writes full tiles once enough of them wait, so that memory stays flat however long signing
   *  takes or fails. Nothing to wait for: undefined. */
  pressure(): Promise<void> | undefined {
    return this.#waiting.length < WAITING_MAX ? undefined : this.#writeFull();
  }

  /** Publishes a checkpoint over at least what was taken in before the call. */
  async publish(): Promise<void> {
    const wanted = this.#builder.size;
    while (this.#published.size < wanted) {
      // One turn at a time; who comes meanwhile waits for that one and looks again.
      this.#turn ??= this.#publishOnce().finally(() => {
        this.#turn = undefined;
      });
      await this.#turn;
    }
  }

  async #publishOnce(): Promise<void> {
    // All of it as of now; views stay as they are while later entries come in.
    const size = this.#builder.size;
    if (size <= this.#published.size) return;
    const root = this.root();
    const partials: Waiting[] = [];
    for (let level = 0; level < levelCount(size); level++) {
      const bytes = this.#builder.partial(level);
      if (bytes.length > 0) partials.push({ kind: level, index: fullTiles(level, size), bytes });
    }
    if (partialWidth(0, size) > 0) {
      const bytes = this.#bundle.subarray(0, this.#bundleBytes);
      partials.push({ kind: 'entries', index: fullTiles(0, size), bytes });
    }
    await this.#writeFull();
    await this.#writePartials(partials, size);
    await this.#disk.syncFolders();
    await this.#putCheckpoint(size, root);
    for (const folder of this.#outgrown.splice(0)) await this.#disk.remove(folder);
  }

  /** Apart from the turns: signing may be slow, and appends wait for this alone. */
  #writeFull(): Promise<void> {
    this.#writing ??= this.#writeWaiting().finally(() => {
      this.#writing = undefined;
    });
    return this.#writing;
  }

  async #writeWaiting(): Promise<void> {
    for (let tile = this.#waiting[0]; tile !== undefined; tile = this.#waiting[0]) {
      await this.#write(tilePath(tile.kind, tile.index, TILE_WIDTH), tile.bytes);
      this.#outgrown.push(partialFolder(tile.kind, tile.index));
      this.#waiting.shift();
    }
  }

  async #writePartials(partials: readonly Waiting[], size: number): Promise<void> {
    const written = new Set<string>();
    for (const { kind, index, bytes } of partials) {
      const path = tilePath(kind, index, partialWidth(kind === 'entries' ? 0 : kind, size));
      if (!this.#partials.has(path)) await this.#write(path, bytes);
      written.add(path);
    }
    this.#partials = written;
  }

  async #write(path: string, bytes: Uint8Array): Promise<void> {
    await this.#disk.makeFolder(dirname(path));
    await this.#disk.replace(path, bytes);
  }

  /** Signs, checks, makes durable, and only then shows. A crash before the rename leaves the older
   *  checkpoint, which covers a beginning of the same entries. */
  async #putCheckpoint(size: number, root: Uint8Array): Promise<void> {
    const body = checkpointBody(this.#verifier.name, size, root);
    const signature = await this.#sign(Buffer.from(body, 'utf8'));
    const note = Buffer.from(formatNote(body, this.#verifier, signature), 'utf8');
    // A module that signs wrongly is found here, not by an auditor.
    const checkpoint = openCheckpoint(note, this.#verifier);
    if (checkpoint.size !== size || !equalBytes(checkpoint.root, root)) {
      throw new AuditError('signature', 'the checkpoint does not read as it was written');
    }
    await this.#disk.put(CHECKPOINT_FILE, note);
    this.#published = checkpoint;
  }

  /** The very first checkpoint, of no entries: from here on a log without one is a lost one. */
  async publishEmpty(): Promise<void> {
    await this.#putCheckpoint(0, EMPTY_ROOT);
  }
}
