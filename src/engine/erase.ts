import { CallError } from '../base/call-error.ts';
import { certificateOf } from './certificate-of.ts';
import type { ServedDomain } from './domain-table.ts';
import { CANNOT_ERASE, type ErasedPart, type ErasePart, erasePart } from './erase-part.ts';
import { answerBefore, endsOf, namesOf } from './erase-request.ts';
import type { IndexResult } from './job.ts';
import type { Parts } from './parts.ts';
import { underRules } from './rules.ts';
import { countsOf, isBoundSiv, resolveTargets, type Targets, targetDomains } from './targets.ts';
import type { EraseAnswer, EraseCall, RestrictCall, TargetAnswer } from './vault-calls.ts';

/** Tokens a leaf: what a batch may be. */
const TOKENS_A_PART = 10_000;

/** Ends tokens for good. Unreadable when it answers; gone from the files after the next
 *  compaction. A leaf for each domain and each 10,000 tokens, each with its own rows in one commit:
 *  a call that fails half way has erased the parts that its leaves name, and a repeat erases the
 *  rest. */
export async function erase(parts: Parts, call: EraseCall): Promise<EraseAnswer> {
  const domains = targetDomains(parts, call, 'Erase');
  const ids = domains.map(({ spec }) => spec.id);
  const answer = await underRequest(parts, call, (request) =>
    underRules(parts.vault, ids, () =>
      parts.vault.exclusive(ids, () => eraseTargets(parts, call, domains, request)),
    ),
  );
  // Not while others wait for the domains: the proofs want a checkpoint first.
  const { certificate } = await certificateOf(parts, answer.receipt.leafIndex);
  return { ...answer, certificate };
}

type Request = IndexResult['idem'];

/** Once for each request id: a repeat gets the answer of the first time. */
export async function underRequest(
  parts: Parts,
  call: EraseCall | RestrictCall,
  work: (request: Request) => Promise<TargetAnswer>,
): Promise<TargetAnswer> {
  if (call.requestId === '') return work(undefined);
  const { idem } = await parts.lane.run(
    { op: 'subjects', subjects: NOBODY, idem: namesOf(call) },
    call,
  );
  if (idem === undefined) throw new CallError('INTERNAL');
  const before = await parts.vault.beginRequest(idem.key);
  if (before !== undefined) {
    if (Buffer.compare(before.digest, idem.digest) !== 0) throw new CallError('REQUEST_ID_REUSED');
    return answerBefore(parts, call, before);
  }
  try {
    return await work(idem);
  } finally {
    parts.vault.endRequest(idem.key);
  }
}

const NOBODY = { bytes: new Uint8Array(0), ends: new Uint32Array(0) };

async function eraseTargets(
  parts: Parts,
  call: EraseCall,
  domains: readonly ServedDomain[],
  request: Request,
): Promise<TargetAnswer> {
  const targets = await resolveTargets(parts, call, domains);
  const work = partsOf(call, targets);
  const counts = countsOf(targets);
  let done: ErasedPart | undefined;
  for (const [i, part] of work.entries()) {
    const last = i === work.length - 1;
    const notices = [endsOf(counts), ...refusedOf(targets)];
    done = await erasePart(parts, call, part, {
      part: i + 1,
      parts: work.length,
      previous: done?.receipt.leafIndex,
      answer: last ? { errors: targets.errors, notices, request } : undefined,
    });
  }
  if (done === undefined) throw new CallError('INTERNAL');
  return { counts, errors: targets.errors, receipt: done.receipt };
}

/** One for each leaf; at least one, since every call has its leaf. */
function partsOf(call: EraseCall, targets: Targets): ErasePart[] {
  const { group } = targets;
  const found: ErasePart[] = [];
  for (const { domain, counters } of targets.perDomain) {
    // Opaque tokens of a vaulted domain have no record: only their subject takes them away.
    const byTombstone = group.length > 0 && domain.spec.onInvalid === 'tokenize-opaque';
    for (let at = 0; at < counters.length; at += TOKENS_A_PART) {
      const own = counters.slice(at, at + TOKENS_A_PART);
      found.push({ domain, counters: own, group, byTombstone });
    }
    if (byTombstone && counters.length === 0) found.push({ domain, counters, group, byTombstone });
  }
  for (const domain of targets.derived.filter(isBoundSiv)) {
    found.push({ domain, counters: new Float64Array(0), group, byTombstone: true });
  }
  if (found.length > 0) return found;
  const domain = call.domain === '' ? undefined : targets.perDomain[0]?.domain;
  return [{ domain, counters: new Float64Array(0), group, byTombstone: false }];
}

/** For the certificate: domains where the patient may have tokens that nothing can take away. */
const refusedOf = ({ derived }: Targets): { reason: string; indexes: number[] }[] =>
  derived
    .filter((domain) => !isBoundSiv(domain))
    .map(({ spec }) => ({ reason: `${CANNOT_ERASE} ${spec.id} ${spec.kind}`, indexes: [] }));
