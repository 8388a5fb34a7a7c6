import { type Column, columnOf } from '../base/column.ts';
import type { Page } from '../storage/store.ts';
import type { Domains } from './domains.ts';
import { getU32, getU64, PREFIX } from './layout.ts';

/** Sealed records of one domain, ascending by counter. */
export interface RecordBatch {
  readonly domain: string;
  readonly counters: Float64Array;
  /** A row a counter. */
  readonly records: Column;
}

const RECORDS_MAX = 1_000;

/** Every record among these rows, in batches of at most 1,000. A record of a domain that the vault
 *  does not know is left out: fsck tells of it. */
export async function* recordBatches(
  pages: AsyncIterable<Page>,
  domains: Domains,
): AsyncGenerator<RecordBatch> {
  const ids = new Map<number, string>();
  for (const { id, row } of domains.all()) ids.set(row.number, id);
  let domain = '';
  let counters: number[] = [];
  let records: Uint8Array[] = [];
  const batch = (): RecordBatch => {
    const taken = { domain, counters: Float64Array.from(counters), records: columnOf(records) };
    counters = [];
    records = [];
    return taken;
  };
  for await (const page of pages) {
    for (const [key, value] of page) {
      if (key[0] !== PREFIX.record) continue;
      const id = ids.get(getU32(key, 1));
      if (id === undefined) continue;
      if (counters.length > 0 && (id !== domain || counters.length >= RECORDS_MAX)) yield batch();
      domain = id;
      counters.push(getU64(key, 5));
      records.push(value);
    }
  }
  if (counters.length > 0) yield batch();
}
