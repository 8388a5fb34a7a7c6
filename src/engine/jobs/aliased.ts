import { type Column, ColumnWriter, rowCount } from '../../base/column.ts';
import type { ItemError, Reason } from '../../base/reason.ts';
import type { PerItem } from '../../codec/domain.ts';
import { indexMessages } from '../../codec/random.ts';
import type { Encoded } from '../../codec/rows.ts';
import type { BlockKey } from '../../keys/key.ts';
import { cmacMany } from '../../modes/cmac.ts';
import { organisationOf } from '../../policy/ask.ts';
import type { SubjectGroups } from '../../vault/subject-groups.ts';
import type { Aliased, Places } from '../job.ts';
import { fixedColumn, pickRows } from './gather.ts';
import { SUBJECT_BYTES, type Subjects } from './subjects.ts';

/** Merged subjects of the organisation that owns the domain; undefined where it merged nobody. */
export type Groups = ReturnType<SubjectGroups['of']>;

export const groupsOf = (groups: SubjectGroups, domainId: string): Groups =>
  groups.of(organisationOf(domainId));

/** Rows of merged subjects with each of their other ids: row after row, ids ascending. */
interface Others {
  readonly rows: Uint32Array;
  /** 16 bytes each. */
  readonly ids: Uint8Array;
}

/** `rows` are places in the call's batch; undefined where no row is a merged subject's. */
function othersOf(
  groups: Groups,
  subjects: Subjects,
  rows: ArrayLike<number> & Iterable<number>,
): Others | undefined {
  if (groups === undefined) return undefined;
  const { items } = subjects;
  if (items instanceof Uint8Array && groups.find(items, 0) === undefined) return undefined;
  const found: number[] = [];
  const ids: Uint8Array[] = [];
  const columns = subjects.rows(items instanceof Uint8Array ? 1 : rowCount(items));
  for (const row of rows) {
    const at = items instanceof Uint8Array ? 0 : row * SUBJECT_BYTES;
    const members = groups.find(columns, at);
    if (members === undefined) continue;
    const own = columns.subarray(at, at + SUBJECT_BYTES);
    for (const id of members) {
      if (Buffer.compare(id, own) === 0) continue;
      found.push(row);
      ids.push(id);
    }
  }
  if (found.length === 0) return undefined;
  return { rows: Uint32Array.from(found), ids: Uint8Array.from(Buffer.concat(ids)) };
}

/** Indexes of the values of merged subjects under each of their other ids: a value that one of them
 *  has a token for gets that one. `start` is the call's first row in the columns. */
export function aliasedIndexes(
  key: BlockKey,
  groups: Groups,
  subjects: Subjects,
  own: { readonly total: number; readonly good: Places; readonly start: number },
  columns: { readonly normal: Column; readonly context: PerItem },
): Aliased | undefined {
  if (groups === undefined) return undefined;
  const { total, good, start } = own;
  const others = othersOf(groups, subjects, good ?? Array.from({ length: total }, (_, i) => i));
  if (others === undefined) return undefined;
  const rows = others.rows.map((row) => start + row);
  const { normal, context } = columns;
  const messages = indexMessages(
    pickRows(normal, rows),
    context instanceof Uint8Array ? context : pickRows(context, rows),
    fixedColumn(others.ids, SUBJECT_BYTES),
  );
  return { rows: placesIn(good, others.rows), indexes: cmacMany(key, messages), ids: others.ids };
}

/** Rows as places among the good ones, which hold them all. */
function placesIn(good: Places, rows: Uint32Array): Uint32Array {
  if (good === undefined) return rows;
  const places = new Map(Array.from(good, (row, place) => [row, place]));
  return rows.map((row) => places.get(row)!);
}

/** Tries rows that did not open for their subject again for its other ids: one pass an id, over
 *  the rows that still fail. `open` decodes rows for subjects, 16 bytes each. */
export function openAliased(
  groups: Groups,
  subjects: PerItem,
  encoded: Encoded,
  open: (rows: Uint32Array, subjects: Column) => Encoded,
): Encoded {
  if (groups === undefined) return encoded;
  const failed = encoded.errors.filter(({ reason }) => reason === 'TOKEN_NOT_FOUND');
  let left = failed.flatMap(({ index }) => {
    const ids = idsOf(groups, subjects, index);
    return ids.length === 0 ? [] : [{ row: index, ids }];
  });
  const opened = new Map<number, Opened>();
  for (let pass = 0; left.length > 0; pass++) {
    const rows = Uint32Array.from(left, ({ row }) => row);
    const ids = Uint8Array.from(Buffer.concat(left.map((one) => one.ids[pass]!)));
    const again = open(rows, fixedColumn(ids, SUBJECT_BYTES));
    const still = new Map(again.errors.map(({ index, reason }) => [index, reason]));
    const opaque = new Set(again.opaque);
    const { bytes, ends } = again.column;
    for (const [i, row] of rows.entries()) {
      const reason = still.get(i);
      if (reason === 'TOKEN_NOT_FOUND') continue;
      // One that opened for this id and may not be shown is answered so, not as unknown.
      const value = bytes.subarray(i === 0 ? 0 : ends[i - 1]!, ends[i]!);
      opened.set(row, { value, reason, opaque: opaque.has(i) });
    }
    left = left.filter(({ row, ids }) => !opened.has(row) && pass + 1 < ids.length);
  }
  return opened.size === 0 ? encoded : withOpened(encoded, opened);
}

/** What another id gave for a row. */
interface Opened {
  readonly value: Uint8Array;
  readonly reason: Reason | undefined;
  readonly opaque: boolean;
}

/** The other ids of the row's subject. */
function idsOf(groups: NonNullable<Groups>, subjects: PerItem, row: number): Uint8Array[] {
  const whole = subjects instanceof Uint8Array;
  const at = whole || row === 0 ? 0 : subjects.ends[row - 1]!;
  const own = whole ? subjects : subjects.bytes.subarray(at, subjects.ends[row]!);
  if (own.length !== SUBJECT_BYTES) return [];
  return (groups.find(own, 0) ?? []).filter((id) => Buffer.compare(id, own) !== 0);
}

function withOpened(encoded: Encoded, opened: ReadonlyMap<number, Opened>): Encoded {
  const { bytes, ends } = encoded.column;
  const out = new ColumnWriter(ends.length, bytes.length + opened.size * 24);
  for (let row = 0; row < ends.length; row++) {
    const again = opened.get(row);
    if (again === undefined) out.append(bytes, row === 0 ? 0 : ends[row - 1]!, ends[row]!);
    else out.append(again.value);
    out.endRow();
  }
  const opaque = [...encoded.opaque];
  for (const [row, again] of opened) if (again.opaque) opaque.push(row);
  const errors = encoded.errors.flatMap((error): ItemError[] => {
    const again = opened.get(error.index);
    if (again === undefined) return [error];
    return again.reason === undefined ? [] : [{ index: error.index, reason: again.reason }];
  });
  return {
    ...encoded,
    column: out.finish(),
    errors,
    opaque: opaque.sort((a, b) => a - b),
  };
}
