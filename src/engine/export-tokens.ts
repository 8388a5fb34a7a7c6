import { CallError } from '../base/call-error.ts';
import { columnOf } from '../base/column.ts';
import { Plain } from '../base/plain.ts';
import type { RecordPage } from '../vault/pages.ts';
import { DAMAGED_RULES } from '../vault/rules-table.ts';
import type { ServedDomain } from './domain-table.ts';
import { admit, entryOf, underQuota } from './gate.ts';
import type { ColumnResult } from './job.ts';
import { pickRows } from './jobs/gather.ts';
import type { Parts } from './parts.ts';
import { commitLeaf } from './receipts.ts';
import { stateOf } from './rules.ts';
import type { ExportBatch, ExportCall } from './vault-calls.ts';

const PAIRS_MAX = 1_000;
const NO_BYTES = new Uint8Array(0);
const ROW = /^(?:0|[1-9][0-9]{0,15})$/;

/** Every pair of a vaulted domain that can be revealed, ascending by row, in batches: each is its
 *  own decision, counts as so many reveals and has its leaf before it is given. Pages are read as
 *  they come: what is minted meanwhile may be among them, what is erased or stopped meanwhile is
 *  not. Values and tokens alone are given: a pair does not tell the subject and the context it was
 *  bound to, and imported elsewhere it is bound no more, unless a subject is named there. Reveals
 *  that a token's own rules count are not counted by an export. */
export async function* exportTokens(parts: Parts, call: ExportCall): AsyncGenerator<ExportBatch> {
  let from = startOf(call.after);
  for (;;) {
    const domain = admit(parts, call, 'ExportTokens', PAIRS_MAX);
    if (!domain.vaulted) throw new CallError('KIND_UNSUPPORTED');
    if (call.cancelled()) throw new CallError('CALL_CANCELLED');
    const page = await parts.vault.page(domain.spec.id, from, PAIRS_MAX);
    const last = page.counters.at(-1);
    if (last === undefined) return;
    from = last + 1;
    const shown = await withoutHeld(parts, domain, page);
    if (shown.counters.length === 0) continue;
    const batch = await exportPage(parts, domain, call, shown);
    if (batch.tokens.ends.length > 0) yield { ...batch, row: String(last) };
  }
}

function startOf(after: string): number {
  if (after === '') return 0;
  if (!ROW.test(after) || !Number.isSafeInteger(Number(after))) {
    throw new CallError('FIELD_INVALID', {
      violations: [{ field: 'after', text: 'is not a row of an export' }],
    });
  }
  return Number(after) + 1;
}

/** The page without tokens that are restricted, ended or unlinked, or whose rules are damaged. */
async function withoutHeld(
  parts: Parts,
  { spec }: ServedDomain,
  page: RecordPage,
): Promise<RecordPage> {
  const { counters, sealed } = page;
  const rules = await parts.vault.rules.read(spec.id, counters);
  if (rules === undefined) return page;
  const nowMs = parts.clock.nowMs();
  const kept = Array.from(counters.keys()).filter((row) => {
    const own = rules[row];
    return own === undefined || (own !== DAMAGED_RULES && stateOf(own, nowMs) === 'live');
  });
  return {
    counters: Float64Array.from(kept, (row) => counters[row]!),
    sealed: pickRows(sealed, kept),
  };
}

function exportPage(
  parts: Parts,
  domain: ServedDomain,
  call: ExportCall,
  page: RecordPage,
): Promise<Omit<ExportBatch, 'row'>> {
  const { caller } = call;
  const items = columnOf(Array.from(page.counters, String));
  const ask = { verb: 'detokenize', caller, domain, items, cells: [] } as const;
  return underQuota(parts, ask, async (timeMs) => {
    const revealed = await reveal(parts, domain, call, page);
    const { column: values, errors } = revealed;
    const failed = new Set(errors.map(({ index }) => index));
    const good = Uint32Array.from(page.counters.keys()).filter((row) => !failed.has(row));
    const counters = Float64Array.from(good, (row) => page.counters[row]!);
    // Tokens in the dress of their values, and a body that says whose were shown.
    const { tokens, body } = await parts.lane.run(
      {
        op: 'mint',
        domain: domain.spec.id,
        total: page.counters.length,
        good,
        counters,
        newRows: new Uint32Array(0),
        stored: values,
        context: undefined,
        subjects: revealed.subjects!,
        created: NO_BYTES,
        errors,
        remarks: undefined,
        seal: true,
      },
      call,
    );
    const entry = entryOf(
      parts,
      call,
      'ExportTokens',
      domain,
      page.counters.length,
      errors,
      timeMs,
    );
    const used = good.length;
    const receipt = await commitLeaf(parts, {
      entry: { ...entry, view: 'plain', distinct: used },
      body,
    });
    const shown = { values: new Plain(pickRows(values, good)), tokens: pickRows(tokens, good) };
    return { used, answer: { ...shown, receipt } };
  });
}

/** Values of the records, whoever they belong to; RECORD_CORRUPT for one that does not open. */
function reveal(
  parts: Parts,
  domain: ServedDomain,
  call: ExportCall,
  { counters, sealed }: RecordPage,
): Promise<ColumnResult> {
  return parts.lane.run(
    {
      op: 'reveal',
      whose: 'anyone',
      domain: domain.spec.id,
      tokens: { bytes: NO_BYTES, ends: new Uint32Array(counters.length) },
      good: undefined,
      counters,
      records: sealed,
      context: undefined,
      subject: undefined,
      delivery: 'best-effort',
      errors: [],
      view: 'plain',
      seal: false,
    },
    call,
  );
}
