import { type Column, ColumnWriter, rowStart } from '../../base/column.ts';
import type { Cells } from '../job.ts';
import type { Groups } from './aliased.ts';

/** The plain text of a vault record: version 1 ‖ context length 1 ‖ keyed subject index 16 (zeros
 *  where unbound) ‖ context ‖ value as it came. It is sealed under the domain's keys with the
 *  counter as associated data, so it cannot be moved to another token. */
const VERSION = 1;
const SUBJECT_BYTES = 16;
const HEAD_BYTES = 2 + SUBJECT_BYTES;

/** The records of the named items, in order, not yet sealed. `stored`, `subjects` and a context
 *  column have a row an item. */
export function encodeRecords(
  items: readonly number[],
  stored: Column,
  subjects: Uint8Array,
  context: Cells,
): Column {
  const out = new ColumnWriter(items.length, items.length * (HEAD_BYTES + 24));
  for (const item of items) {
    const [from, to, source] = contextAt(context, item);
    out.reserve(2);
    out.bytes[out.length++] = VERSION;
    out.bytes[out.length++] = to - from;
    out.append(subjects, item * SUBJECT_BYTES, (item + 1) * SUBJECT_BYTES);
    out.append(source, from, to);
    out.append(stored.bytes, rowStart(stored, item), stored.ends[item]!);
    out.endRow();
  }
  return out.finish();
}

const NOTHING = new Uint8Array(0);

function contextAt(context: Cells, row: number): readonly [number, number, Uint8Array] {
  if (context === undefined) return [0, 0, NOTHING];
  if (context instanceof Uint8Array) return [0, context.length, context];
  return [rowStart(context, row), context.ends[row]!, context.bytes];
}

/** Where the value of an opened record starts, or −1 where the record is not for this subject and
 *  context. A bound record wants its own subject, or another id of the same patient, an unbound one
 *  takes any; the context must be the
 *  one it was made with. `row` is the record's place in `records`, `item` that of its token. */
export function valueStart(
  records: Column,
  row: number,
  subjects: Uint8Array,
  context: Cells,
  item: number,
  groups?: Groups,
): number {
  const start = rowStart(records, row);
  const { bytes } = records;
  if (bytes[start] !== VERSION) return -1;
  const [from, to, source] = contextAt(context, item);
  if (bytes[start + 1] !== to - from) return -1;
  let bound = 0;
  let differs = 0;
  for (let i = 0; i < SUBJECT_BYTES; i++) {
    const own = bytes[start + 2 + i]!;
    bound |= own;
    differs |= own ^ subjects[item * SUBJECT_BYTES + i]!;
  }
  if (bound !== 0 && differs !== 0) {
    const members = groups?.find(bytes, start + 2);
    if (members === undefined) return -1;
    const own = subjects.subarray(item * SUBJECT_BYTES, (item + 1) * SUBJECT_BYTES);
    if (!members.some((id) => Buffer.compare(id, own) === 0)) return -1;
  }
  for (let i = 0; i < to - from; i++) {
    if (bytes[start + HEAD_BYTES + i] !== source[from + i]) return -1;
  }
  return start + HEAD_BYTES + (to - from);
}

/** Where the parts of an opened record stand in the column's bytes; undefined where it is of no
 *  known form. */
export function recordParts(
  records: Column,
  row: number,
):
  | {
      readonly subject: number;
      readonly bound: boolean;
      readonly context: number;
      readonly value: number;
      readonly end: number;
    }
  | undefined {
  const start = rowStart(records, row);
  const end = records.ends[row]!;
  const { bytes } = records;
  if (end - start < HEAD_BYTES || bytes[start] !== VERSION) return undefined;
  const context = start + HEAD_BYTES;
  const value = context + bytes[start + 1]!;
  if (value > end) return undefined;
  let bound = 0;
  for (let i = 0; i < SUBJECT_BYTES; i++) bound |= bytes[start + 2 + i]!;
  return { subject: start + 2, bound: bound !== 0, context, value, end };
}
