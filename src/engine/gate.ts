import type { Entry } from '../audit/entry.ts';
import { CallError } from '../base/call-error.ts';
import type { Caller } from '../base/caller.ts';
import { type Column, rowCount } from '../base/column.ts';
import type { ItemError, Reason } from '../base/reason.ts';
import { dedupe } from '../codec/dedupe.ts';
import type { Action } from '../policy/grants.ts';
import type { Reservation } from '../policy/quota.ts';
import { type QuotaClass, type QuotaVerb, quotaOf } from '../policy/quota-limits.ts';
import { authorise, checkPurpose } from '../policy/view.ts';
import type { CallBase, PerCall } from './calls.ts';
import { domainIdOf, type ServedDomain } from './domain-table.ts';
import type { Cells } from './job.ts';
import type { Parts } from './parts.ts';
import { commitLeaf } from './receipts.ts';

/** What stands before every item of a call: the domain, the right, the quota. */

/** The domain a call names. For whoever may not list domains an absent domain looks like a closed
 *  one: ACCESS_DENIED; for the others it is RESOURCE_NOT_FOUND. */
export function domainOf(parts: Parts, caller: Caller, name: string): ServedDomain {
  const id = domainIdOf(caller, name);
  const domain = parts.domains.get(id);
  if (domain !== undefined) return domain;
  const absent = {
    id: id === '' ? `${caller.organisation}/-` : id,
    kind: 'fpe',
    format: '',
  } as const;
  const read = parts.policy.decide({
    caller,
    action: 'ReadDomain',
    domain: absent,
    purpose: '',
    items: 0,
  });
  throw new CallError(read.allow ? 'RESOURCE_NOT_FOUND' : 'ACCESS_DENIED');
}

/** The domain, once policy permits the action; then its state is told too. */
export function admit(parts: Parts, call: CallBase, action: Action, items: number): ServedDomain {
  checkPurpose(action, call.purpose);
  const domain = domainOf(parts, call.caller, call.domain);
  authorise(parts.policy, {
    caller: call.caller,
    action,
    domain: domain.spec,
    purpose: call.purpose,
    items,
  });
  refuseDisabled(domain);
  return domain;
}

export function refuseDisabled(domain: ServedDomain): void {
  if (domain.spec.disabled) throw new CallError('DOMAIN_DISABLED');
}

/** Runs `work` under the quota of the verb, reserved before any item is looked at. The distinct
 *  items that `work` says it used stay counted; a call that fails gives everything back, unless its
 *  error tells which items are known. `work` is told the time that its leaf must carry: that of the
 *  day it was counted on. Throws BUDGET_EXHAUSTED for the whole call where the quota does not hold
 *  it. */
export async function underQuota<T>(
  parts: Parts,
  ask: QuotaAsk,
  work: (timeMs: number) => Promise<{ readonly used: number; readonly answer: T }>,
): Promise<T> {
  const reservation = reserve(parts, ask);
  if (reservation === undefined) return (await work(parts.clock.nowMs())).answer;
  let used = 0;
  try {
    const done = await work(reservation.timeMs);
    used = Math.min(done.used, reservation.count);
    return done.answer;
  } catch (error) {
    if (!(error instanceof CallError) || !TELLING.has(error.reason)) throw error;
    await logTelling(parts, ask, error.reason, reservation);
    used = reservation.count;
    throw error;
  } finally {
    parts.quota.settle(reservation, used);
    parts.metrics.quotaUsed(BUDGETS[reservation.class], used);
  }
}

export interface QuotaAsk {
  readonly verb: QuotaVerb;
  readonly caller: Caller;
  readonly domain: ServedDomain;
  readonly items: Column;
  /** Contexts and subjects: where they differ by item, equal items are not one. */
  readonly cells: readonly PerCall[];
}

/** Refusals under all-or-nothing that say of single items whether a record is there. Free, they
 *  would be an oracle: ten thousand guesses and one token that is surely wrong. */
const TELLING: ReadonlySet<Reason> = new Set<Reason>([
  'TOKEN_NOT_FOUND',
  'VALUE_NOT_FOUND',
  'RECORD_CORRUPT',
  'TOKEN_ENDED',
  'TOKEN_RESTRICTED',
  'TOKEN_UNLINKED',
]);

const VERB_NAMES = {
  tokenize: 'Tokenize',
  lookup: 'Lookup',
  'list-subject': 'ListSubjectTokens',
  detokenize: 'Detokenize',
  inspect: 'Inspect',
  'exchange-from': 'Exchange',
  'exchange-into': 'Exchange',
} as const satisfies Record<QuotaVerb, string>;

/** The leaf of such a refusal, durable before the caller hears of it; it carries what was charged,
 *  so that a restart counts it too. An Exchange has one, in its source. */
async function logTelling(
  parts: Parts,
  ask: QuotaAsk,
  refused: Reason,
  { count, timeMs }: Reservation,
): Promise<void> {
  if (ask.verb === 'exchange-into') return;
  await commitLeaf(parts, {
    entry: {
      timeMs,
      verb: VERB_NAMES[ask.verb],
      domain: ask.domain.spec.id,
      caller: ask.caller.id,
      purpose: '',
      view: '',
      policyHash: parts.policy.policyHash,
      keyVersions: [ask.domain.keyVersion],
      done: 0,
      failed: rowCount(ask.items),
      distinct: count,
      extra: { refused },
    },
    body: undefined,
  });
}

const BUDGETS = { tokenize: 'keyed', reveal: 'reveal' } as const satisfies Record<
  QuotaClass,
  string
>;

/** Reserves every item; only where that does not fit are the distinct ones counted, since equal
 *  items of a call are charged once and counting them costs more than the reservation. */
function reserve(parts: Parts, ask: QuotaAsk): Reservation | undefined {
  const { spec, formatSize } = ask.domain;
  const quota = quotaOf(ask.verb, spec.kind, formatSize, parts.limits.quota);
  if (quota === undefined) return undefined;
  const { class: kind, limit } = quota;
  const rows = rowCount(ask.items);
  const fits = rows <= parts.quota.left(ask.caller.id, spec.id, kind, limit);
  const columns = ask.cells.flatMap((cell) => (cell.kind === 'each' ? [cell.values] : []));
  const count = fits ? rows : dedupe(ask.items, ...columns).count;
  try {
    return parts.quota.reserve(ask.caller.id, spec.id, kind, count, limit);
  } catch (error) {
    parts.metrics.quotaRefused(BUDGETS[kind]);
    throw error;
  }
}

/** The part of a log entry that every verb has. `rows` are those of the answer: under ordered-stop
 *  the failed item stands behind them. */
export function entryOf(
  parts: Parts,
  call: CallBase,
  verb: string,
  domain: ServedDomain,
  rows: number,
  errors: readonly ItemError[],
  timeMs: number,
): Entry {
  let within = 0;
  for (const { index } of errors) if (index < rows) within++;
  return {
    timeMs,
    verb,
    domain: domain.spec.id,
    caller: call.caller.id,
    purpose: call.purpose,
    view: '',
    policyHash: parts.policy.policyHash,
    keyVersions: [domain.keyVersion],
    done: rows - within,
    failed: errors.length,
    distinct: 0,
  };
}

/** As it crosses to the key worker. */
export function cellsOf(cells: PerCall): Cells {
  if (cells.kind === 'none') return undefined;
  return cells.kind === 'one' ? cells.value : cells.values;
}

/** Items must name their subject where the domain asks for it. */
export function requireSubject(domain: ServedDomain, subject: PerCall): void {
  if (!domain.spec.subjectRequired) return;
  if (subject.kind === 'none' || (subject.kind === 'one' && subject.value.length === 0)) {
    throw new CallError('SUBJECT_REQUIRED');
  }
}
