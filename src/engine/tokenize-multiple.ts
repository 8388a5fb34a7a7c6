import { CallError } from '../base/call-error.ts';
import { LIMITS } from '../base/limits.ts';
import type { ItemError } from '../base/reason.ts';
import { mintedRecords } from '../vault/minting.ts';
import type { Remembered } from '../vault/requests.ts';
import { isNobody } from '../vault/subject-rows.ts';
import type { Notice, Receipt } from './calls.ts';
import { refusalOf } from './counters.ts';
import { refuseIfPartial } from './delivery.ts';
import type { ServedDomain } from './domain-table.ts';
import { type Items, indexItems, rangeOf } from './encode.ts';
import { withoutErasedTokens } from './erased-tokens.ts';
import { admit, cellsOf, entryOf, requireSubject, underQuota } from './gate.ts';
import { answeredBefore, idemNames } from './idempotency.ts';
import type { IndexResult } from './job.ts';
import { takeFixed } from './jobs/gather.ts';
import { listTokens } from './list-tokens.ts';
import type { Parts } from './parts.ts';
import { commitLeaf } from './receipts.ts';
import { newRulesOf } from './rules.ts';
import { keepTokens, type Several, severalTokens } from './several.ts';
import type { MultipleAnswer, TokenizeMultipleCall } from './vault-calls.ts';
import { withoutRows } from './without-rows.ts';
import { requireVault } from './writable.ts';

const VERB = 'TokenizeMultiple';
const INDEX_BYTES = 16;
const NO_BYTES = new Uint8Array(0);

/** 1:n tokens of a dynamic domain: mints `count` more of each value, or lists those there are. An
 *  item gets all its tokens or none. */
export async function tokenizeMultiple(
  parts: Parts,
  call: TokenizeMultipleCall,
): Promise<MultipleAnswer> {
  const { count, values } = call;
  const domain = admit(parts, call, count > 0 ? 'Tokenize' : 'Lookup', values.length);
  if (domain.spec.kind !== 'dynamic') throw new CallError('KIND_UNSUPPORTED');
  requireSubject(domain, call.subject);
  const items: Items = {
    values: values.reveal(),
    context: cellsOf(call.context),
    subject: cellsOf(call.subject),
    delivery: call.delivery,
    deadlineMs: call.deadlineMs,
    cancelled: call.cancelled,
    field: 'values',
    seal: true,
    rules: newRulesOf(parts, domain, call.rules),
  };
  if (count === 0) return list(parts, domain, call, items);
  if (call.requestId === '') {
    throw new CallError('FIELD_REQUIRED', {
      violations: [{ field: 'request_id', text: 'required where every call mints' }],
    });
  }
  if (count * values.length > LIMITS.itemsMax) {
    throw new CallError('BATCH_TOO_LARGE', { metadata: { limit: String(LIMITS.itemsMax) } });
  }
  requireVault(parts);
  return mintOrReplay(parts, domain, call, items);
}

async function mintOrReplay(
  parts: Parts,
  domain: ServedDomain,
  call: TokenizeMultipleCall,
  items: Items,
): Promise<MultipleAnswer> {
  const indexed = await indexItems(parts, domain, items, idemNames(VERB, call, domain.spec.id));
  const request = indexed.idem!;
  const before = await parts.vault.beginRequest(request.key);
  if (before !== undefined) return replay(parts, domain, call, request, before);
  try {
    return await mint(parts, domain, call, items, indexed);
  } finally {
    parts.vault.endRequest(request.key);
  }
}

async function mint(
  parts: Parts,
  domain: ServedDomain,
  call: TokenizeMultipleCall,
  items: Items,
  indexed: IndexResult,
): Promise<MultipleAnswer> {
  const { count, delivery } = call;
  const { vault } = parts;
  const good = indexed.good?.length ?? indexed.total;
  const unit = delivery === 'all-or-nothing' ? Math.max(1, good) * count : count;
  const minted = await vault.minting.mint(domain.spec.id, good * count, unit);
  try {
    const { counters, placed } = minted;
    const fitting = counters.length / count;
    const left = fitting === good ? indexed : withoutLast(indexed, fitting, minted.refused, call);
    refuseIfPartial(delivery, 'values', left.errors);
    const perItem = new Uint32Array(fitting).fill(count);
    const made = await severalTokens(parts, domain, items, left, perItem, counters, true);
    const last = counters.at(-1);
    const ranged = last !== undefined && !placed;
    const receipt = await commitLeaf(parts, {
      entry: {
        ...entryOf(parts, call, VERB, domain, left.total, left.errors, parts.clock.nowMs()),
        ...(ranged ? { counters: rangeOf(counters[0]!, last) } : {}),
      },
      body: made.body,
      records: last === undefined ? undefined : recordsOf(domain, minted, left, items, made),
      request: indexed.idem,
    });
    return answerOf(domain, made, left.errors, receipt);
  } finally {
    vault.release(minted);
  }
}

/** The batch without the good items behind the first `fitting` ones: there are no more tokens. */
function withoutLast(
  indexed: IndexResult,
  fitting: number,
  refused: number,
  { delivery }: TokenizeMultipleCall,
): IndexResult {
  const good = indexed.good ?? Uint32Array.from({ length: indexed.total }, (_, row) => row);
  return withoutRows(indexed, [...good.subarray(fitting)], refusalOf(refused), delivery);
}

function recordsOf(
  domain: ServedDomain,
  minted: Parameters<typeof mintedRecords>[0],
  indexed: IndexResult,
  { rules }: Items,
  { records, owners }: Several,
) {
  const { counters } = minted;
  const each = counters.length / (indexed.indexes.length / INDEX_BYTES);
  const source = Uint32Array.from(counters, (_, i) => Math.floor(i / each));
  const indexes = domain.spec.listable ? takeFixed(indexed.indexes, INDEX_BYTES, source) : NO_BYTES;
  const named = counters.some((_, i) => !isNobody(owners, i * 16));
  return mintedRecords(minted, indexes, {
    sealed: records,
    rules,
    ...(named ? { subjects: owners } : {}),
  });
}

function list(
  parts: Parts,
  domain: ServedDomain,
  call: TokenizeMultipleCall,
  items: Items,
): Promise<MultipleAnswer> {
  if (!domain.spec.listable) throw new CallError('KIND_UNSUPPORTED');
  const cells = [call.context, call.subject];
  const { caller } = call;
  const ask = { verb: 'lookup', caller, domain, items: items.values, cells } as const;
  return underQuota(parts, ask, async (timeMs) => {
    const { indexed, found } = await listTokens(parts, domain, items);
    const { errors, total, distinct } = indexed;
    const receipt = await commitLeaf(parts, {
      entry: { ...entryOf(parts, call, VERB, domain, total, errors, timeMs), distinct },
      body: found.body,
    });
    return { used: distinct, answer: answerOf(domain, found, errors, receipt) };
  });
}

const answerOf = (
  domain: ServedDomain,
  { tokens, counts, notices }: Pick<MultipleAnswer, 'tokens' | 'counts' | 'notices'>,
  errors: readonly ItemError[],
  receipt: Receipt,
): MultipleAnswer => ({
  tokens,
  counts,
  errors,
  receipt,
  keyVersion: domain.keyVersion,
  notices,
});

/** As the first try answered. The counts follow from what each item is: failed, remarked on, or
 *  minted for. Tokens that were erased since are left out; an item that has none left failed. */
async function replay(
  parts: Parts,
  domain: ServedDomain,
  call: TokenizeMultipleCall,
  request: { readonly digest: Uint8Array },
  before: Remembered,
): Promise<MultipleAnswer> {
  const { body, receipt } = await answeredBefore(parts, call, request, before);
  const notices = body.notices as readonly Notice[];
  const first = body.errors[0];
  const stopped = call.delivery === 'ordered-stop' && first !== undefined;
  const counts = new Uint32Array(stopped ? first.index : call.values.length).fill(call.count);
  for (const { index } of body.errors) if (index < counts.length) counts[index] = 0;
  for (const { indexes } of notices) for (const index of indexes) counts[index] = 1;
  const asked: Pick<MultipleAnswer, 'tokens' | 'errors'> = { tokens: body.tokens, errors: [] };
  const { errors: erased } = await withoutErasedTokens(parts, domain, asked, call);
  if (erased.length === 0) {
    return answerOf(domain, { tokens: body.tokens, counts, notices }, body.errors, receipt);
  }
  const gone = new Set(erased.map(({ index }) => index));
  const kept = keepTokens(body.tokens, counts, (place) => !gone.has(place));
  const errors = [...body.errors];
  for (let item = 0; item < counts.length; item++) {
    if (counts[item]! > 0 && kept.counts[item] === 0) {
      errors.push({ index: item, reason: 'TOKEN_NOT_FOUND' });
    }
  }
  errors.sort((a, b) => a.index - b.index);
  refuseIfPartial(call.delivery, 'values', errors);
  return answerOf(domain, { ...kept, notices }, errors, receipt);
}
