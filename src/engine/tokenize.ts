import { CallError } from '../base/call-error.ts';
import { rowCount } from '../base/column.ts';
import type { Remembered } from '../vault/requests.ts';
import type { LookupCall, Notice, Receipt, TokenAnswer, TokenizeCall } from './calls.ts';
import { refuseIfPartial } from './delivery.ts';
import type { ServedDomain } from './domain-table.ts';
import { type Encoded, encodeDerived, type Items, indexItems, mintItems } from './encode.ts';
import { withoutErasedTokens } from './erased-tokens.ts';
import { admit, cellsOf, entryOf, type QuotaAsk, requireSubject, underQuota } from './gate.ts';
import { answeredBefore, idemNames } from './idempotency.ts';
import type { IndexResult } from './job.ts';
import { lookUpVaulted } from './look-up.ts';
import type { Parts } from './parts.ts';
import { commitLeaf, withProof } from './receipts.ts';
import { newRulesOf } from './rules.ts';
import { requireVault } from './writable.ts';

/** Values to tokens: creates or gets; in a dynamic domain each item mints. */
export async function tokenize(parts: Parts, call: TokenizeCall): Promise<TokenAnswer> {
  const domain = admit(parts, call, 'Tokenize', call.values.length);
  requireSubject(domain, call.subject);
  if (domain.vaulted) requireVault(parts);
  if (domain.spec.kind === 'dynamic' && call.requestId === '') {
    // A retry of a dynamic domain would mint again, so the call must be able to say "the same".
    throw new CallError('FIELD_REQUIRED', {
      violations: [{ field: 'request_id', text: 'required where every call mints' }],
    });
  }
  const items = { ...itemsOf(call, true), rules: newRulesOf(parts, domain, call.rules) };
  const ask = quotaAsk('tokenize', call, domain, items);
  return underQuota(parts, ask, async (timeMs) => {
    if (domain.vaulted) return tokenizeVaulted(parts, domain, call, items, timeMs);
    const encoded = await encodeDerived(parts, domain, items);
    return {
      used: encoded.distinct,
      answer: await finish(parts, 'Tokenize', domain, call, encoded, timeMs),
    };
  });
}

function itemsOf(call: TokenizeCall | LookupCall, seal: boolean): Items {
  return {
    values: call.values.reveal(),
    context: cellsOf(call.context),
    subject: cellsOf(call.subject),
    delivery: call.delivery,
    deadlineMs: call.deadlineMs,
    cancelled: call.cancelled,
    field: 'values',
    seal,
  };
}

const quotaAsk = (
  verb: 'tokenize' | 'lookup',
  call: TokenizeCall | LookupCall,
  domain: ServedDomain,
  items: Items,
): QuotaAsk => ({
  verb,
  caller: call.caller,
  domain,
  items: items.values,
  cells: [call.context, call.subject],
});

type Used<T> = { readonly used: number; readonly answer: T };

async function tokenizeVaulted(
  parts: Parts,
  domain: ServedDomain,
  call: TokenizeCall,
  items: Items,
  timeMs: number,
): Promise<Used<TokenAnswer>> {
  const names = call.requestId === '' ? undefined : idemNames('Tokenize', call, domain.spec.id);
  const indexed = await indexItems(parts, domain, items, names);
  const request = indexed.idem;
  if (request === undefined) return mint(parts, domain, call, items, indexed, timeMs);
  const before = await parts.vault.beginRequest(request.key);
  if (before !== undefined) {
    return { used: 0, answer: await replay(parts, domain, call, request, before) };
  }
  try {
    return await mint(parts, domain, call, items, indexed, timeMs, request);
  } finally {
    parts.vault.endRequest(request.key);
  }
}

async function mint(
  parts: Parts,
  domain: ServedDomain,
  call: TokenizeCall,
  items: Items,
  indexed: IndexResult,
  timeMs: number,
  request?: IndexResult['idem'],
): Promise<Used<TokenAnswer>> {
  const encoded = await mintItems(parts, domain, items, indexed);
  try {
    const answer = await finish(parts, 'Tokenize', domain, call, encoded, timeMs, request);
    return { used: encoded.distinct, answer };
  } finally {
    // Harmless once committed; a claim of nothing new, or of a failed call, ends here.
    encoded.release();
    if (encoded.claim !== undefined) parts.vault.release(encoded.claim);
  }
}

async function finish(
  parts: Parts,
  verb: 'Tokenize' | 'Lookup',
  domain: ServedDomain,
  call: TokenizeCall | LookupCall,
  encoded: Encoded,
  timeMs: number,
  request?: IndexResult['idem'],
): Promise<TokenAnswer> {
  const rows = rowCount(encoded.tokens);
  const entry = {
    ...entryOf(parts, call, verb, domain, rows, encoded.errors, timeMs),
    distinct: encoded.distinct,
    ...(encoded.minted === undefined ? {} : { counters: encoded.minted }),
  };
  const receipt = await commitLeaf(parts, {
    entry,
    body: encoded.body,
    records: encoded.records,
    edits: encoded.edits,
    ...(request === undefined ? {} : { request }),
  });
  encoded.release();
  const wait = 'waitForProof' in call && call.waitForProof;
  return answerOf(domain, encoded, await withProof(parts, receipt, wait));
}

export const answerOf = (
  domain: ServedDomain,
  encoded: Pick<Encoded, 'tokens' | 'errors' | 'created' | 'notices'>,
  receipt: Receipt,
): TokenAnswer => ({
  tokens: encoded.tokens,
  errors: encoded.errors,
  receipt,
  keyVersion: domain.keyVersion,
  created: domain.vaulted ? encoded.created : new Uint8Array(0),
  notices: encoded.notices,
});

/** As the first try answered, without what was erased since. */
async function replay(
  parts: Parts,
  domain: ServedDomain,
  call: TokenizeCall,
  request: { readonly digest: Uint8Array },
  before: Remembered,
): Promise<TokenAnswer> {
  const { body: opened, receipt } = await answeredBefore(parts, call, request, before);
  const body = await withoutErasedTokens(parts, domain, opened, call);
  refuseIfPartial(call.delivery, 'values', body.errors);
  const notices = body.notices as readonly Notice[];
  const proved = await withProof(parts, receipt, call.waitForProof);
  return answerOf(domain, { ...body, notices }, proved);
}

/** Gets and never creates. For kinds without a vault it is Tokenize under a right of its own. */
export async function lookup(parts: Parts, call: LookupCall): Promise<TokenAnswer> {
  const domain = admit(parts, call, 'Lookup', call.values.length);
  if (domain.spec.kind === 'dynamic') throw new CallError('KIND_UNSUPPORTED');
  requireSubject(domain, call.subject);
  const items = itemsOf(call, true);
  const ask = quotaAsk('lookup', call, domain, items);
  return underQuota(parts, ask, async (timeMs) => {
    const encoded = domain.vaulted
      ? await lookUpVaulted(parts, domain, items)
      : await encodeDerived(parts, domain, items);
    return {
      used: encoded.distinct,
      answer: await finish(parts, 'Lookup', domain, call, encoded, timeMs),
    };
  });
}
