import { CallError } from '../base/call-error.ts';
import type { Column } from '../base/column.ts';
import type { Delivery, View } from '../base/domain.ts';
import type { Edit } from '../vault/call-write.ts';
import type { RulesColumn } from '../vault/rules-table.ts';
import { refuseIfPartial } from './delivery.ts';
import type { ServedDomain } from './domain-table.ts';
import type { Cells, ColumnResult, LocateResult } from './job.ts';
import type { Parts } from './parts.ts';
import { heldTokens, isCounted, underRules, usesEdit } from './rules.ts';
import { keepShared } from './sharing.ts';

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

/** What a reveal shows, and what it leaves behind. */
export interface Revealed extends ColumnResult {
  /** What showing the first `rows` rows changes of the rules of their tokens; to be committed with
   *  the leaf. */
  readonly uses: (rows: number) => readonly Edit[];
}

const NO_USES = (): readonly Edit[] => [];

/** Values in the view asked for, empty rows where an item failed. A subject or context that is not
 *  the token's own is TOKEN_NOT_FOUND, as an unknown token is. `work` makes the reveal durable: in
 *  a batch whose reveals count, nobody else's reveal stands between the count and that. */
export async function revealItems<T>(
  parts: Parts,
  domain: ServedDomain,
  items: TokenItems,
  work: (revealed: Revealed) => Promise<T>,
): Promise<T> {
  if (!domain.reversible) throw new CallError('KIND_UNSUPPORTED');
  if (domain.vaulted) return revealVaulted(parts, domain, items, work);
  const result = await revealDerived(parts, domain, items);
  refuseIfPartial(items.delivery, 'tokens', result.errors);
  return work({ ...result, uses: NO_USES });
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

async function revealVaulted<T>(
  parts: Parts,
  domain: ServedDomain,
  items: TokenItems,
  work: (revealed: Revealed) => Promise<T>,
): Promise<T> {
  const { tokens, context, subject, delivery } = items;
  const id = domain.spec.id;
  const located = await parts.lane.run(
    { op: 'locate', domain: id, tokens, context, subject, delivery },
    items,
  );
  const { counters } = located;
  const { vault } = parts;
  const read = async (): Promise<Batch> => {
    const [records, rules] = await Promise.all([
      vault.read(id, counters),
      vault.rules.read(id, counters),
    ]);
    return { located, records, rules };
  };
  const batch = await read();
  if (batch.rules === undefined || !isCounted(batch.rules)) {
    return work(await open(parts, domain, items, batch));
  }
  // What was read before its turn came may have changed meanwhile.
  return underRules(vault, [id], async () => work(await open(parts, domain, items, await read())));
}

/** Tokens and what the vault has of them, row by row. */
interface Batch {
  readonly located: LocateResult;
  readonly records: Column;
  readonly rules: RulesColumn | undefined;
}

async function open(
  parts: Parts,
  domain: ServedDomain,
  items: TokenItems,
  { located, records, rules }: Batch,
): Promise<Revealed> {
  const { tokens, context, subject, delivery, view, seal } = items;
  const id = domain.spec.id;
  const { good, counters, errors } = located;
  const held = rules && heldTokens(good, counters, rules, parts.clock.nowMs());
  const revealed = await parts.lane.run(
    {
      op: 'reveal',
      domain: id,
      tokens,
      good,
      counters,
      records: await keepShared(parts, domain, located, records),
      holds: held?.holds,
      context,
      subject,
      delivery,
      errors,
      view,
      seal,
    },
    items,
  );
  refuseIfPartial(delivery, 'tokens', revealed.errors);
  const uses =
    held === undefined
      ? NO_USES
      : (rows: number) => usesEdit(parts.vault, id, held, rows, revealed.errors);
  return { ...revealed, distinct: located.distinct, uses };
}
