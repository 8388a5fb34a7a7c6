import type { Column } from '../base/column.ts';
import { ColumnWriter } from '../base/column.ts';
import type { Store } from '../storage/store.ts';
import { callErrorOf } from './failure.ts';
import {
  after,
  domainKey,
  getU64,
  INDEX_BYTES,
  listedKeys,
  PREFIX,
  RECORD_KEY_BYTES,
  recordKeys,
} from './layout.ts';

/** Records of a domain, row by row. */
export interface RecordPage {
  /** Ascending. */
  readonly counters: Float64Array;
  readonly sealed: Column;
}

/** Records from the counter `from` on, at most `limit`, from one snapshot. Rejects with
 *  `CallError`. */
export async function recordPage(
  store: Store,
  domain: number,
  from: number,
  limit: number,
): Promise<RecordPage> {
  const counters: number[] = [];
  const sealed = new ColumnWriter(limit, 0);
  const range = {
    from: recordKeys(domain, Float64Array.of(from)).subarray(0, RECORD_KEY_BYTES),
    to: after(domainKey(PREFIX.record, domain)),
    limit,
  };
  try {
    for await (const { key, value } of store.range(range)) {
      counters.push(getU64(key, 5));
      sealed.append(value);
      sealed.endRow();
    }
  } catch (error) {
    throw callErrorOf(error);
  }
  return { counters: Float64Array.from(counters), sealed: sealed.finish() };
}

/** Counters of a value in a `listed` domain, ascending, at most `limit`. Rejects with `CallError`.
 *  */
export async function listedCounters(
  store: Store,
  domain: number,
  index: Uint8Array,
  limit: number,
): Promise<Float64Array> {
  const key = listedKeys(domain, index, Float64Array.of(0)).subarray(0, 5 + INDEX_BYTES);
  const counters: number[] = [];
  try {
    for await (const row of store.range({ from: key, to: after(key), limit })) {
      counters.push(getU64(row.key, 5 + INDEX_BYTES));
    }
  } catch (error) {
    throw callErrorOf(error);
  }
  return Float64Array.from(counters);
}
