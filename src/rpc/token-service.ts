import { CallError } from '../base/call-error.ts';
import { rowCount } from '../base/column.ts';
import { LIMITS } from '../base/limits.ts';
import { Plain } from '../base/plain.ts';
import type { ItemError } from '../base/reason.ts';
import type {
  BatchBase,
  DetokenizeCall,
  Engine,
  ExchangeCall,
  InspectCall,
  LookupCall,
  PerCall,
  RevealAnswer,
  TokenAnswer,
  TokenizeCall,
} from '../engine/calls.ts';
import type { TokenizeMultipleCall } from '../engine/vault-calls.ts';
import type { Handlers, Pipe } from './adapter.ts';
import type { BatchFields } from './columns.ts';
import type { CallContext } from './context.ts';
import type { TokenService } from './gen/lockstep/v1/token_service_pb.ts';
import { rulesOf } from './rules.ts';
import { pump, type StreamAnswer, type StreamBatch } from './streams.ts';
import { eraseCall, restrictCall } from './target-calls.ts';
import { readDetokenize, readTokenize, type tokenCodecs } from './token-codecs.ts';
import {
  callBase,
  checkDomain,
  deliveryOf,
  invalid,
  perCall,
  requestIdOf,
  required,
  requirePurpose,
  viewOf,
} from './validate.ts';

type Methods = (typeof TokenService)['method'];

/** The hot service: validated messages go to the engine, and its answers back. */
export function tokenHandlers(
  engine: Engine,
  stallMs: number,
): Handlers<Methods, typeof tokenCodecs, CallContext> {
  const tokenize = async (fields: BatchFields, context: CallContext): Promise<TokenAnswer> => {
    const answer = await engine.tokenize(tokenizeCall(fields, context));
    return counted(context, answer, rowCount(answer.tokens));
  };
  const detokenize = async (fields: BatchFields, context: CallContext): Promise<RevealAnswer> => {
    const answer = await engine.detokenize(detokenizeCall(fields, context));
    return counted(context, answer, answer.values.length);
  };
  return {
    tokenize,
    detokenize,
    async lookup(fields, context) {
      const answer = await engine.lookup(lookupCall(fields, context));
      return counted(context, answer, rowCount(answer.tokens));
    },
    async exchange(fields, context) {
      const answer = await engine.exchange(exchangeCall(fields, context));
      return counted(context, answer, rowCount(answer.tokens));
    },
    async inspect(fields, context) {
      const answer = await engine.inspect(inspectCall(fields, context));
      return counted(context, answer, answer.states.length);
    },
    async tokenizeMultiple(fields, context) {
      const answer = await engine.tokenizeMultiple(multipleCall(fields, context));
      return counted(context, answer, answer.counts.length);
    },
    async restrict(fields, context) {
      const answer = await engine.restrict(restrictCall(fields, context));
      return counted(context, answer, answer.counts.length);
    },
    async erase(fields, context) {
      const answer = await engine.erase(eraseCall(fields, context));
      return counted(context, answer, answer.counts.length);
    },
    tokenizeStream: (pipe, context) => stream(pipe, context, stallMs, readTokenize, tokenize),
    detokenizeStream: (pipe, context) => stream(pipe, context, stallMs, readDetokenize, detokenize),
  };
}

type Run<A> = (fields: BatchFields, context: CallContext) => Promise<A>;

function stream<A extends { readonly errors: readonly ItemError[] }>(
  pipe: Pipe<StreamBatch, StreamAnswer<A>>,
  context: CallContext,
  stallMs: number,
  read: (bytes: Uint8Array) => BatchFields,
  run: Run<A>,
): Promise<void> {
  return pump(pipe, context, stallMs, {
    read,
    run: (fields) => run(fields, context),
    errorOf: context.errorOf,
  });
}

/** Counts items for the metrics. `rows` is the answer's: under ordered-stop a failed item ends it.
 *  */
function counted<A extends { readonly errors: readonly ItemError[] }>(
  context: CallContext,
  answer: A,
  rows: number,
): A {
  context.done += Math.max(0, rows - answer.errors.length);
  context.failed += answer.errors.length;
  return answer;
}

function contextOf(fields: BatchFields): PerCall {
  return perCall('context', fields.context, fields.contexts, rowCount(fields.items));
}

function subjectOf(fields: BatchFields): PerCall {
  return perCall('subject', fields.subject, fields.subjects, rowCount(fields.items));
}

function batchBase(
  fields: BatchFields,
  items: 'values' | 'tokens',
  context: CallContext,
): BatchBase {
  return {
    ...callBase(fields, items, context),
    delivery: deliveryOf(fields.delivery),
    context: contextOf(fields),
    subject: subjectOf(fields),
    requestId: requestIdOf(fields, context),
  };
}

function tokenizeCall(fields: BatchFields, context: CallContext): TokenizeCall {
  return {
    ...batchBase(fields, 'values', context),
    values: new Plain(fields.items),
    rules: rulesOf(fields.rules, Date.now()),
    waitForProof: fields.waitForProof,
  };
}

function multipleCall(fields: BatchFields, context: CallContext): TokenizeMultipleCall {
  const base = batchBase(fields, 'values', context);
  const count = fields.count;
  if (count * rowCount(fields.items) > LIMITS.itemsMax) {
    throw invalid({ field: 'count', text: `asks for more than ${LIMITS.itemsMax} tokens` });
  }
  const rules = rulesOf(fields.rules, Date.now());
  if (count === 0 && rules !== undefined) {
    throw invalid({ field: 'rules', text: 'are for new tokens, and count is 0' });
  }
  // A retry would mint again.
  if (count > 0 && base.requestId === '') throw required('request_id');
  return { ...base, values: new Plain(fields.items), count, rules };
}

function lookupCall(fields: BatchFields, context: CallContext): LookupCall {
  return {
    ...callBase(fields, 'values', context),
    values: new Plain(fields.items),
    delivery: deliveryOf(fields.delivery),
    context: contextOf(fields),
    subject: subjectOf(fields),
  };
}

function detokenizeCall(fields: BatchFields, context: CallContext): DetokenizeCall {
  requirePurpose(fields.purpose);
  return {
    ...batchBase(fields, 'tokens', context),
    tokens: fields.items,
    view: viewOf(fields.view),
    acceptLowerView: fields.acceptLowerView,
    waitForProof: fields.waitForProof,
  };
}

function exchangeCall(fields: BatchFields, context: CallContext): ExchangeCall {
  requirePurpose(fields.purpose);
  checkDomain(fields.targetDomain, 'target_domain');
  if (fields.targetDomain === fields.domain) {
    throw invalid({ field: 'target_domain', text: 'is the domain of the tokens' });
  }
  const { targetContext, targetContexts } = fields;
  const rows = rowCount(fields.items);
  return {
    ...batchBase(fields, 'tokens', context),
    tokens: fields.items,
    targetDomain: fields.targetDomain,
    targetContext: perCall('target_context', targetContext, targetContexts, rows),
    rules: rulesOf(fields.rules, Date.now()),
    waitForProof: fields.waitForProof,
  };
}

function inspectCall(fields: BatchFields, context: CallContext): InspectCall {
  const { withDetails } = fields;
  if (withDetails && rowCount(fields.items) > LIMITS.detailedItemsMax) {
    const limit = String(LIMITS.detailedItemsMax);
    throw new CallError('BATCH_TOO_LARGE', { metadata: { limit } });
  }
  return {
    ...callBase(fields, 'tokens', context),
    tokens: fields.items,
    context: contextOf(fields),
    withDetails,
  };
}
