import type { Change, Store } from '../../storage/store.ts';
import { domainRowOf } from '../../vault/domains.ts';
import { after, PREFIX } from '../../vault/layout.ts';
import { decodeDomain, proven } from '../../vault/rows.ts';
import { DomainTable, vaultIndexOf } from '../domain-table.ts';
import type { CatalogueState } from '../job.ts';

/** Rows of domains that a newer catalogue knows and the vault of the backup does not: their records
 *  are lost, but their counters must not be given out again, which the log sees to. */
export async function addMissingDomains(
  store: Store,
  catalogue: CatalogueState,
): Promise<Change[]> {
  const prefix = Uint8Array.of(PREFIX.domain);
  const there = new Set<string>();
  let highest = 0;
  for await (const { key, value } of store.range({ from: prefix, to: after(prefix) })) {
    there.add(Buffer.from(key.subarray(1)).toString('utf8'));
    highest = Math.max(highest, decodeDomain(proven(key, value)).number);
  }
  const table = new DomainTable();
  table.replace(catalogue);
  const changes: Change[] = [];
  for (const { spec, compiled } of table.all()) {
    const index = vaultIndexOf(spec);
    if (index === undefined || there.has(spec.id)) continue;
    highest += 1;
    const { counterLimit: countersMax, drawn } = compiled;
    const row = { number: highest, index, countersMax, drawn };
    changes.push({ type: 'put', ...domainRowOf(spec.id, row) });
  }
  return changes;
}
