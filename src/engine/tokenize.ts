import { createHash } from 'node:crypto';
import { decodeEntry } from '../audit/entry.ts';
import { leafHash } from '../audit/tree.ts';
import { CallError } from '../base/call-error.ts';
import type { Column } from '../base/column.ts';
import { rowCount } from '../base/column.ts';
import type { Remembered } from '../vault/requests.ts';
import type { LookupCall, Notice, Receipt, TokenAnswer, TokenizeCall } from './calls.ts';
import type { ServedDomain } from './domain-table.ts';
import { type Encoded, encodeDerived, type Items, indexItems, mintItems } from './encode.ts';
import { admit, cellsOf, entryOf, type QuotaAsk, requireSubject, underQuota } from './gate.ts';
import type { IdemNames, IndexResult } from './job.ts';
import { lookUpVaulted } from './look-up.ts';
import type { Parts } from './parts.ts';
import { commitLeaf } from './receipts.ts';

/** Values to tokens: creates or gets; in a dynamic domain each item mints. */
export async function tokenize(parts: Parts, call: TokenizeCall): Promise<TokenAnswer> {
  const domain = admit(parts, call, 'Tokenize', call.values.length);
  requireSubject(domain, call.subject);
  if (domain.spec.kind === 'dynamic' && call.requestId === '') {
    // A retry of a dynamic domain would mint again, so the call must be able to say "the same".
    throw new CallError('FIELD_REQUIRED', {
      violations: [{ field: 'request_id', text: 'required where every call mints' }],
    });
  }
  const items = itemsOf(call, true);
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
  const names = call.requestId === '' ? undefined : idemNames(call, domain.spec.id);
  const indexed = await indexItems(parts, domain, items, names);
  const request = indexed.idem;
  if (request === undefined) return mint(parts, domain, call, items, indexed, timeMs);
  const before = await parts.vault.beginRequest(request.key);
  if (before !== undefined) {
    if (Buffer.compare(before.digest, request.digest) !== 0) {
      throw new CallError('REQUEST_ID_REUSED');
    }
    return { used: 0, answer: await replay(parts, domain, call, items, before) };
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
    ...(request === undefined ? {} : { request }),
    waitForProof: 'waitForProof' in call && call.waitForProof,
  });
  return answerOf(domain, encoded, receipt);
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

/** What the first try answered, out of its leaf: nothing is minted, counted or logged again. The
 *  caller was authorised anew before this. */
async function replay(
  parts: Parts,
  domain: ServedDomain,
  call: TokenizeCall,
  items: Items,
  before: Remembered,
): Promise<TokenAnswer> {
  const { leafIndex } = before;
  // Committed, yet its leaf is still on the way into the log: the same id finds it in a moment.
  if (leafIndex === undefined) throw new CallError('OUTCOME_UNKNOWN', { retryDelayMs: 100 });
  const sealed = await parts.log.body(leafIndex);
  if (sealed === undefined) throw new CallError('RECORD_CORRUPT');
  const entry = await parts.log.entry(leafIndex);
  // Another call's answer must never be taken for this one's, whatever became of the log.
  if (decodeEntry(entry).commit !== before.commit) throw new CallError('RECORD_CORRUPT');
  const body = await parts.lane.run({ op: 'open-body', sealed }, items);
  const receipt = {
    leafIndex,
    leafHash: Uint8Array.from(leafHash(entry)),
    salt: body.salt,
    ...(call.waitForProof ? { proof: await parts.log.proof(leafIndex) } : {}),
  };
  return answerOf(domain, { ...body, notices: body.notices as readonly Notice[] }, receipt);
}

/** Names of the request: caller ‖ method ‖ id, and the digest of what was asked. */
function idemNames(call: TokenizeCall, domainId: string): IdemNames {
  const hash = createHash('sha256');
  const add = (part: Uint8Array | string): void => {
    const bytes = typeof part === 'string' ? Buffer.from(part, 'utf8') : part;
    const length = Buffer.alloc(4);
    length.writeUInt32BE(bytes.length);
    hash.update(length).update(bytes);
  };
  const addColumn = (column: Column): void => {
    const { bytes, ends } = column;
    add(bytes.subarray(0, ends[ends.length - 1] ?? 0));
    add(Buffer.from(ends.buffer, ends.byteOffset, ends.byteLength));
  };
  add(domainId);
  add(call.purpose);
  add(call.delivery);
  addColumn(call.values.reveal());
  for (const cells of [call.context, call.subject]) {
    add(cells.kind);
    if (cells.kind === 'one') add(cells.value);
    if (cells.kind === 'each') addColumn(cells.values);
  }
  const name = Buffer.from(JSON.stringify([call.caller.id, 'Tokenize', call.requestId]), 'utf8');
  return { name, digest: hash.digest() };
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
