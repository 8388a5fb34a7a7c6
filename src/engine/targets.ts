import { CallError } from '../base/call-error.ts';
import { type Column, columnOf, rowCount, rowStart } from '../base/column.ts';
import type { ItemError } from '../base/reason.ts';
import { organisationOf } from '../policy/ask.ts';
import { authorise, checkPurpose } from '../policy/view.ts';
import type { SubjectPlace } from '../vault/subjects.ts';
import { otherIndexes } from './alias-lookup.ts';
import { refuseIfPartial } from './delivery.ts';
import type { ServedDomain } from './domain-table.ts';
import { cellsOf, domainOf } from './gate.ts';
import type { LocateResult, Places } from './job.ts';
import type { Parts } from './parts.ts';
import { keepSharedCounters } from './sharing.ts';
import type { EraseCall, TargetCall } from './vault-calls.ts';

/** Tokens of one value that a call reaches at most; a dynamic domain can hold more of one. */
const TOKENS_A_VALUE_MAX = 10_000;

export type TargetAction = 'Restrict' | 'Erase';

/** The tokens that a call reaches in one domain. */
export interface DomainTargets {
  readonly domain: ServedDomain;
  /** Distinct, ascending. */
  readonly counters: Float64Array;
  /** Which item each counter is of; of equal items the first. */
  readonly item: Uint32Array;
}

/** What a Restrict or an Erase is about. */
export interface Targets {
  /** Vaulted domains that were asked for and permitted, ascending by id. */
  readonly perDomain: readonly DomainTargets[];
  /** Permitted domains without a vault; by subject only. */
  readonly derived: readonly ServedDomain[];
  /** Items that are answered: fewer than asked under ORDERED_STOP, 1 for a subject. */
  readonly items: number;
  /** By item: the first item that means the same tokens; itself in most calls. */
  readonly alike: Uint32Array;
  readonly errors: readonly ItemError[];
  /** Keyed index of the call's subject, 16 bytes. */
  readonly subject: Uint8Array | undefined;
  /** Indexes of the patient's other ids too, itself first; none unless by subject. */
  readonly group: readonly Uint8Array[];
}

/** The domains of the call, each permitted, ascending by id. A domain that is disabled still
 *  forgets and stops: that is asked of it by law, not by its users. What the call names may change
 *  until it has these domains to itself: `exclusive` of them, then `resolveTargets` inside. Throws
 *  `CallError`. */
export function targetDomains(
  parts: Parts,
  call: TargetCall,
  action: TargetAction,
): readonly ServedDomain[] {
  const { items, caller, purpose } = call;
  checkPurpose(action, purpose);
  const all = call.domain === '' && items.by === 'subject';
  const ask = { caller, action, purpose, items: itemsOf(call) };
  if (!all) {
    const domain = domainOf(parts, caller, call.domain);
    authorise(parts.policy, { ...ask, domain: domain.spec });
    refuseKind(domain, items.by, action);
    return [domain];
  }
  const own = `${caller.organisation}/`;
  const permitted = [...parts.domains.all()].filter(
    ({ spec }) => spec.id.startsWith(own) && parts.policy.decide({ ...ask, domain: spec }).allow,
  );
  if (permitted.length === 0) throw new CallError('ACCESS_DENIED');
  return permitted;
}

function itemsOf({ items }: TargetCall): number {
  if (items.by === 'tokens') return rowCount(items.tokens);
  return items.by === 'values' ? items.values.length : 1;
}

/** Whether what was made for a subject can be found or refused by it, without a record. */
export const isBoundSiv = ({ spec }: ServedDomain): boolean =>
  spec.kind === 'siv' && spec.subjectRequired;

function refuseKind(domain: ServedDomain, by: string, action: TargetAction): void {
  if (domain.vaulted || (by === 'subject' && isBoundSiv(domain))) return;
  throw new CallError(action === 'Erase' ? 'ERASE_REFUSED' : 'KIND_UNSUPPORTED');
}

/** What the call names in these domains, as it is now. */
export async function resolveTargets(
  parts: Parts,
  call: TargetCall | EraseCall,
  domains: readonly ServedDomain[],
): Promise<Targets> {
  const { items } = call;
  if (items.by === 'subject') return bySubject(parts, call, domains);
  const domain = domains[0]!;
  const found =
    items.by === 'tokens'
      ? await byTokens(parts, domain, call, items.tokens)
      : await byValues(parts, domain, call, items.values.reveal());
  refuseIfPartial(call.delivery, items.by, found.errors);
  return delivered(call, domain, found);
}

async function bySubject(
  parts: Parts,
  call: TargetCall,
  domains: readonly ServedDomain[],
): Promise<Targets> {
  const { subject } = call;
  if (subject.kind !== 'one' || subject.value.length === 0) {
    throw new CallError('FIELD_REQUIRED', {
      violations: [{ field: 'subject', text: 'required where it says what is meant' }],
    });
  }
  const index = await indexOfSubject(parts, call, subject.value);
  const group = parts.vault.aliases.groupOf(index, organisationOf(domains[0]!.spec.id));
  const vaulted = domains.filter((domain) => domain.vaulted);
  const found = await tokensOfGroup(parts, vaulted, group);
  return {
    perDomain: vaulted.map((domain) => {
      const counters = Float64Array.from(found.get(domain.spec.id) ?? []).sort();
      return { domain, counters, item: new Uint32Array(counters.length) };
    }),
    derived: domains.filter((domain) => !domain.vaulted),
    items: 1,
    alike: new Uint32Array(1),
    errors: [],
    subject: index,
    group,
  };
}

const ROWS_A_PAGE = 10_000;

/** Counters of a patient's tokens by domain, each once. */
async function tokensOfGroup(
  parts: Parts,
  domains: readonly ServedDomain[],
  group: readonly Uint8Array[],
): Promise<Map<string, Set<number>>> {
  const ids = domains.map(({ spec }) => spec.id);
  const found = new Map(ids.map((id) => [id, new Set<number>()]));
  if (ids.length === 0) return found;
  for (let page = undefined as SubjectPlace | undefined; ; ) {
    const { counters, ...rows } = await parts.vault.subjects.tokensOf(
      group,
      ids,
      page,
      ROWS_A_PAGE,
    );
    for (const [i, counter] of counters.entries()) found.get(rows.domains[i]!)!.add(counter);
    if (rows.next === undefined) return found;
    page = rows.next;
  }
}

/** Keyed index of a patient's id, 16 bytes. */
export async function indexOfSubject(
  parts: Parts,
  call: Pick<TargetCall, 'deadlineMs' | 'cancelled'>,
  name: Uint8Array,
): Promise<Uint8Array> {
  const job = { op: 'subjects', subjects: columnOf([name]), idem: undefined } as const;
  return (await parts.lane.run(job, call)).indexes;
}

/** Counters by item, item for item ascending, before equal ones are joined. */
interface Found {
  readonly total: number;
  readonly pairs: readonly { readonly item: number; readonly counter: number }[];
  readonly errors: readonly ItemError[];
}

const placeOf = (good: Places, i: number): number => (good === undefined ? i : good[i]!);

async function byTokens(
  parts: Parts,
  domain: ServedDomain,
  call: TargetCall | EraseCall,
  tokens: Column,
): Promise<Found> {
  const id = domain.spec.id;
  const located = await parts.lane.run(
    {
      op: 'locate',
      domain: id,
      tokens,
      context: cellsOf(call.context),
      subject: cellsOf(call.subject),
      delivery: 'best-effort',
    },
    call,
  );
  const { good, counters } = located;
  const records = await parts.vault.read(id, counters);
  // An unlinked token has no record any more, and can still be erased altogether.
  const left = await parts.vault.erasures.unlinked(id, counters);
  const strange = await strangersOf(parts, domain, call, { tokens, located, records });
  const erases = 'mode' in call;
  const pairs: { item: number; counter: number }[] = [];
  const errors = [...located.errors];
  const seen = new Set(errors.map(({ index }) => index));
  for (let i = 0; i < counters.length; i++) {
    const item = placeOf(good, i);
    const gone = records.ends[i]! === rowStart(records, i);
    seen.add(item);
    if (gone ? left[i] !== 1 : strange.has(item)) {
      errors.push({ index: item, reason: 'TOKEN_NOT_FOUND' });
    } else if (gone && !(erases && call.mode === 'delete')) {
      errors.push({ index: item, reason: 'TOKEN_UNLINKED' });
    } else pairs.push({ item, counter: counters[i]! });
  }
  for (let index = 0; index < rowCount(tokens); index++) {
    // Opaque tokens hold their value themselves: there is no record of them.
    if (!seen.has(index))
      errors.push({ index, reason: erases ? 'ERASE_REFUSED' : 'KIND_UNSUPPORTED' });
  }
  return { total: rowCount(tokens), pairs, errors: errors.sort((a, b) => a.index - b.index) };
}

/** Items whose record is not for the subject and context that the call names: to it they are
 *  unknown, as in a reveal. A call that names neither means the tokens, whosever they are; and a
 *  record that does not open is still there to be taken away. */
async function strangersOf(
  parts: Parts,
  domain: ServedDomain,
  call: TargetCall,
  batch: { readonly tokens: Column; readonly located: LocateResult; readonly records: Column },
): Promise<ReadonlySet<number>> {
  if (call.context.kind === 'none' && call.subject.kind === 'none') return new Set();
  const { tokens, located, records } = batch;
  const { errors } = await parts.lane.run(
    {
      op: 'reveal',
      domain: domain.spec.id,
      tokens,
      good: located.good,
      counters: located.counters,
      records,
      context: cellsOf(call.context),
      subject: cellsOf(call.subject),
      delivery: 'best-effort',
      errors: located.errors,
      view: 'redacted',
      seal: false,
    },
    call,
  );
  return new Set(
    errors.filter(({ reason }) => reason === 'TOKEN_NOT_FOUND').map(({ index }) => index),
  );
}

async function byValues(
  parts: Parts,
  domain: ServedDomain,
  call: TargetCall,
  values: Column,
): Promise<Found> {
  const { id, kind } = domain.spec;
  const indexed = await parts.lane.run(
    {
      op: 'index',
      domain: id,
      values,
      context: cellsOf(call.context),
      subject: cellsOf(call.subject),
      delivery: 'best-effort',
      idem: undefined,
    },
    call,
  );
  if (kind === 'dynamic' && !domain.spec.listable) throw new CallError('KIND_UNSUPPORTED');
  const { good, indexes } = indexed;
  const count = indexes.length / 16;
  const errors = [...indexed.errors];
  const pairs: { item: number; counter: number }[] = [];
  const stored = kind === 'static' ? await parts.vault.find(id, indexes) : undefined;
  const single = stored && (await keepSharedCounters(parts, domain, indexed, stored));
  const others = otherIndexes(indexed);
  for (let i = 0; i < count; i++) {
    const item = placeOf(good, i);
    const index = indexes.subarray(i * 16, i * 16 + 16);
    const counters =
      single === undefined || others(i).length > 0
        ? await countersUnder(parts, domain, [index, ...others(i)])
        : single.subarray(i, i + 1);
    if (counters[0] !== undefined && counters[0] < 0) {
      errors.push({ index: item, reason: 'RECORD_CORRUPT' });
    } else if (counters.length === 0 || Number.isNaN(counters[0])) {
      errors.push({ index: item, reason: 'VALUE_NOT_FOUND' });
    } else for (const counter of counters) pairs.push({ item, counter });
  }
  // Values left as they came, or sealed into opaque tokens, have no record.
  for (const index of [...(indexed.remarks?.opaque ?? []), ...(indexed.remarks?.passed ?? [])]) {
    errors.push({ index, reason: 'VALUE_NOT_FOUND' });
  }
  return { total: rowCount(values), pairs, errors: errors.sort((a, b) => a.index - b.index) };
}

/** Tokens of one value under each of these indexes: those of all ids of its patient. */
async function countersUnder(
  parts: Parts,
  { spec }: ServedDomain,
  indexes: readonly Uint8Array[],
): Promise<Float64Array> {
  const { vault } = parts;
  if (spec.kind === 'static') {
    const found = await vault.find(spec.id, Buffer.concat(indexes));
    return found.filter((counter) => !Number.isNaN(counter)).sort();
  }
  const lists = await Promise.all(
    indexes.map((index) => vault.list(spec.id, index, TOKENS_A_VALUE_MAX)),
  );
  return Float64Array.from(lists.flatMap((list) => [...list])).sort();
}

/** Joins items that mean the same tokens; ORDERED_STOP ends before the first failed item. */
function delivered(call: TargetCall, domain: ServedDomain, found: Found): Targets {
  const first = found.errors[0];
  const stop = call.delivery === 'ordered-stop' && first !== undefined;
  const items = stop ? first.index : found.total;
  const itemOf = new Map<number, number>();
  const alike = Uint32Array.from({ length: items }, (_, item) => item);
  for (const { item, counter } of found.pairs) {
    if (item >= items) continue;
    const earlier = itemOf.get(counter);
    if (earlier === undefined) itemOf.set(counter, item);
    else alike[item] = earlier;
  }
  const counters = Float64Array.from(itemOf.keys()).sort();
  return {
    perDomain: [
      { domain, counters, item: Uint32Array.from(counters, (counter) => itemOf.get(counter)!) },
    ],
    derived: [],
    items,
    alike,
    errors: stop ? [first] : found.errors,
    subject: undefined,
    group: [],
  };
}

/** Tokens by item, for the answer: items that mean the same tokens count them all. `touched` says
 *  which of the targets' counters count, domain by domain; undefined for all. */
export function countsOf(targets: Targets, touched?: readonly Uint8Array[]): Uint32Array {
  const counts = new Uint32Array(targets.items);
  for (const [d, { item }] of targets.perDomain.entries()) {
    for (let i = 0; i < item.length; i++) {
      if (touched === undefined || touched[d]![i] === 1) counts[item[i]!]!++;
    }
  }
  for (let item = 0; item < counts.length; item++) {
    if (targets.alike[item] !== item) counts[item] = counts[targets.alike[item]!]!;
  }
  return counts;
}
