import type { Column } from '../base/column.ts';
import { dedupe } from './dedupe.ts';
import type { CompiledDomain } from './domain.ts';
import { normalForms } from './normal.ts';
import { settleRefused } from './opaque.ts';
import { Assembly, type Encoded, takeRows } from './rows.ts';
import { applyView } from './view.ts';

const NO_BYTES = new Uint8Array(0);

/** Kind transform: what the masked or the redacted view would show, in place of a token. Setting
 *  `transform`: mask (default) or redact. No keys; nothing leads back. */
export function encodeTransform(domain: CompiledDomain, values: Column): Encoded {
  const distinct = dedupe(values);
  const items = takeRows(values, distinct.rows);
  const assembly = new Assembly(values.ends.length, distinct);
  const read = normalForms(domain, items);
  const view = domain.spec.formatOptions['transform'] === 'redact' ? 'redacted' : 'masked';
  assembly.add(applyView(domain, takeRows(items, read.good), view), read.good);
  settleRefused(assembly, {}, domain, items, read, NO_BYTES, NO_BYTES);
  return assembly.finish();
}
