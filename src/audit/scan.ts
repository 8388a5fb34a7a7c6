import { crc32 } from 'node:zlib';
import {
  bufferOf,
  GROUP_HEAD_BYTES,
  GROUP_MAGIC,
  type Group,
  groupAt,
  type ReadRecord,
  recordsOf,
  type SegmentFile,
} from './segment.ts';

/** A disk writes at least this much or nothing. */
const SECTOR_BYTES = 512;

/** How a segment ends. `offset`: end of the last good group; `index`: first entry that is not in a
 *  good group. `torn`: an append that nobody was told of. `damaged`: anything else. */
export interface Tail {
  readonly kind: 'clean' | 'torn' | 'damaged';
  readonly offset: number;
  readonly index: number;
}

export interface ScannedGroup {
  readonly group: Group;
  /** All good; copies, so they outlive the step. */
  readonly records: readonly ReadRecord[];
}

/** The good groups of a segment in order, from the one at `offset`, which begins with entry
 *  `first`; returns how they end. */
export async function* scanGroups(
  file: SegmentFile,
  first: number,
  offset: number,
): AsyncGenerator<ScannedGroup, Tail> {
  let at = offset;
  let index = first;
  for (;;) {
    const found = await groupAt(file, at);
    if (found.kind === 'end') return { kind: 'clean', offset: at, index };
    if (found.kind === 'short') return { kind: 'torn', offset: at, index };
    if (found.kind !== 'group') return tailAt(await isTorn(file, at), at, index);
    const { group } = found;
    if (group.firstIndex !== index || group.count === 0) return tailAt(false, at, index);
    // The file's window moves on, so a group that is kept needs bytes of its own.
    const bytes = new Uint8Array(await file.view(at, group.end - at));
    const records = [...recordsOf(bytes, group)];
    const bad = records.findIndex(({ good }) => !good);
    if (bad >= 0) {
      const torn = group.end === file.length && (await isTorn(file, at));
      return tailAt(torn, at, torn ? index : index + bad);
    }
    yield { group, records };
    at = group.end;
    index += group.count;
  }
}

const tailAt = (torn: boolean, offset: number, index: number): Tail => ({
  kind: torn ? 'torn' : 'damaged',
  offset,
  index,
});

/** Whether the bytes from `offset` on can be what a crash left of a write that nobody was told of.
 *  A crash leaves a file short, or whole sectors of zeros; flipped bits do neither. And nothing was
 *  ever written behind an unacknowledged group. */
async function isTorn(file: SegmentFile, offset: number): Promise<boolean> {
  const rest = bufferOf(await file.view(offset, file.length - offset));
  for (let at = 1; at + GROUP_HEAD_BYTES <= rest.length; at++) {
    at = rest.indexOf(GROUP_MAGIC, at);
    if (at < 0 || at + GROUP_HEAD_BYTES > rest.length) break;
    if (rest.readUInt32LE(at + 20) === crc32(rest.subarray(at, at + 20))) return false;
  }
  let start = 0;
  while (start < rest.length) {
    const end = Math.min(rest.length, start + SECTOR_BYTES - ((offset + start) % SECTOR_BYTES));
    if (rest.subarray(start, end).every((byte) => byte === 0)) return true;
    start = end;
  }
  return false;
}
