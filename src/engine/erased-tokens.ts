import { type Column, ColumnWriter, rowCount, rowStart } from '../base/column.ts';
import type { ItemError } from '../base/reason.ts';
import type { ServedDomain } from './domain-table.ts';
import type { Parts } from './parts.ts';

/** What a request answered, as its leaf's body has it. */
interface Answered {
  readonly tokens: Column;
  /** Ascending by index. */
  readonly errors: readonly ItemError[];
}

/** An answer out of the log without the tokens that were erased since: TOKEN_NOT_FOUND, as they are
 *  for everybody. Nothing is looked up while the domain has no erasures. */
export async function withoutErasedTokens<T extends Answered>(
  parts: Parts,
  domain: ServedDomain,
  answered: T,
  call: { readonly deadlineMs: number; readonly cancelled: () => boolean },
): Promise<T> {
  const { id } = domain.spec;
  if (!domain.vaulted || !parts.vault.erasures.any(id)) return answered;
  const { tokens } = answered;
  const located = await parts.lane.run(
    {
      op: 'locate',
      domain: id,
      tokens,
      context: undefined,
      subject: undefined,
      delivery: 'best-effort',
    },
    call,
  );
  const { good, counters } = located;
  const erased = await parts.vault.erasures.erased(id, counters);
  const gone = new Set<number>();
  for (let i = 0; i < erased.length; i++) {
    if (erased[i] === 1) gone.add(good === undefined ? i : good[i]!);
  }
  if (gone.size === 0) return answered;
  const errors = [...answered.errors];
  for (const index of gone) errors.push({ index, reason: 'TOKEN_NOT_FOUND' });
  errors.sort((a, b) => a.index - b.index);
  return { ...answered, tokens: blanked(tokens, gone), errors };
}

function blanked(column: Column, rows: ReadonlySet<number>): Column {
  const out = new ColumnWriter(rowCount(column), column.bytes.length);
  for (let row = 0; row < rowCount(column); row++) {
    if (!rows.has(row)) out.append(column.bytes, rowStart(column, row), column.ends[row]!);
    out.endRow();
  }
  return out.finish();
}
