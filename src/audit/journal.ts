import fs from 'node:fs';
import { open, readdir, stat } from 'node:fs/promises';
import { AuditError } from './audit-error.ts';
import { Disk, isAbsent } from './disk.ts';
import {
  encodeGroup,
  encodeSegmentHead,
  firstOfName,
  type Group,
  groupAt,
  type JournalRecord,
  type ReadRecord,
  readSegmentHead,
  recordBytes,
  recordsOf,
  SegmentFile,
  segmentName,
} from './segment.ts';
import { HASH_BYTES } from './tree.ts';

/** One place in memory for so many entries; a read walks the groups from there. */
const MARK_ENTRIES = 64;
/** Closed segments whose marks are kept; others are scanned again when asked for. */
const MARKED_MAX = 8;
const WINDOW_BYTES = 64 * 1024;
const SCAN_BYTES = 1024 * 1024;
/** Payload of one group; an append of more is several. */
const GROUP_BYTES_MAX = 32 * 1024 * 1024;

/** Where groups begin, a few of them, ascending. */
export class Marks {
  readonly #indexes: number[] = [];
  readonly #offsets: number[] = [];

  add(index: number, offset: number): void {
    const last = this.#indexes[this.#indexes.length - 1];
    if (last !== undefined && index - last < MARK_ENTRIES) return;
    this.#indexes.push(index);
    this.#offsets.push(offset);
  }

  /** Offset of the last marked group at or before the entry; undefined without groups. */
  before(index: number): number | undefined {
    let low = 0;
    let high = this.#indexes.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#indexes[middle]! <= index) low = middle + 1;
      else high = middle;
    }
    return this.#offsets[low - 1];
  }
}

/** What the journal needs to go on after the last durable group. */
export interface JournalState {
  /** First indexes of the segments, ascending; the last one is written to. */
  readonly segments: number[];
  /** Entries so far. */
  readonly size: number;
  /** Length of the last segment. */
  readonly end: number;
  /** Of the last segment. */
  readonly marks: Marks;
}

/** Entries and sealed bodies in the order of their indexes, in segments that retention can drop
 *  whole. Holds no entry in memory. */
export class Journal {
  readonly #disk: Disk;
  readonly #segmentBytesMax: number;
  readonly #segments: number[];
  readonly #marked = new Map<number, Marks>();
  #marks: Marks;
  #descriptor: number;
  #end: number;
  /** Entries that are durable. */
  size: number;

  private constructor(disk: Disk, segmentBytesMax: number, state: JournalState, fd: number) {
    this.#disk = disk;
    this.#segmentBytesMax = segmentBytesMax;
    this.#segments = state.segments;
    this.#marks = state.marks;
    this.#end = state.end;
    this.#descriptor = fd;
    this.size = state.size;
  }

  static async open(disk: Disk, segmentBytesMax: number, state: JournalState): Promise<Journal> {
    const name = segmentName(state.segments[state.segments.length - 1]!);
    return new Journal(disk, segmentBytesMax, state, await openForWriting(disk, name));
  }

  /** Appends the records and makes them durable: one synchronous write, or a few for more
   *  than 32 MiB. Leaf hashes go to `leaves`. `checkpoint` is the latest one, for a new segment's
   *  head. Throws what the disk said; what was written is then unknown. */
  async append(
    records: readonly JournalRecord[],
    leaves: Uint8Array,
    checkpoint: () => string,
  ): Promise<void> {
    let from = 0;
    while (from < records.length) {
      let to = from;
      let bytes = 0;
      do bytes += recordBytes(records[to++]!);
      while (to < records.length && bytes + recordBytes(records[to]!) <= GROUP_BYTES_MAX);
      const part = records.slice(from, to);
      if (this.#end >= this.#segmentBytesMax) await this.#roll(checkpoint());
      const group = encodeGroup(this.size, part, leaves.subarray(from * HASH_BYTES));
      await this.#disk.writeDurably(this.#descriptor, group, this.#end);
      this.#refuseIfUnlinked();
      this.#marks.add(this.size, this.#end);
      this.#end += group.length;
      this.size += part.length;
      from = to;
    }
  }

  /** A journal that somebody deleted still takes writes, and nobody will ever read them (Vault
   *  issue 31718). This is one system call on an open file, so it may run on every append. */
  #refuseIfUnlinked(): void {
    if (fs.fstatSync(this.#descriptor).nlink === 0) {
      throw new AuditError('missing', 'the journal was deleted while open', this.size);
    }
  }

  /** The same for a segment that was moved away or replaced; for the background. */
  async refuseIfReplaced(): Promise<void> {
    const name = segmentName(this.#segments[this.#segments.length - 1]!);
    // Both as of now: a new segment may be begun while the file is looked for.
    const { ino } = fs.fstatSync(this.#descriptor);
    const found = await stat(this.#disk.path(name)).catch(() => undefined);
    if (found?.ino !== ino) {
      throw new AuditError('missing', 'the journal was replaced while open', this.size);
    }
  }

  async #roll(checkpoint: string): Promise<void> {
    const head = encodeSegmentHead(this.size, checkpoint);
    const name = segmentName(this.size);
    await this.#disk.put(name, head);
    // Never without an open one: the background asks for it at any time.
    const before = this.#descriptor;
    this.#descriptor = await openForWriting(this.#disk, name);
    fs.closeSync(before);
    this.#segments.push(this.size);
    this.#marks = new Marks();
    this.#end = head.length;
  }

  /** The record, its bytes copied; undefined where its segment was dropped. */
  async record(index: number): Promise<JournalRecord | undefined> {
    for await (const found of this.records(index, index + 1)) return found.record;
    return undefined;
  }

  /** Records [from, to) in order, as views good until the next step; from the first segment that
   *  is still there. Throws AuditError for a damaged one. */
  async *records(
    from: number,
    to: number,
  ): AsyncGenerator<{ readonly index: number; readonly record: ReadRecord }> {
    let at = from;
    while (at < to) {
      const place = this.#segments.findLastIndex((first) => first <= at);
      if (place < 0) return;
      const end = Math.min(to, this.#segments[place + 1] ?? this.size);
      yield* this.#recordsIn(this.#segments[place]!, at, end);
      at = end;
    }
  }

  async *#recordsIn(
    first: number,
    from: number,
    to: number,
  ): AsyncGenerator<{ readonly index: number; readonly record: ReadRecord }> {
    const active = first === this.#segments[this.#segments.length - 1];
    const windowBytes = to - from > MARK_ENTRIES ? SCAN_BYTES : WINDOW_BYTES;
    const length = active ? this.#end : undefined;
    const file = await openSegment(this.#disk, first, windowBytes, length);
    if (file === undefined) return;
    try {
      const marks = active ? this.#marks : await this.#marksOf(first);
      let at = marks.before(from);
      while (at !== undefined) {
        const group = await expectGroup(file, at, from);
        at = group.end;
        if (group.firstIndex + group.count <= from) continue;
        if (group.firstIndex >= to) return;
        let index = group.firstIndex;
        for (const record of recordsOf(await file.view(group.offset, at - group.offset), group)) {
          if (!record.good) throw new AuditError('damaged', 'a journal record', index);
          if (index >= to) return;
          if (index >= from) yield { index, record };
          index++;
        }
        if (index >= to) return;
      }
    } finally {
      await file.close();
    }
  }

  async #marksOf(first: number): Promise<Marks> {
    const known = this.#marked.get(first);
    this.#marked.delete(first);
    const marks = known ?? (await scanMarks(this.#disk, first));
    this.#marked.set(first, marks);
    const oldest = this.#marked.keys().next().value;
    if (this.#marked.size > MARKED_MAX && oldest !== undefined) this.#marked.delete(oldest);
    return marks;
  }

  close(): void {
    fs.closeSync(this.#descriptor);
  }
}

async function scanMarks(disk: Disk, first: number): Promise<Marks> {
  const marks = new Marks();
  const file = await openSegment(disk, first, SCAN_BYTES);
  if (file === undefined) throw new AuditError('missing', 'a journal segment', first);
  try {
    let at = (await readSegmentHead(file, first)).bytes;
    let index = first;
    while (at < file.length) {
      const group = await expectGroup(file, at, index);
      marks.add(group.firstIndex, at);
      index = group.firstIndex + group.count;
      at = group.end;
    }
  } finally {
    await file.close();
  }
  return marks;
}

async function expectGroup(file: SegmentFile, offset: number, index: number): Promise<Group> {
  const found = await groupAt(file, offset);
  if (found.kind !== 'group') throw new AuditError('damaged', 'a journal group', index);
  return found.group;
}

/** Opens a segment for reading, up to `length` bytes; undefined where it is absent. */
export async function openSegment(
  disk: Disk,
  first: number,
  windowBytes: number,
  length?: number,
): Promise<SegmentFile | undefined> {
  const file = await open(disk.path(segmentName(first)), 'r').catch(() => undefined);
  if (file === undefined) return undefined;
  const { size } = await file.stat();
  return new SegmentFile(file, Math.min(size, length ?? size), windowBytes);
}

function openForWriting(disk: Disk, name: string): Promise<number> {
  return new Promise((resolve, reject) => {
    // Read as well: the last group is written again at open. O_DSYNC makes each write durable by
    // itself: one trip through the thread pool an append instead of two.
    fs.open(disk.path(name), Disk.durableFlags, (error, fd) =>
      error === null ? resolve(fd) : reject(error),
    );
  });
}

/** First indexes of the journal's segments, ascending. */
export async function listSegments(disk: Disk): Promise<number[]> {
  const names = await readdir(disk.path('journal')).catch((error: unknown) => {
    if (isAbsent(error)) return [];
    throw error;
  });
  return names
    .map(firstOfName)
    .filter((first) => first !== undefined)
    .sort((a, b) => a - b);
}
