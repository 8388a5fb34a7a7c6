import { type Column, ColumnWriter, rowCount, rowStart } from '../../base/column.ts';
import type { PerItem } from '../../codec/domain.ts';
import type { BlockKey } from '../../keys/key.ts';
import { cmacMany } from '../../modes/cmac.ts';
import type { Cells } from '../job.ts';

export const SUBJECT_BYTES = 16;
const NO_BYTES = new Uint8Array(0);

/** Keyed indexes of the subjects of one call: `CMAC(subject, id)`, the only form in which a patient
 *  is ever stored. */
export interface Subjects {
  /** Nothing, 16 bytes for the whole call, or a row an item (empty where it names none). */
  readonly items: PerItem;
  /** 16 bytes a row, zeros for none. */
  rows(count: number): Uint8Array;
  /** Rows of a column that name no subject, ascending. */
  readonly unnamed: readonly number[];
}

export const NO_SUBJECTS: Subjects = {
  items: NO_BYTES,
  rows: (count) => new Uint8Array(count * SUBJECT_BYTES),
  unnamed: [],
};

/** Indexes the subjects of several calls in one lockstep batch. */
export function indexSubjects(key: BlockKey, cells: readonly Cells[]): Subjects[] {
  const named = cells.filter((cell) => cell !== undefined && !isEmpty(cell));
  if (named.length === 0) return cells.map(() => NO_SUBJECTS);
  let messages = 0;
  for (const cell of named) messages += cell instanceof Uint8Array ? 1 : rowCount(cell!);
  const out = new ColumnWriter(messages, messages * 24);
  for (const cell of named) {
    if (cell instanceof Uint8Array) {
      out.append(cell);
      out.endRow();
    } else if (cell !== undefined) {
      for (let row = 0; row < rowCount(cell); row++) {
        out.append(cell.bytes, rowStart(cell, row), cell.ends[row]!);
        out.endRow();
      }
    }
  }
  const indexes = cmacMany(key, out.finish());
  let next = 0;
  return cells.map((cell) => {
    if (cell === undefined || isEmpty(cell)) return NO_SUBJECTS;
    const count = cell instanceof Uint8Array ? 1 : rowCount(cell);
    const own = indexes.subarray(next * SUBJECT_BYTES, (next + count) * SUBJECT_BYTES);
    next += count;
    return cell instanceof Uint8Array ? oneSubject(own.slice()) : eachSubject(own, cell);
  });
}

const isEmpty = (cell: Uint8Array | Column): boolean =>
  cell instanceof Uint8Array && cell.length === 0;

function oneSubject(index: Uint8Array): Subjects {
  return {
    items: index,
    rows: (count) => {
      const rows = new Uint8Array(count * SUBJECT_BYTES);
      for (let i = 0; i < count; i++) rows.set(index, i * SUBJECT_BYTES);
      return rows;
    },
    unnamed: [],
  };
}

function eachSubject(indexes: Uint8Array, cell: Column): Subjects {
  const unnamed: number[] = [];
  const rows = indexes.slice();
  const items = new ColumnWriter(rowCount(cell), indexes.length);
  for (let row = 0; row < rowCount(cell); row++) {
    const at = row * SUBJECT_BYTES;
    if (cell.ends[row] === rowStart(cell, row)) {
      // The CMAC of an empty name is nobody's index: the item names no subject.
      unnamed.push(row);
      rows.fill(0, at, at + SUBJECT_BYTES);
    } else items.append(indexes, at, at + SUBJECT_BYTES);
    items.endRow();
  }
  return { items: items.finish(), rows: (count) => rows.slice(0, count * SUBJECT_BYTES), unnamed };
}
