import { readdir } from 'node:fs/promises';
import { AuditError } from './audit-error.ts';
import { type Checkpoint, openCheckpoint } from './checkpoint.ts';
import { Disk } from './disk.ts';
import { type JournalStep, readHeads, walkJournal } from './fsck-journal.ts';
import { listSegments } from './journal.ts';
import { parseVerifierKey, type Verifier } from './note.ts';
import { CHECKPOINT_FILE } from './publisher.ts';
import { firstEntry } from './tile-store.ts';
import {
  decodeBundle,
  fullTiles,
  partialFolder,
  partialWidth,
  TILE_WIDTH,
  TileBuilder,
  type TileKind,
  tilePath,
} from './tiles.ts';
import { EMPTY_ROOT, equalBytes, HASH_BYTES, leafHash } from './tree.ts';

const FINDINGS_MAX = 100;

export interface FsckOptions {
  /** A checkpoint kept elsewhere: the log must still be one that grew from it. */
  readonly older?: Uint8Array;
  /** Called after each 256 entries. `total` is an estimate while the log grows. */
  readonly onProgress?: (done: number, total: number) => void;
}

export interface Finding {
  /** No entry before it is in doubt by this finding. */
  readonly index: number;
  readonly what: string;
}

export interface LogReport {
  readonly ok: boolean;
  /** Entries that the published checkpoint covers. */
  readonly size: number;
  /** Entries in the journal, covered or not. */
  readonly entries: number;
  /** First entry whose sealed body is still there. */
  readonly bodiesFrom: number;
  /** Checkpoints whose root was found: the published one, those in the heads of the journal's
   *  segments, the older one given. */
  readonly checkpoints: number;
  /** Bytes of an append under way or cut short by a crash; no fault. */
  readonly tornBytes: number;
  /** First entry in doubt. */
  readonly firstBadIndex: number | undefined;
  /** The first hundred met; not ascending. */
  readonly findings: readonly Finding[];
}

/** Reads the whole log again: every entry against its leaf hash in the tiles and in the journal,
 *  every tile against those below it, every checkpoint against the root of its size. Needs no key
 *  but the verifier key (its text form or read). Safe beside a running log; changes nothing. Sealed
 *  bodies are checked by checksum only: what they say is bound by the body hash in the entry, which
 *  takes the key. Throws AuditError `signature` for an older checkpoint that is not of this log. */
export async function fsckLog(
  folder: string,
  verifier: Verifier | string,
  options: FsckOptions = {},
): Promise<LogReport> {
  const key = typeof verifier === 'string' ? parseVerifierKey(verifier) : verifier;
  const walk = new Walk(new Disk(folder), key, options);
  return walk.run();
}

class Walk {
  readonly #disk: Disk;
  readonly #verifier: Verifier;
  readonly #options: FsckOptions;
  readonly #findings: Finding[] = [];
  #firstBad: number | undefined;
  /** Full tiles of levels above 0, to be compared with the files. */
  readonly #above: { level: number; index: number; bytes: Uint8Array }[] = [];
  readonly #builder = new TileBuilder((level, index, bytes) => {
    if (level > 0) this.#above.push({ level, index, bytes });
  });
  #checkpoints: readonly Checkpoint[] = [];
  #checked = 0;
  /** Size of the largest checkpoint whose root was found. */
  #proven = 0;
  #size = 0;
  #tornBytes = 0;
  #journalBad = false;

  constructor(disk: Disk, verifier: Verifier, options: FsckOptions) {
    this.#disk = disk;
    this.#verifier = verifier;
    this.#options = options;
  }

  async run(): Promise<LogReport> {
    const older =
      this.#options.older === undefined
        ? []
        : [openCheckpoint(this.#options.older, this.#verifier)];
    // The checkpoint first: a running log may publish more, but never less.
    const published = await this.#published();
    const segments = await listSegments(this.#disk);
    const heads = await readHeads(this.#disk, segments);
    const past = heads.flatMap((head) => (head instanceof AuditError ? [] : this.#past(head)));
    this.#checkpoints = [...published, ...older, ...past].sort((a, b) => a.size - b.size);
    this.#size = published[0]?.size ?? 0;
    this.#proveRoots();
    const journal = new Cursor(walkJournal(this.#disk, segments, heads));
    await this.#walkTiles(journal);
    const entries = Math.max(journal.end, 0);
    if (entries < this.#size && !this.#journalBad)
      this.#bad(entries, 'the journal ends before the checkpoint');
    for (const { size } of this.#checkpoints.slice(this.#checked)) {
      this.#bad(this.#builder.size, `a checkpoint covers ${size} entries, more than there are`);
    }
    return {
      ok: this.#findings.length === 0,
      size: this.#size,
      entries,
      bodiesFrom: segments[0] ?? entries,
      checkpoints: this.#checked,
      tornBytes: this.#tornBytes,
      firstBadIndex: this.#firstBad,
      findings: this.#findings,
    };
  }

  #bad(index: number, what: string): void {
    this.#firstBad = Math.min(index, this.#firstBad ?? index);
    if (this.#findings.length < FINDINGS_MAX) this.#findings.push({ index, what });
  }

  async #published(): Promise<readonly Checkpoint[]> {
    const note = await this.#disk.read(CHECKPOINT_FILE);
    try {
      if (note === undefined) throw new AuditError('missing', 'the checkpoint');
      return [openCheckpoint(note, this.#verifier)];
    } catch (error) {
      if (!(error instanceof AuditError)) throw error;
      this.#bad(0, `the checkpoint: ${error.fault}`);
      return [];
    }
  }

  #past(head: { readonly first: number; readonly checkpoint: string }): readonly Checkpoint[] {
    if (head.checkpoint === '' && head.first === 0) return [];
    try {
      return [openCheckpoint(Buffer.from(head.checkpoint, 'utf8'), this.#verifier)];
    } catch (error) {
      if (!(error instanceof AuditError)) throw error;
      this.#bad(head.first, 'the checkpoint in the head of a journal segment');
      return [];
    }
  }

  /** Tile by tile: leaves from the journal, or from the bundle where the journal has none, compared
   *  with every file that speaks of them. */
  async #walkTiles(journal: Cursor): Promise<void> {
    for (let index = 0; ; index++) {
      const leaves = await this.#leavesOf(index, journal);
      if (leaves.length > 0) {
        await this.#compare('entries', index, leaves);
        await this.#compare(0, index, leaves);
      }
      for (const leaf of leaves) {
        this.#builder.push(leaf);
        this.#proveRoots();
      }
      for (const tile of this.#above.splice(0)) {
        await this.#compare(tile.level, tile.index, hashesOf(tile.bytes));
      }
      this.#options.onProgress?.(this.#builder.size, Math.max(this.#size, this.#builder.size));
      if (leaves.length < TILE_WIDTH) break;
    }
    await this.#compareEdge();
  }

  /** The leaf hashes of one tile. Where journal, bundle and tile differ, two outvote the third, so
   *  that a root that fails means more than the difference already reported. */
  async #leavesOf(tile: number, journal: Cursor): Promise<Uint8Array[]> {
    const start = tile * TILE_WIDTH;
    const bundle = await this.#any('entries', tile);
    const entries = bundle === undefined ? [] : decodeBundle(bundle);
    const hashes = hashesOf((await this.#any(0, tile)) ?? new Uint8Array(0));
    const leaves: Uint8Array[] = [];
    for (let i = 0; i < TILE_WIDTH; i++) {
      const written = await journal.at(start + i, (found) => this.#note(found));
      // Beyond the checkpoint only the journal counts; leftovers of a crash are compared with it.
      if (written === undefined && start + i >= this.#size) break;
      const entry = entries[i];
      const bundled = entry === undefined ? undefined : leafHash(entry);
      const leaf = elect(written, bundled, hashes[i]);
      if (leaf === undefined) break;
      if (written !== undefined && !equalBytes(written, leaf)) {
        this.#bad(start + i, 'the journal and the tiles differ');
      }
      leaves.push(leaf);
    }
    const wanted = Math.min(TILE_WIDTH, this.#size - start);
    if (leaves.length < wanted) this.#bad(start + leaves.length, 'an entry is missing');
    return leaves;
  }

  #note(step: JournalStep): void {
    if (step.kind === 'bad') {
      this.#journalBad = true;
      this.#bad(step.index, step.what);
    }
    if (step.kind === 'torn') this.#tornBytes = step.bytes;
  }

  async #any(kind: TileKind, tile: number): Promise<Uint8Array | undefined> {
    const full = await this.#disk.read(tilePath(kind, tile, TILE_WIDTH));
    const width = partialWidth(0, this.#size);
    if (full !== undefined || width === 0) return full;
    return this.#disk.read(tilePath(kind, tile, width));
  }

  /** Compares every file of one tile, full or partial, with what it should hold, and sees that the
   *  one is there that the checkpoint calls for. */
  async #compare(kind: TileKind, index: number, wanted: readonly Uint8Array[]): Promise<void> {
    const level = kind === 'entries' ? 0 : kind;
    const name = `tile/${kind} ${index}`;
    const span = TILE_WIDTH ** level;
    const start = firstEntry(kind, index);
    const folder = this.#disk.path(partialFolder(kind, index));
    const partials = (await readdir(folder).catch(() => [])).map(Number);
    let widest = 0;
    for (const width of [...partials, TILE_WIDTH]) {
      const bytes = await this.#disk.read(tilePath(kind, index, width));
      if (bytes === undefined) continue;
      widest = Math.max(widest, width);
      const found = kind === 'entries' ? decodeBundle(bytes).map(leafHash) : hashesOf(bytes);
      const differs = found.findIndex((hash, i) => {
        const right = wanted[i];
        return right === undefined || !equalBytes(hash, right);
      });
      const place = differs < 0 ? Math.min(found.length, width) : differs;
      if (differs >= 0 || found.length !== width) this.#bad(start + place * span, name);
    }
    const full = index < fullTiles(level, this.#size);
    const edge = index === fullTiles(level, this.#size) ? partialWidth(level, this.#size) : 0;
    const needed = full ? TILE_WIDTH : edge;
    const there = widest === TILE_WIDTH || needed === 0 || partials.includes(needed);
    if (!there) this.#bad(start, `${name} is missing`);
  }

  /** Partial tiles above level 0, and whatever lies beyond the last entry. */
  async #compareEdge(): Promise<void> {
    const { size } = this.#builder;
    for (let level = 1; TILE_WIDTH ** (level - 1) <= size; level++) {
      await this.#compare(level, fullTiles(level, size), hashesOf(this.#builder.partial(level)));
    }
    if (partialWidth(0, size) !== 0) return;
    await this.#compare('entries', fullTiles(0, size), []);
    await this.#compare(0, fullTiles(0, size), []);
  }

  #proveRoots(): void {
    for (;;) {
      const next = this.#checkpoints[this.#checked];
      if (next === undefined || next.size !== this.#builder.size) return;
      this.#checked++;
      if (equalBytes(this.#builder.root() ?? EMPTY_ROOT, next.root)) this.#proven = next.size;
      else this.#bad(this.#proven, `fork: the checkpoint of size ${next.size} has another root`);
    }
  }
}

function elect(
  written: Uint8Array | undefined,
  bundled: Uint8Array | undefined,
  hashed: Uint8Array | undefined,
): Uint8Array | undefined {
  const first = written ?? bundled ?? hashed;
  if (first === undefined || bundled === undefined || hashed === undefined) return first;
  return equalBytes(bundled, hashed) ? bundled : first;
}

/** A look at a journal walk by index, which only rises. */
class Cursor {
  readonly #steps: AsyncGenerator<JournalStep>;
  #ahead: JournalStep | undefined;
  /** One past the last record met. */
  end = 0;

  constructor(steps: AsyncGenerator<JournalStep>) {
    this.#steps = steps;
  }

  /** The leaf hash of the entry; undefined where the journal has none. */
  async at(index: number, note: (step: JournalStep) => void): Promise<Uint8Array | undefined> {
    for (;;) {
      this.#ahead ??= (await this.#steps.next()).value as JournalStep | undefined;
      const step = this.#ahead;
      if (step === undefined) return undefined;
      if (step.kind === 'record') {
        if (step.index > index) return undefined;
        this.end = step.index + 1;
        this.#ahead = undefined;
        if (step.index === index) return step.leaf;
        continue;
      }
      note(step);
      this.#ahead = undefined;
    }
  }
}

function hashesOf(bytes: Uint8Array): Uint8Array[] {
  const hashes: Uint8Array[] = [];
  for (let at = 0; at < bytes.length; at += HASH_BYTES) {
    hashes.push(bytes.subarray(at, at + HASH_BYTES));
  }
  return hashes;
}
