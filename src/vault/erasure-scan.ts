import type { Store } from '../storage/store.ts';
import { callErrorOf } from './failure.ts';
import { after, domainKey, getU32, getU64, PREFIX } from './layout.ts';
import { counterOf, type IndexKind } from './rows.ts';

/** Keys of the index and subject rows that name these counters. Only a record says which they are;
 *  this is for records that do not open, and reads every such row of the domain. Rejects with
 *  `CallError`. */
export async function* danglingRows(
  store: Store,
  domain: number,
  index: IndexKind,
  counters: Float64Array,
): AsyncGenerator<Uint8Array> {
  const wanted = new Set(counters);
  try {
    if (index !== 'none') {
      const prefix = domainKey(index === 'unique' ? PREFIX.index : PREFIX.listed, domain);
      for await (const { key, value } of store.range({ from: prefix, to: after(prefix) })) {
        const counter = index === 'listed' ? getU64(key, 21) : counterOf(value, domain, key, 5);
        if (wanted.has(counter)) yield Uint8Array.from(key);
      }
    }
    const prefix = Uint8Array.of(PREFIX.subject);
    for await (const { key } of store.range({ from: prefix, to: after(prefix) })) {
      if (getU32(key, 17) === domain && wanted.has(getU64(key, 21))) yield Uint8Array.from(key);
    }
  } catch (error) {
    throw callErrorOf(error);
  }
}
