import { CallError } from '../base/call-error.ts';
import { rowCount, rowStart } from '../base/column.ts';
import type { ItemError } from '../base/reason.ts';
import type { TokenRules } from '../vault/rules.ts';
import { DAMAGED_RULES } from '../vault/rules-table.ts';
import type { InspectAnswer, InspectCall, TokenDetails, TokenState } from './calls.ts';
import type { ServedDomain } from './domain-table.ts';
import { admit, cellsOf, entryOf, underQuota } from './gate.ts';
import type { Parts } from './parts.ts';
import { commitLeaf } from './receipts.ts';
import { stateOf } from './rules.ts';

/** Tokens a call that asks for details holds at most. */
const DETAILS_MAX = 1_000;

/** What a token is, without revealing anything. A domain that keeps no records can say no more than
 *  that the form is right (FPE) or that the token opens (SIV). Rules and labels are read beside the
 *  records, which stay sealed. */
export async function inspect(parts: Parts, call: InspectCall): Promise<InspectAnswer> {
  if (call.withDetails && rowCount(call.tokens) > DETAILS_MAX) {
    throw new CallError('BATCH_TOO_LARGE', {
      violations: [{ field: 'tokens', text: `at most ${DETAILS_MAX} with details` }],
    });
  }
  const domain = admit(parts, call, 'Inspect', rowCount(call.tokens));
  if (!domain.reversible) throw new CallError('KIND_UNSUPPORTED');
  const ask = {
    verb: 'inspect',
    caller: call.caller,
    domain,
    items: call.tokens,
    cells: [call.context],
  } as const;
  return underQuota(parts, ask, async (timeMs) => {
    const found = domain.vaulted
      ? await inspectVaulted(parts, domain, call)
      : await inspectDerived(parts, domain, call);
    const { states, errors, distinct } = found;
    const body = await parts.lane.run(
      { op: 'seal', tokens: call.tokens, targets: undefined, subject: undefined, errors },
      call,
    );
    const entry = entryOf(parts, call, 'Inspect', domain, states.length, errors, timeMs);
    const receipt = await commitLeaf(parts, { entry: { ...entry, distinct }, body });
    const keyVersions = states.map((state) => (state === 'unknown' ? 0 : domain.keyVersion));
    const details = call.withDetails ? found.details : [];
    return { used: distinct, answer: { states, errors, receipt, keyVersions, details } };
  });
}

interface Found {
  readonly states: TokenState[];
  readonly errors: readonly ItemError[];
  readonly distinct: number;
  /** As many as items. */
  readonly details: readonly (TokenDetails | undefined)[];
}

async function inspectDerived(
  parts: Parts,
  domain: ServedDomain,
  call: InspectCall,
): Promise<Found> {
  const { errors, distinct } = await parts.lane.run(
    {
      op: 'decode',
      domain: domain.spec.id,
      tokens: call.tokens,
      context: cellsOf(call.context),
      subject: undefined,
      delivery: 'best-effort',
      view: 'redacted',
      seal: false,
    },
    call,
  );
  const count = rowCount(call.tokens);
  const states = new Array<TokenState>(count).fill('well-formed');
  const details = new Array<undefined>(count).fill(undefined);
  return { states: withErrors(states, errors), errors: [], distinct, details };
}

async function inspectVaulted(
  parts: Parts,
  domain: ServedDomain,
  call: InspectCall,
): Promise<Found> {
  const batch = {
    domain: domain.spec.id,
    tokens: call.tokens,
    context: cellsOf(call.context),
    subject: undefined,
    delivery: 'best-effort',
  } as const;
  const located = await parts.lane.run({ op: 'locate', ...batch }, call);
  const { good, counters, errors, distinct } = located;
  const [records, rules] = await Promise.all([
    parts.vault.read(domain.spec.id, counters),
    parts.vault.rules.read(domain.spec.id, counters),
  ]);
  const states = new Array<TokenState>(rowCount(call.tokens)).fill('unknown');
  const details = new Array<TokenDetails | undefined>(states.length).fill(undefined);
  const damaged: ItemError[] = [];
  const nowMs = parts.clock.nowMs();
  for (let i = 0; i < counters.length; i++) {
    const index = good === undefined ? i : good[i]!;
    const own = rules?.[i];
    if (own === DAMAGED_RULES) damaged.push({ index, reason: 'RECORD_CORRUPT' });
    else if (own?.unlinked || records.ends[i]! > rowStart(records, i)) {
      states[index] = own === undefined ? 'live' : stateOf(own, nowMs);
      details[index] = own === undefined ? NO_RULES : detailsOf(own);
    }
  }
  if (domain.spec.onInvalid === 'tokenize-opaque' && good !== undefined) {
    // Opaque tokens have no record; what can be said of them is that they open.
    const { opaque } = await parts.lane.run(
      { op: 'reveal', ...batch, good, counters, records, errors, view: 'redacted', seal: false },
      call,
    );
    for (const index of opaque) states[index] = 'well-formed';
  }
  return { states: withErrors(states, errors), errors: damaged, distinct, details };
}

const NO_RULES: TokenDetails = {
  createdMs: 0,
  idleMs: 0,
  expireMs: 0,
  revealsMax: 0,
  labels: [],
  reveals: 0,
};

const detailsOf = (rules: TokenRules): TokenDetails => {
  const { createdMs, idleMs, expireMs, revealsMax, labels, reveals } = rules;
  return { createdMs, idleMs, expireMs, revealsMax, labels, reveals };
};

/** A malformed token is UNKNOWN, not an error: whether it is one is what was asked. */
function withErrors(states: TokenState[], errors: readonly ItemError[]): TokenState[] {
  for (const { index } of errors) states[index] = 'unknown';
  return states;
}
