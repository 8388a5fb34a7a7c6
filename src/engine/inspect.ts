import { CallError } from '../base/call-error.ts';
import { rowCount } from '../base/column.ts';
import type { ItemError } from '../base/reason.ts';
import type { InspectAnswer, InspectCall, TokenState } from './calls.ts';
import type { ServedDomain } from './domain-table.ts';
import { admit, cellsOf, entryOf, underQuota } from './gate.ts';
import type { Parts } from './parts.ts';
import { commitLeaf } from './receipts.ts';

/** What a token is, without revealing anything. A domain that keeps no records can say no more than
 *  that the form is right (FPE) or that the token opens (SIV). */
export async function inspect(parts: Parts, call: InspectCall): Promise<InspectAnswer> {
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
    const body = await parts.lane.run(
      {
        op: 'seal',
        tokens: call.tokens,
        targets: undefined,
        subject: undefined,
        errors: found.errors,
      },
      call,
    );
    const rows = found.states.length;
    const entry = entryOf(parts, call, 'Inspect', domain, rows, found.errors, timeMs);
    const receipt = await commitLeaf(parts, {
      entry: { ...entry, distinct: found.distinct },
      body,
    });
    const { states, errors } = found;
    const keyVersions = states.map((state) => (state === 'unknown' ? 0 : domain.keyVersion));
    return { used: found.distinct, answer: { states, errors, receipt, keyVersions } };
  });
}

interface Found {
  readonly states: TokenState[];
  readonly errors: readonly ItemError[];
  readonly distinct: number;
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
  const states = new Array<TokenState>(rowCount(call.tokens)).fill('well-formed');
  return { states: withErrors(states, errors), errors: [], distinct };
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
  const records = await parts.vault.read(domain.spec.id, counters);
  const states = new Array<TokenState>(rowCount(call.tokens)).fill('unknown');
  for (let i = 0; i < counters.length; i++) {
    const start = i === 0 ? 0 : records.ends[i - 1]!;
    if (records.ends[i]! > start) states[good === undefined ? i : good[i]!] = 'live';
  }
  if (domain.spec.onInvalid === 'tokenize-opaque' && good !== undefined) {
    // Opaque tokens have no record; what can be said of them is that they open.
    const { opaque } = await parts.lane.run(
      { op: 'reveal', ...batch, good, counters, records, errors, view: 'redacted', seal: false },
      call,
    );
    for (const index of opaque) states[index] = 'well-formed';
  }
  return { states: withErrors(states, errors), errors: [], distinct };
}

/** A malformed token is UNKNOWN, not an error: whether it is one is what was asked. */
function withErrors(states: TokenState[], errors: readonly ItemError[]): TokenState[] {
  for (const { index } of errors) states[index] = 'unknown';
  return states;
}
