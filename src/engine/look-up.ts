import type { ItemError } from '../base/reason.ts';
import { resolveAliases } from './alias-lookup.ts';
import { refuseIfPartial } from './delivery.ts';
import type { ServedDomain } from './domain-table.ts';
import { type Encoded, type Items, indexItems, remarkNotices } from './encode.ts';
import type { IndexResult, Remarks } from './job.ts';
import type { Parts } from './parts.ts';
import { keepSharedCounters } from './sharing.ts';

const NO_BYTES = new Uint8Array(0);

/** Tokens of the values that have one in a static domain; VALUE_NOT_FOUND for the others. */
export async function lookUpVaulted(
  parts: Parts,
  domain: ServedDomain,
  items: Items,
): Promise<Encoded> {
  const indexed = await indexItems(parts, domain, items, undefined);
  const known = (await resolveAliases(parts, domain, indexed)).indexed.indexes;
  const stored = await parts.vault.find(domain.spec.id, known);
  const counters = await keepSharedCounters(parts, domain, indexed, stored);
  const found = keepFound(indexed, counters, items.delivery === 'ordered-stop');
  refuseIfPartial(items.delivery, items.field, found.errors);
  const mint = await parts.lane.run(
    {
      op: 'mint',
      domain: domain.spec.id,
      ...found,
      newRows: new Uint32Array(0),
      stored: indexed.stored,
      context: items.context,
      subjects: indexed.subjects,
      created: NO_BYTES,
      seal: items.seal,
    },
    items,
  );
  return {
    tokens: mint.tokens,
    errors: found.errors,
    distinct: indexed.distinct,
    notices: remarkNotices(found.remarks),
    created: NO_BYTES,
    body: mint.body,
    records: undefined,
    minted: undefined,
    claim: undefined,
    release: () => {},
  };
}

interface Found {
  readonly total: number;
  readonly good: Uint32Array;
  readonly counters: Float64Array;
  readonly errors: readonly ItemError[];
  readonly remarks: Remarks | undefined;
}

/** Drops the rows without a counter: NaN is not found, a negative one a damaged row. */
function keepFound(indexed: IndexResult, counters: Float64Array, stop: boolean): Found {
  const missing: ItemError[] = [];
  const good: number[] = [];
  const kept: number[] = [];
  for (const [i, counter] of counters.entries()) {
    const index = indexed.good === undefined ? i : indexed.good[i]!;
    if (counter >= 0) {
      good.push(index);
      kept.push(counter);
    } else {
      missing.push({ index, reason: Number.isNaN(counter) ? 'VALUE_NOT_FOUND' : 'RECORD_CORRUPT' });
    }
  }
  const errors = [...indexed.errors, ...missing].sort((a, b) => a.index - b.index);
  const first = errors[0];
  if (!stop || first === undefined) {
    return {
      total: indexed.total,
      good: Uint32Array.from(good),
      counters: Float64Array.from(kept),
      errors,
      remarks: indexed.remarks,
    };
  }
  const before = good.filter((index) => index < first.index).length;
  const { remarks } = indexed;
  return {
    total: Math.min(first.index, indexed.total),
    good: Uint32Array.from(good.slice(0, before)),
    counters: Float64Array.from(kept.slice(0, before)),
    errors: [first],
    remarks: remarks && {
      ...remarks,
      opaque: remarks.opaque.filter((index) => index < first.index),
      passed: remarks.passed.filter((index) => index < first.index),
    },
  };
}
