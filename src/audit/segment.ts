import { createHash } from 'node:crypto';
import type { FileHandle } from 'node:fs/promises';
import { crc32 } from 'node:zlib';
import { AuditError } from './audit-error.ts';
import { HASH_BYTES, LEAF_PREFIX } from './tree.ts';

// A journal segment, all numbers little-endian:
//   head:   magic 8 ‖ first index 8 ‖ checkpoint bytes 4 ‖ CRC-32 of all the head 4 ‖ checkpoint
//   group:  magic 4 ‖ payload bytes 4 ‖ records 4 ‖ first index 8 ‖ CRC-32 of these 4
//           ‖ payload ‖ end mark 4
//   record: CRC-32 of the rest 4 ‖ body bytes 4 ‖ entry bytes 2 ‖ body ‖ 0x00 ‖ entry
// The zero before the entry is the leaf prefix of RFC 6962, so a leaf hash runs over bytes that lie
// side by side. Marks hold no zero byte: a lost sector reads as zeros and so never looks like one.
const SEGMENT_MAGIC = Buffer.from('LKSTLOG1', 'latin1');
export const GROUP_MAGIC = Buffer.from('LkG1', 'latin1');
const GROUP_END = 0x0a64_6e45; // "End\n"
export const SEGMENT_HEAD_BYTES = 24;
export const GROUP_HEAD_BYTES = 24;
const GROUP_END_BYTES = 4;
const RECORD_HEAD_BYTES = 10;
const TWO32 = 2 ** 32;

export interface JournalRecord {
  readonly entry: Uint8Array;
  readonly body: Uint8Array;
}

/** File name of the segment whose first record has this index; names sort as indexes do. */
export const segmentName = (first: number): string =>
  `journal/${String(first).padStart(16, '0')}.log`;

export function firstOfName(file: string): number | undefined {
  return /^\d{16}\.log$/.test(file) ? Number(file.slice(0, 16)) : undefined;
}

/** The checkpoint of the time stands in each segment's head: a history against which fsck places
 *  a fork. Empty in the very first one. */
export function encodeSegmentHead(first: number, checkpoint: string): Uint8Array {
  const text = Buffer.from(checkpoint, 'utf8');
  const head = Buffer.alloc(SEGMENT_HEAD_BYTES + text.length);
  SEGMENT_MAGIC.copy(head);
  putWhole(head, 8, first);
  head.writeUInt32LE(text.length, 16);
  text.copy(head, SEGMENT_HEAD_BYTES);
  head.writeUInt32LE(crc32(text, crc32(head.subarray(0, 20))), 20);
  return head;
}

export interface SegmentHead {
  readonly first: number;
  readonly checkpoint: string;
  /** Where the first group stands. */
  readonly bytes: number;
}

/** Throws AuditError `damaged`. */
export async function readSegmentHead(file: SegmentFile, first: number): Promise<SegmentHead> {
  const fixed = Buffer.from(await file.view(0, SEGMENT_HEAD_BYTES));
  const textBytes = fixed.length === SEGMENT_HEAD_BYTES ? fixed.readUInt32LE(16) : TWO32;
  const bytes = SEGMENT_HEAD_BYTES + textBytes;
  if (bytes > file.length) throw new AuditError('damaged', 'the head of a segment', first);
  const text = Buffer.from((await file.view(0, bytes)).subarray(SEGMENT_HEAD_BYTES));
  const good =
    fixed.subarray(0, 8).equals(SEGMENT_MAGIC) &&
    wholeAt(fixed, 8) === first &&
    fixed.readUInt32LE(20) === crc32(text, crc32(fixed.subarray(0, 20)));
  if (!good) throw new AuditError('damaged', 'the head of a segment', first);
  return { first, checkpoint: text.toString('utf8'), bytes };
}

/** Groups up to this size are laid out in one buffer that is kept. */
const KEPT_BYTES = 1024 * 1024;
const kept = Buffer.alloc(KEPT_BYTES);

/** The group's bytes, valid until the next call; leaf hashes go to `leaves`, 32 bytes a record. */
export function encodeGroup(
  firstIndex: number,
  records: readonly JournalRecord[],
  leaves: Uint8Array,
): Uint8Array {
  let payload = 0;
  for (const record of records) payload += recordBytes(record);
  const bytes = GROUP_HEAD_BYTES + payload + GROUP_END_BYTES;
  const group = bytes <= KEPT_BYTES ? kept.subarray(0, bytes) : Buffer.allocUnsafe(bytes);
  GROUP_MAGIC.copy(group);
  group.writeUInt32LE(payload, 4);
  group.writeUInt32LE(records.length, 8);
  putWhole(group, 12, firstIndex);
  group.writeUInt32LE(crc32(group.subarray(0, 20)), 20);
  let at = GROUP_HEAD_BYTES;
  for (let i = 0; i < records.length; i++) {
    const { entry, body } = records[i]!;
    const leafAt = at + RECORD_HEAD_BYTES + body.length;
    const end = leafAt + 1 + entry.length;
    group.writeUInt32LE(body.length, at + 4);
    group.writeUInt16LE(entry.length, at + 8);
    group.set(body, at + RECORD_HEAD_BYTES);
    group[leafAt] = LEAF_PREFIX;
    group.set(entry, leafAt + 1);
    group.writeUInt32LE(crc32(group.subarray(at + 4, end)), at);
    leaves.set(createHash('sha256').update(group.subarray(leafAt, end)).digest(), i * HASH_BYTES);
    at = end;
  }
  group.writeUInt32LE(GROUP_END, at);
  return group;
}

/** Bytes that the record takes in a group. */
export const recordBytes = (record: JournalRecord): number =>
  RECORD_HEAD_BYTES + record.body.length + 1 + record.entry.length;

/** A group as its head tells it. */
export interface Group {
  readonly firstIndex: number;
  readonly count: number;
  readonly offset: number;
  readonly end: number;
}

/** What stands at `offset`. `short`: the file ends before the group does. `bad`: no group. */
export type GroupAt =
  | { readonly kind: 'group'; readonly group: Group }
  | { readonly kind: 'end' | 'short' | 'bad' };

export async function groupAt(file: SegmentFile, offset: number): Promise<GroupAt> {
  const left = file.length - offset;
  if (left === 0) return { kind: 'end' };
  const head = bufferOf(await file.view(offset, GROUP_HEAD_BYTES));
  if (head.length < GROUP_HEAD_BYTES) return { kind: 'short' };
  const good =
    head.subarray(0, 4).equals(GROUP_MAGIC) &&
    head.readUInt32LE(20) === crc32(head.subarray(0, 20));
  if (!good) return { kind: 'bad' };
  const end = offset + GROUP_HEAD_BYTES + head.readUInt32LE(4) + GROUP_END_BYTES;
  if (end > file.length) return { kind: 'short' };
  const group = { firstIndex: wholeAt(head, 12), count: head.readUInt32LE(8), offset, end };
  return { kind: 'group', group };
}

export interface ReadRecord extends JournalRecord {
  /** RFC 6962 hash of the entry. */
  readonly leaf: Uint8Array;
  /** Whether checksum and lengths hold. */
  readonly good: boolean;
}

/** The records of a group, as views; the last one is not `good` where the group is damaged. */
export function* recordsOf(bytes: Uint8Array, group: Group): Generator<ReadRecord> {
  const whole = bufferOf(bytes);
  const payloadEnd = whole.length - GROUP_END_BYTES;
  let at = GROUP_HEAD_BYTES;
  for (let i = 0; i < group.count; i++) {
    const empty = new Uint8Array(0);
    const broken: ReadRecord = { entry: empty, body: empty, leaf: empty, good: false };
    if (at + RECORD_HEAD_BYTES > payloadEnd) return yield broken;
    const leafAt = at + RECORD_HEAD_BYTES + whole.readUInt32LE(at + 4);
    const end = leafAt + 1 + whole.readUInt16LE(at + 8);
    if (end > payloadEnd) return yield broken;
    const last = i === group.count - 1;
    const framed = !last || (end === payloadEnd && whole.readUInt32LE(end) === GROUP_END);
    yield {
      body: whole.subarray(at + RECORD_HEAD_BYTES, leafAt),
      entry: whole.subarray(leafAt + 1, end),
      leaf: createHash('sha256').update(whole.subarray(leafAt, end)).digest(),
      good: framed && whole.readUInt32LE(at) === crc32(whole.subarray(at + 4, end)),
    };
    at = end;
  }
}

/** Reads a segment through a window, so that a scan is a few large reads. */
export class SegmentFile {
  readonly #file: FileHandle;
  /** Bytes that may be read; later ones may still be in the writing. */
  readonly length: number;
  readonly #windowBytes: number;
  #window: Uint8Array = new Uint8Array(0);
  #start = 0;

  constructor(file: FileHandle, length: number, windowBytes: number) {
    this.#file = file;
    this.length = length;
    this.#windowBytes = windowBytes;
  }

  /** The bytes from `offset`, fewer at the end of the file. Good until the next call. */
  async view(offset: number, count: number): Promise<Uint8Array> {
    const wanted = Math.min(count, this.length - offset);
    if (offset < this.#start || offset + wanted > this.#start + this.#window.length) {
      const bytes = Math.min(Math.max(wanted, this.#windowBytes), this.length - offset);
      const window = Buffer.allocUnsafe(bytes);
      const { bytesRead } = await this.#file.read(window, 0, bytes, offset);
      if (bytesRead !== bytes) throw new AuditError('damaged', 'a segment ends early');
      this.#window = window;
      this.#start = offset;
    }
    return this.#window.subarray(offset - this.#start, offset - this.#start + wanted);
  }

  close(): Promise<void> {
    return this.#file.close();
  }
}

export const bufferOf = (bytes: Uint8Array): Buffer =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);

function putWhole(buffer: Buffer, at: number, value: number): void {
  buffer.writeUInt32LE(value % TWO32, at);
  buffer.writeUInt32LE(Math.floor(value / TWO32), at + 4);
}

const wholeAt = (buffer: Buffer, at: number): number =>
  buffer.readUInt32LE(at) + buffer.readUInt32LE(at + 4) * TWO32;
