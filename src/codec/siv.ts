import type { Column } from '../base/column.ts';
import { dedupe } from './dedupe.ts';
import type { CompiledDomain, DomainKeys, PerItem } from './domain.ts';
import { normalForms } from './normal.ts';
import { openRows, sealRows, settleRefused } from './opaque.ts';
import { hasLead } from './printable.ts';
import { Assembly, compose, type Encoded, takeItems, takeRows } from './rows.ts';

/** Static SIV tokens, `tk_<name>_<base 32 of V ‖ C>`: the same normal form in the same context and
 *  for the same subject is the same token. A reveal gives the normal form. `subjects` are 16-byte
 *  indexes, or empty for none. */
export function encodeSiv(
  keys: DomainKeys,
  domain: CompiledDomain,
  values: Column,
  context: PerItem,
  subjects: PerItem,
): Encoded {
  const distinct = dedupe(values, context, subjects);
  const items = takeRows(values, distinct.rows);
  const contexts = takeItems(context, distinct.rows);
  const owners = takeItems(subjects, distinct.rows);
  const assembly = new Assembly(values.ends.length, distinct);
  const read = normalForms(domain, items);
  const sealed = sealRows(
    keys,
    domain.sivConstant,
    domain.lead,
    read.column,
    takeItems(contexts, read.good),
    takeItems(owners, read.good),
  );
  assembly.add(sealed, read.good);
  settleRefused(assembly, keys, domain, items, read, contexts, owners);
  return assembly.finish();
}

/** Values of SIV tokens. TOKEN_MALFORMED: not the form. TOKEN_NOT_FOUND: another domain's, another
 *  context or subject, or touched; which of them is not told. */
export function decodeSiv(
  keys: DomainKeys,
  domain: CompiledDomain,
  tokens: Column,
  context: PerItem,
  subjects: PerItem,
): Encoded {
  const distinct = dedupe(tokens, context, subjects);
  const items = takeRows(tokens, distinct.rows);
  const contexts = takeItems(context, distinct.rows);
  const owners = takeItems(subjects, distinct.rows);
  const assembly = new Assembly(tokens.ends.length, distinct);
  const split = splitByLead(items, domain.opaqueLead);
  const own = { constant: domain.sivConstant, lead: domain.lead, rows: split.others };
  const opaque = { constant: domain.opaqueConstant, lead: domain.opaqueLead, rows: split.led };
  for (const part of [own, opaque]) {
    if (part.rows !== null && part.rows.length === 0) continue;
    const opened = openRows(
      keys,
      part.constant,
      part.lead,
      takeRows(items, part.rows),
      takeItems(contexts, part.rows),
      takeItems(owners, part.rows),
    );
    const rows = compose(part.rows, opened.good)!;
    assembly.add(opened.column, rows, part === opaque ? 'opaque' : undefined);
    for (const [i, reason] of opened.reasons.entries()) {
      if (reason !== undefined) assembly.fail(part.rows === null ? i : part.rows[i]!, reason);
    }
  }
  return assembly.finish();
}

/** Rows with the lead, and the others; null for all of them. */
function splitByLead(column: Column, lead: Uint8Array) {
  const led: number[] = [];
  const others: number[] = [];
  for (let row = 0; row < column.ends.length; row++) {
    (hasLead(column, row, lead) ? led : others).push(row);
  }
  return {
    led: Uint32Array.from(led),
    others: led.length === 0 ? null : Uint32Array.from(others),
  };
}
