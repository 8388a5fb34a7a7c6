import { open, readdir } from 'node:fs/promises';
import { AuditError } from './audit-error.ts';
import { type Checkpoint, openCheckpoint } from './checkpoint.ts';
import { Disk } from './disk.ts';
import { fsckLog } from './fsck.ts';
import { type JournalState, listSegments, Marks, openSegment } from './journal.ts';
import type { Verifier } from './note.ts';
import { CHECKPOINT_FILE, Publisher } from './publisher.ts';
import { scanGroups, type Tail } from './scan.ts';
import { encodeSegmentHead, type ReadRecord, readSegmentHead, segmentName } from './segment.ts';
import { TileStore } from './tile-store.ts';
import {
  fullTiles,
  levelCount,
  partialFolder,
  partialWidth,
  TILE_WIDTH,
  TileBuilder,
  tilePath,
} from './tiles.ts';
import { EMPTY_ROOT, equalBytes, HASH_BYTES, leafHash } from './tree.ts';

const SCAN_BYTES = 1024 * 1024;
const TILE_BYTES = TILE_WIDTH * HASH_BYTES;

export interface Recovered {
  readonly journal: JournalState;
  readonly publisher: Publisher;
  /** Bytes of an unacknowledged append that were cut off. */
  readonly tornBytes: number;
}

export interface RecoverOptions {
  readonly verifier: Verifier;
  readonly sign: (message: Uint8Array) => Promise<Uint8Array>;
  readonly create: boolean;
  /** What was acknowledged before, in this process: all of it must be there still. */
  readonly known: { readonly size: number; readonly root: Uint8Array } | undefined;
}

/** Brings the log to a state from which it may go on: checkpoint, right edge and later entries are
 *  verified, an unacknowledged tail is cut off. Throws AuditError for anything else that is wrong.
 *  */
export async function recover(disk: Disk, options: RecoverOptions): Promise<Recovered> {
  await disk.remove('tmp');
  for (const folder of ['tmp', 'journal', 'tile']) await disk.makeFolder(folder);
  await disk.syncFolders();
  const note = await disk.read(CHECKPOINT_FILE);
  if (note === undefined) return initialise(disk, options);
  const checkpoint = openCheckpoint(note, options.verifier);
  const publisher = new Publisher(disk, options.verifier, options.sign, checkpoint);
  const edge = await resumeAtEdge(disk, publisher, checkpoint, options.verifier);
  const { known } = options;
  refuseOtherRoot(publisher, known);
  const found = await scanJournal(disk, publisher, { ...edge, known });
  if (known !== undefined && publisher.size < known.size) {
    throw new AuditError('missing', 'acknowledged entries', publisher.size);
  }
  await refuseLaterTiles(disk, found.journal.size);
  return { ...found, publisher };
}

/** A log begins with a signed checkpoint of no entries, before the first append: so entries without
 *  any checkpoint are a log that lost it, never a young one. */
async function initialise(disk: Disk, options: RecoverOptions): Promise<Recovered> {
  const segments = await listSegments(disk);
  const tiles = await readdir(disk.path('tile'));
  const head = encodeSegmentHead(0, '');
  const begun = segments.length === 0 ? undefined : await disk.read(segmentName(segments[0]!));
  const young = segments.length === 0 || (segments.length === 1 && begun?.equals(head) === true);
  if (!young || tiles.length > 0) throw new AuditError('missing', 'the checkpoint', 0);
  if (!options.create) throw new AuditError('missing', 'the log is empty', 0);
  await disk.put(segmentName(0), head);
  const empty = { origin: options.verifier.name, size: 0, root: EMPTY_ROOT, text: '' };
  const publisher = new Publisher(disk, options.verifier, options.sign, empty);
  await publisher.publishEmpty();
  const journal = { segments: [0], size: 0, end: head.length, marks: new Marks() };
  return { journal, publisher, tornBytes: 0 };
}

/** Reads the rightmost tiles and proves them by the checkpoint's root, and the last bundle by its
 *  leaf hashes. */
async function resumeAtEdge(
  disk: Disk,
  publisher: Publisher,
  { size, root }: Checkpoint,
  verifier: Verifier,
): Promise<Omit<Edge, 'known'>> {
  const store = new TileStore(disk);
  try {
    const partials: Uint8Array[] = [];
    for (let level = 0; level < levelCount(size); level++) {
      const width = partialWidth(level, size);
      const index = fullTiles(level, size);
      partials.push(width === 0 ? new Uint8Array(0) : await store.hashes(level, index, width));
    }
    const edge = new TileBuilder(() => {});
    edge.resume(size, partials);
    if (!equalBytes(edge.root() ?? EMPTY_ROOT, root)) {
      throw new AuditError('damaged', 'the right edge does not give the root of the checkpoint');
    }
    const last = await lastBundle(store, size);
    publisher.resume(partials, last.hashes.length === TILE_BYTES ? [] : last.entries);
    return { size, hashes: last.hashes };
  } catch (error) {
    if (!(error instanceof AuditError)) throw error;
    // Which entry it is takes a walk over the whole log; the start is refused anyway.
    const report = await fsckLog(disk.path(''), verifier);
    const index = report.firstBadIndex ?? error.index;
    throw new AuditError(error.fault, 'the right edge', index, error);
  }
}

/** Where as many entries are there as were acknowledged, they must be those. */
function refuseOtherRoot(publisher: Publisher, known: RecoverOptions['known']): void {
  if (known === undefined || publisher.size !== known.size) return;
  if (!equalBytes(publisher.root(), known.root)) {
    throw new AuditError('damaged', 'other entries than those acknowledged');
  }
}

/** What the checkpoint says of the journal: its size, and the leaf hashes of the last bundle. */
interface Edge {
  readonly size: number;
  readonly hashes: Uint8Array;
  readonly known: RecoverOptions['known'];
}

/** The last bundle, full or partial, its entries hashed again. */
async function lastBundle(
  store: TileStore,
  size: number,
): Promise<{ readonly entries: readonly Uint8Array[]; readonly hashes: Uint8Array }> {
  if (size === 0) return { entries: [], hashes: new Uint8Array(0) };
  const index = Math.floor((size - 1) / TILE_WIDTH);
  const width = size - index * TILE_WIDTH;
  const hashes = await store.hashes(0, index, width);
  const entries = await store.entries(index, width);
  for (const [i, entry] of entries.entries()) {
    if (!equalBytes(leafHash(entry), hashAt(hashes, i))) {
      throw new AuditError('damaged', 'an entry of the last bundle', index * TILE_WIDTH + i);
    }
  }
  return { entries, hashes };
}

const hashAt = (hashes: Uint8Array, place: number): Uint8Array =>
  hashes.subarray(place * HASH_BYTES, (place + 1) * HASH_BYTES);

/** Walks the segments from the one that holds the checkpoint's end, checks every record, cuts off a
 *  torn tail, and hands the entries after the checkpoint to the publisher. */
async function scanJournal(
  disk: Disk,
  publisher: Publisher,
  edge: Edge,
): Promise<Omit<Recovered, 'publisher'>> {
  const from = edge.size;
  const segments = await listSegments(disk);
  const start = segments.findLastIndex((first) => first <= from);
  if (start < 0) throw new AuditError('missing', 'the journal', from);
  let index = segments[start]!;
  let found: Scanned | undefined;
  for (const first of segments.slice(start)) {
    if (first !== index) throw new AuditError('missing', 'a journal segment', index);
    found = await scanSegment(disk, first, publisher, edge);
    const { tail } = found;
    // Only the last append of all can be torn.
    const last = first === segments[segments.length - 1];
    if (tail.kind === 'damaged' || (tail.kind === 'torn' && !last)) {
      throw new AuditError('damaged', 'the journal', tail.index);
    }
    index = tail.index;
    // A segment is only begun once all before it is durable.
    if (!last) pushAll(publisher, found.last, edge);
  }
  if (found === undefined || index < from) {
    throw new AuditError('missing', 'the journal ends before the checkpoint', index);
  }
  await settle(disk, segmentName(segments[segments.length - 1]!), found);
  pushAll(publisher, found.last, edge);
  const { offset } = found.tail;
  return {
    journal: { segments, size: index, end: offset, marks: found.marks },
    tornBytes: found.length - offset,
  };
}

function pushAll(publisher: Publisher, records: readonly ReadRecord[], { known }: Edge): void {
  for (const { entry, leaf } of records) {
    publisher.push(entry, leaf);
    refuseOtherRoot(publisher, known);
  }
}

interface Scanned {
  readonly tail: Tail;
  readonly marks: Marks;
  readonly length: number;
  /** The last group: where it begins, and those of its records that come after the checkpoint. */
  readonly lastOffset: number;
  readonly last: readonly ReadRecord[];
}

/** Hands on every group but the last, which may not be durable yet. */
async function scanSegment(
  disk: Disk,
  first: number,
  publisher: Publisher,
  edge: Edge,
): Promise<Scanned> {
  const file = await openSegment(disk, first, SCAN_BYTES);
  if (file === undefined) throw new AuditError('missing', 'a journal segment', first);
  try {
    const head = await readSegmentHead(file, first);
    const marks = new Marks();
    const steps = scanGroups(file, first, head.bytes);
    let last: readonly ReadRecord[] = [];
    let lastOffset = head.bytes;
    for (let step = await steps.next(); ; step = await steps.next()) {
      if (step.done === true) {
        return { tail: step.value, marks, length: file.length, lastOffset, last };
      }
      pushAll(publisher, last, edge);
      await publisher.pressure();
      const { group, records } = step.value;
      marks.add(group.firstIndex, group.offset);
      lastOffset = group.offset;
      refuseOther(edge, group.firstIndex, records);
      last = records.slice(Math.max(0, edge.size - group.firstIndex));
    }
  } finally {
    await file.close();
  }
}

/** The journal must be the one that the checkpoint was made from: its entries in the last bundle
 *  are those of the tiles. The others are for fsck. */
function refuseOther(edge: Edge, first: number, records: readonly ReadRecord[]): void {
  const start = edge.size - edge.hashes.length / HASH_BYTES;
  for (const [i, { leaf }] of records.entries()) {
    const index = first + i;
    if (index < start || index >= edge.size) continue;
    if (!equalBytes(leaf, hashAt(edge.hashes, index - start))) {
      throw new AuditError('damaged', 'the journal and the tiles differ', index);
    }
  }
}

/** Cuts the torn tail off, and writes the last group again. The process before us may have died, or
 *  been told of an error, before that group reached the disk: it would be read from memory now and
 *  be gone after a power cut, behind a checkpoint that covers it. Written and synced once more, it
 *  is on disk or the start fails. */
async function settle(disk: Disk, name: string, found: Scanned): Promise<void> {
  const { offset } = found.tail;
  if (found.length > offset) await disk.truncate(name, offset);
  const file = await open(disk.path(name), Disk.durableFlags);
  try {
    const group = Buffer.alloc(offset - found.lastOffset);
    await file.read(group, 0, group.length, found.lastOffset);
    await disk.writeDurably(file.fd, group, found.lastOffset);
  } finally {
    await file.close();
  }
}

/** Tiles are made of durable entries only. Some beyond the end of the journal show that somebody
 *  put an older journal and checkpoint in place. */
async function refuseLaterTiles(disk: Disk, size: number): Promise<void> {
  const index = Math.floor(size / TILE_WIDTH);
  for (const kind of ['entries', 0] as const) {
    const full = await disk.read(tilePath(kind, index, TILE_WIDTH));
    const widths = await readdir(disk.path(partialFolder(kind, index))).catch(() => []);
    if (full !== undefined || widths.some((width) => Number(width) > size % TILE_WIDTH)) {
      throw new AuditError('rollback', 'tiles reach beyond the journal', size);
    }
  }
}
