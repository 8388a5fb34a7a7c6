import { type Column, rowStart } from '../base/column.ts';
import type { Change } from '../storage/store.ts';
import {
  INDEX_KEY_BYTES,
  INDEX_ROW_BYTES,
  indexKeys,
  LISTED_KEY_BYTES,
  listedKeys,
  RECORD_KEY_BYTES,
  recordKeys,
} from './layout.ts';
import { indexRows } from './rows.ts';

/* The store takes a change an object; keys and values are views into one buffer a column. */

const NOTHING = new Uint8Array(0);

/** Rows of new records: row i of each column belongs together. */
export function recordChanges(domain: number, counters: Float64Array, sealed: Column): Change[] {
  const changes = new Array<Change>(counters.length);
  const keys = recordKeys(domain, counters);
  for (let i = 0; i < counters.length; i++) changes[i] = recordChange(keys, sealed, i);
  return changes;
}

/** Records and their index rows, of a `unique` domain; indexes 16 bytes a row. */
export function uniqueChanges(
  domain: number,
  indexes: Uint8Array,
  counters: Float64Array,
  sealed: Column,
): Change[] {
  const count = counters.length;
  const changes = new Array<Change>(2 * count);
  const records = recordKeys(domain, counters);
  const keys = indexKeys(domain, indexes);
  const rows = indexRows(domain, indexes, counters);
  for (let i = 0; i < count; i++) {
    changes[i] = recordChange(records, sealed, i);
    changes[count + i] = {
      type: 'put',
      key: new Uint8Array(keys.buffer, i * INDEX_KEY_BYTES, INDEX_KEY_BYTES),
      value: new Uint8Array(rows.buffer, i * INDEX_ROW_BYTES, INDEX_ROW_BYTES),
    };
  }
  return changes;
}

/** Records and their index rows, of a `listed` domain; indexes 16 bytes a row. */
export function listedChanges(
  domain: number,
  indexes: Uint8Array,
  counters: Float64Array,
  sealed: Column,
): Change[] {
  const count = counters.length;
  const changes = new Array<Change>(2 * count);
  const records = recordKeys(domain, counters);
  const keys = listedKeys(domain, indexes, counters);
  for (let i = 0; i < count; i++) {
    changes[i] = recordChange(records, sealed, i);
    changes[count + i] = {
      type: 'put',
      key: new Uint8Array(keys.buffer, i * LISTED_KEY_BYTES, LISTED_KEY_BYTES),
      value: NOTHING,
    };
  }
  return changes;
}

function recordChange(keys: Uint8Array, sealed: Column, row: number): Change {
  const { bytes, ends } = sealed;
  const start = rowStart(sealed, row);
  return {
    type: 'put',
    key: new Uint8Array(keys.buffer, row * RECORD_KEY_BYTES, RECORD_KEY_BYTES),
    value: new Uint8Array(bytes.buffer, bytes.byteOffset + start, ends[row]! - start),
  };
}
