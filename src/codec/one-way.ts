import assert from 'node:assert';
import type { Column } from '../base/column.ts';
import { cmacMany } from '../modes/cmac.ts';
import { dedupe } from './dedupe.ts';
import type { CompiledDomain, DomainKeys, PerItem } from './domain.ts';
import { keyedMessages } from './keyed-message.ts';
import { normalForms } from './normal.ts';
import { settleRefused } from './opaque.ts';
import { printRows } from './printable.ts';
import { Assembly, type Encoded, takeItems, takeRows } from './rows.ts';

/** One-way pseudonyms, `tk_<name>_<base 32 of 16 bytes>`: CMAC under the domain's `pseudo` key
 *  over length ‖ constant (which domain), subject, context and normal form. Equal items get equal
 *  pseudonyms; nothing leads back but trying every value, which quotas count. */
export function encodeOneWay(
  keys: DomainKeys,
  domain: CompiledDomain,
  values: Column,
  context: PerItem,
  subjects: PerItem,
): Encoded {
  assert(keys.pseudo !== undefined, 'the domain has a pseudo key');
  const distinct = dedupe(values, context, subjects);
  const items = takeRows(values, distinct.rows);
  const contexts = takeItems(context, distinct.rows);
  const owners = takeItems(subjects, distinct.rows);
  const assembly = new Assembly(values.ends.length, distinct);
  const read = normalForms(domain, items);
  const rows = read.column.ends.length;
  const messages = keyedMessages(
    Uint8Array.of(domain.pseudoConstant.length, ...domain.pseudoConstant),
    read.column,
    takeItems(contexts, read.good),
    takeItems(owners, read.good),
  );
  const bytes = rows === 0 ? new Uint8Array(0) : cmacMany(keys.pseudo, messages);
  const ends = Uint32Array.from({ length: rows }, (_, row) => (row + 1) * 16);
  assembly.add(printRows(domain.lead, { bytes, ends }), read.good);
  settleRefused(assembly, keys, domain, items, read, contexts, owners);
  return assembly.finish();
}
