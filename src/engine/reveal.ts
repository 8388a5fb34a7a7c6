import { CallError } from '../base/call-error.ts';
import type { Column } from '../base/column.ts';
import type { Delivery, View } from '../base/domain.ts';
import { refuseIfPartial } from './delivery.ts';
import type { ServedDomain } from './domain-table.ts';
import type { Cells, ColumnResult } from './job.ts';
import type { Parts } from './parts.ts';

/** Tokens on their way back to values; the call around them decides what is logged. */
export interface TokenItems {
  readonly tokens: Column;
  readonly context: Cells;
  readonly subject: Cells;
  readonly delivery: Delivery;
  readonly view: View;
  readonly deadlineMs: number;
  readonly cancelled: () => boolean;
  /** Whether the worker seals a log body of the tokens. */
  readonly seal: boolean;
}

/** Values in the view asked for, empty rows where an item failed. A subject or context that is not
 *  the token's own is TOKEN_NOT_FOUND, as an unknown token is. */
export async function revealItems(
  parts: Parts,
  domain: ServedDomain,
  items: TokenItems,
): Promise<ColumnResult> {
  if (!domain.reversible) throw new CallError('KIND_UNSUPPORTED');
  const result = domain.vaulted
    ? await revealVaulted(parts, domain, items)
    : await revealDerived(parts, domain, items);
  refuseIfPartial(items.delivery, 'tokens', result.errors);
  return result;
}

function revealDerived(
  parts: Parts,
  domain: ServedDomain,
  items: TokenItems,
): Promise<ColumnResult> {
  const { tokens, context, subject, delivery, view, seal } = items;
  return parts.lane.run(
    { op: 'decode', domain: domain.spec.id, tokens, context, subject, delivery, view, seal },
    items,
  );
}

async function revealVaulted(
  parts: Parts,
  domain: ServedDomain,
  items: TokenItems,
): Promise<ColumnResult> {
  const { tokens, context, subject, delivery, view, seal } = items;
  const id = domain.spec.id;
  const located = await parts.lane.run(
    { op: 'locate', domain: id, tokens, context, subject, delivery },
    items,
  );
  const { good, counters, errors } = located;
  const records = await parts.vault.read(id, counters);
  const revealed = await parts.lane.run(
    {
      op: 'reveal',
      domain: id,
      tokens,
      good,
      counters,
      records,
      context,
      subject,
      delivery,
      errors,
      view,
      seal,
    },
    items,
  );
  return { ...revealed, distinct: located.distinct };
}
