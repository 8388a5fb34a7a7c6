import { CallError } from '../base/call-error.ts';
import { type Column, rowCount } from '../base/column.ts';
import type { Delivery } from '../base/domain.ts';
import type { ItemError } from '../base/reason.ts';
import type { NewRules } from '../vault/rules.ts';
import type { ExchangeCall, Receipt, TokenAnswer } from './calls.ts';
import type { ServedDomain } from './domain-table.ts';
import { type Encoded, encodeDerived, type Items, indexItems, mintItems } from './encode.ts';
import { admit, cellsOf, entryOf, requireSubject, underQuota } from './gate.ts';
import type { Cells } from './job.ts';
import type { Parts } from './parts.ts';
import { commitLeaf, withProof } from './receipts.ts';
import { type Revealed, revealItems } from './reveal.ts';
import { newRulesOf } from './rules.ts';
import { answerOf } from './tokenize.ts';
import { requireVault } from './writable.ts';

/** Tokens of one domain into those of another. The values stay inside the engine: nobody is shown
 *  them, so it takes two rights of its own, from the one and into the other. */
export async function exchange(parts: Parts, call: ExchangeCall): Promise<TokenAnswer> {
  const rows = rowCount(call.tokens);
  const source = admit(parts, call, 'ExchangeFrom', rows);
  const target = admit(parts, { ...call, domain: call.targetDomain }, 'ExchangeInto', rows);
  if (source === target) {
    throw new CallError('FIELD_INVALID', {
      violations: [{ field: 'target_domain', text: 'is the domain itself' }],
    });
  }
  if (target.spec.kind === 'dynamic') throw new CallError('KIND_UNSUPPORTED');
  requireSubject(source, call.subject);
  requireSubject(target, call.subject);
  const rules = newRulesOf(parts, target, call.rules);
  if (target.vaulted) requireVault(parts);
  const from = {
    verb: 'exchange-from',
    caller: call.caller,
    domain: source,
    items: call.tokens,
    cells: [call.context, call.targetContext, call.subject],
  } as const;
  const into = { ...from, verb: 'exchange-into', domain: target } as const;
  return underQuota(parts, from, (timeMs) =>
    underQuota(parts, into, async () => {
      const { distinct, answer } = await convert(parts, call, source, target, { timeMs, rules });
      return { used: distinct, answer: { used: distinct, answer } };
    }),
  );
}

async function convert(
  parts: Parts,
  call: ExchangeCall,
  source: ServedDomain,
  target: ServedDomain,
  more: { readonly timeMs: number; readonly rules: NewRules | undefined },
): Promise<{ distinct: number; answer: TokenAnswer }> {
  const { delivery, deadlineMs, cancelled } = call;
  const items = {
    tokens: call.tokens,
    context: cellsOf(call.context),
    subject: cellsOf(call.subject),
    delivery,
    view: 'plain',
    deadlineMs,
    cancelled,
    seal: false,
  } as const;
  const { distinct, answer, committed } = await revealItems(parts, source, items, (revealed) =>
    convertRevealed(parts, call, source, target, { ...more, revealed }),
  );
  const receipt = await withProof(parts, committed, call.waitForProof);
  return { distinct, answer: answerOf(target, answer, receipt) };
}

async function convertRevealed(
  parts: Parts,
  call: ExchangeCall,
  source: ServedDomain,
  target: ServedDomain,
  { timeMs, rules, revealed }: { timeMs: number; rules: NewRules | undefined; revealed: Revealed },
): Promise<{ distinct: number; answer: Encoded; committed: Receipt }> {
  const subject = cellsOf(call.subject);
  const { delivery, deadlineMs, cancelled } = call;
  // Under ordered-stop fewer rows than were asked for go on, each with its own context and subject.
  const left = rowCount(revealed.column);
  const encoded = await encode(parts, target, {
    values: revealed.column,
    context: firstCells(cellsOf(call.targetContext), left),
    subject: firstCells(subject, left),
    field: 'tokens',
    delivery,
    deadlineMs,
    cancelled,
    seal: false,
    rules,
  });
  try {
    const errors = mergeErrors(revealed.errors, encoded.errors, delivery);
    const rows = rowCount(encoded.tokens);
    const tokens = firstRows(call.tokens, rows);
    const body = await parts.lane.run(
      {
        op: 'seal',
        tokens,
        targets: encoded.tokens,
        subject: firstCells(subject, rowCount(tokens)),
        errors,
      },
      { deadlineMs, cancelled },
    );
    const entry = {
      ...entryOf(parts, call, 'Exchange', source, rows, errors, timeMs),
      keyVersions: [source.keyVersion, target.keyVersion],
      distinct: revealed.distinct,
      extra: { into: target.spec.id },
      ...(encoded.minted === undefined ? {} : { counters: encoded.minted }),
    };
    // An item that the target refused was opened too: its reason tells of the value, so it counts.
    const opened = delivery === 'ordered-stop' ? Math.min(rows + 1, left) : left;
    const edits = [...(encoded.edits ?? []), ...revealed.uses(opened)];
    const { records } = encoded;
    const committed = await commitLeaf(parts, { entry, body, records, edits });
    return { distinct: revealed.distinct, answer: { ...encoded, errors }, committed };
  } finally {
    encoded.release();
    if (encoded.claim !== undefined) parts.vault.release(encoded.claim);
  }
}

async function encode(parts: Parts, target: ServedDomain, items: Items): Promise<Encoded> {
  if (!target.vaulted) return encodeDerived(parts, target, items);
  return mintItems(parts, target, items, await indexItems(parts, target, items, undefined));
}

/** A row that did not open came to the target as an empty value: its first reason counts. Ordered
 *  stop names one item, the lowest. */
function mergeErrors(
  first: readonly ItemError[],
  second: readonly ItemError[],
  delivery: Delivery,
): ItemError[] {
  const reasons = new Map(second.map((error) => [error.index, error]));
  for (const error of first) reasons.set(error.index, error);
  const errors = [...reasons.values()].sort((a, b) => a.index - b.index);
  return delivery === 'ordered-stop' ? errors.slice(0, 1) : errors;
}

const firstCells = (cells: Cells, rows: number): Cells =>
  cells === undefined || cells instanceof Uint8Array ? cells : firstRows(cells, rows);

function firstRows({ bytes, ends }: Column, rows: number): Column {
  if (rows >= ends.length) return { bytes, ends };
  return { bytes: bytes.slice(0, rows === 0 ? 0 : ends[rows - 1]!), ends: ends.slice(0, rows) };
}
