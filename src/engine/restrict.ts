import { type Column, columnOf, rowCount } from '../base/column.ts';
import type { ItemError } from '../base/reason.ts';
import type { Edit } from '../vault/call-write.ts';
import type { TokenRules } from '../vault/rules.ts';
import { DAMAGED_RULES, type RulesColumn } from '../vault/rules-table.ts';
import { type FlaggedSubjects, RESTRICTED_SUBJECT } from '../vault/tombstones.ts';
import { refuseIfPartial } from './delivery.ts';
import type { ServedDomain } from './domain-table.ts';
import { underRequest } from './erase.ts';
import { ensureNumbered, tokensOf } from './erase-part.ts';
import { endsOf } from './erase-request.ts';
import type { IndexResult, SealedBody } from './job.ts';
import { joinColumns, rowsBetween } from './jobs/gather.ts';
import type { Parts } from './parts.ts';
import { commitLeaf, plainEntry } from './receipts.ts';
import { underRules } from './rules.ts';
import {
  countsOf,
  type DomainTargets,
  isBoundSiv,
  resolveTargets,
  type Targets,
  targetDomains,
} from './targets.ts';
import type { RestrictCall, TargetAnswer } from './vault-calls.ts';
import { requireVault } from './writable.ts';

/** Stops every reveal and exchange of tokens, or allows it again; the tokens themselves stay, and
 *  so does whatever else ends them. In force when it answers, all of it in one commit. By subject
 *  it stops the tokens there are: one made later is free. A record that several subjects share is
 *  stopped for all of them. */
export async function restrict(parts: Parts, call: RestrictCall): Promise<TargetAnswer> {
  const domains = targetDomains(parts, call, 'Restrict');
  requireVault(parts);
  const ids = domains.map(({ spec }) => spec.id);
  return underRequest(parts, call, (request) =>
    underRules(parts.vault, ids, () =>
      parts.vault.exclusive(ids, async () => {
        const targets = await resolveTargets(parts, call, domains);
        return restrictTargets(parts, call, targets, request);
      }),
    ),
  );
}

async function restrictTargets(
  parts: Parts,
  call: RestrictCall,
  found: Targets,
  request: IndexResult['idem'],
): Promise<TargetAnswer> {
  const rules = await Promise.all(
    found.perDomain.map(({ domain, counters }) => parts.vault.rules.read(domain.spec.id, counters)),
  );
  const targets = withoutDamaged(call, found, rules);
  const plans = targets.perDomain.map((own, d) => plan(parts, own, rules[d], call.lift, targets));
  const counts = countsOf(
    targets,
    plans.map(({ touched }) => touched),
  );
  const flagged = await flagSubjects(parts, targets, call.lift);
  const edits = [...plans.map(({ edit }) => edit), ...flagged.map(({ edit }) => edit)];
  const { errors, items } = targets;
  const receipt = await commitLeaf(parts, {
    entry: {
      ...plainEntry(parts, call.caller, 'Restrict', leafDomain(call, targets), {
        done: items - errors.filter(({ index }) => index < items).length,
        failed: errors.length,
        extra: {
          lift: call.lift ? 1 : 0,
          tokens: plans.reduce((sum, { touched }) => sum + touched.reduce((a, b) => a + b, 0), 0),
        },
      }),
      purpose: call.purpose,
    },
    body: await sealBody(parts, call, targets, counts),
    edits: edits.filter(({ changes }) => changes.length > 0),
    request,
  });
  for (const { after } of flagged) await parts.lane.control({ control: 'subject-flags', ...after });
  return { counts, errors, receipt };
}

const leafDomain = (call: RestrictCall, { perDomain, derived }: Targets): string =>
  call.domain === '' ? '' : (perDomain[0]?.domain ?? derived[0])!.spec.id;

/** The targets that the call gets to: nobody knows what a damaged row said, so it stays as it is,
 *  and its token stopped. */
function withoutDamaged(
  call: RestrictCall,
  targets: Targets,
  rules: readonly (RulesColumn | undefined)[],
): Targets {
  const damaged = new Set<number>();
  for (const [d, { item }] of targets.perDomain.entries()) {
    for (const [i, own] of rules[d]?.entries() ?? []) {
      if (own === DAMAGED_RULES) damaged.add(item[i]!);
    }
  }
  if (damaged.size === 0) return targets;
  const errors: ItemError[] = [...targets.errors];
  for (const [index, alike] of targets.alike.entries()) {
    if (damaged.has(alike)) errors.push({ index, reason: 'RECORD_CORRUPT' });
  }
  errors.sort((a, b) => a.index - b.index);
  refuseIfPartial(call.delivery, call.items.by === 'values' ? 'values' : 'tokens', errors);
  if (call.delivery !== 'ordered-stop') return { ...targets, errors };
  return { ...targets, items: errors[0]!.index, errors: errors.slice(0, 1) };
}

interface Plan {
  readonly edit: Edit;
  /** 1 where the token is one that the call stopped or freed, by place in `counters`. */
  readonly touched: Uint8Array;
}

function plan(
  { vault }: Parts,
  { domain, counters, item }: DomainTargets,
  before: RulesColumn | undefined,
  lift: boolean,
  { items }: Targets,
): Plan {
  const touched = new Uint8Array(counters.length);
  const places: number[] = [];
  const after: (TokenRules | undefined)[] = [];
  for (let i = 0; i < counters.length; i++) {
    const own = before?.[i];
    if (item[i]! >= items || own === DAMAGED_RULES || own?.unlinked) continue;
    touched[i] = 1;
    const next = lift ? lifted(own) : restricted(own);
    if (next === own) continue;
    places.push(i);
    after.push(next);
  }
  const changed = Float64Array.from(places, (i) => counters[i]!);
  const there = places.map((i) => before?.[i]);
  return { edit: vault.rules.editOf(domain.spec.id, changed, after, there), touched };
}

const NO_RULES: TokenRules = {
  createdMs: 0,
  idleMs: 0,
  expireMs: 0,
  revealsMax: 0,
  labels: [],
  usedMs: 0,
  reveals: 0,
  restricted: false,
  unlinked: false,
};

/** Both: itself where nothing changes. */
const restricted = (rules: TokenRules = NO_RULES): TokenRules =>
  rules.restricted ? rules : { ...rules, restricted: true };

function lifted(rules: TokenRules | undefined): TokenRules | undefined {
  if (rules === undefined || !rules.restricted) return rules;
  const { idleMs, expireMs, revealsMax, labels } = rules;
  const none = idleMs === 0 && expireMs === 0 && revealsMax === 0 && labels.length === 0;
  return none ? undefined : { ...rules, restricted: false };
}

type Flagged = { readonly edit: Edit; readonly after: FlaggedSubjects };

/** Tokens without a record are told by their subject: SIV of bound domains, and opaque ones. */
async function flagSubjects(
  parts: Parts,
  { group, derived, perDomain }: Targets,
  lift: boolean,
): Promise<Flagged[]> {
  if (group.length === 0) return [];
  const opaque = perDomain
    .map(({ domain }) => domain)
    .filter(({ spec }) => spec.onInvalid === 'tokenize-opaque');
  const domains: ServedDomain[] = [...opaque, ...derived.filter(isBoundSiv)];
  const change = lift ? { clear: RESTRICTED_SUBJECT } : { set: RESTRICTED_SUBJECT };
  const flagged: Flagged[] = [];
  for (const domain of domains) {
    const { id } = domain.spec;
    if (lift && !parts.vault.hasDomain(id)) continue;
    await ensureNumbered(parts, domain);
    flagged.push(await parts.vault.tombstones.change(id, group, change));
  }
  return flagged;
}

/** The body: the tokens as given; of values or a subject, those that were found, domain by domain.
 *  One empty row where there is none, so that the subject stands there. */
async function sealBody(
  parts: Parts,
  call: RestrictCall,
  targets: Targets,
  counts: Uint32Array,
): Promise<SealedBody> {
  const tokens = await bodyTokens(parts, call, targets);
  return parts.lane.run(
    {
      op: 'seal',
      tokens: rowCount(tokens) === 0 ? columnOf(['']) : tokens,
      targets: undefined,
      subject: undefined,
      subjectIndexes: targets.subject,
      errors: targets.errors,
      notices: [endsOf(counts)],
    },
    call,
  );
}

async function bodyTokens(parts: Parts, call: RestrictCall, targets: Targets): Promise<Column> {
  const { items } = call;
  if (items.by === 'tokens') return rowsBetween(items.tokens, 0, targets.items);
  const columns: Column[] = [];
  for (const { domain, counters } of targets.perDomain) {
    columns.push(await tokensOf(parts, call, domain, counters));
  }
  return joinColumns(columns);
}
