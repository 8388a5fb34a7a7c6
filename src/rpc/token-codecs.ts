import { create } from '@bufbuild/protobuf';
import { timestampFromMs } from '@bufbuild/protobuf/wkt';
import { stringsOf } from '../base/column.ts';
import { type ItemError, REASONS } from '../base/reason.ts';
import type {
  InspectAnswer,
  Receipt,
  RevealAnswer,
  TokenAnswer,
  TokenDetails,
} from '../engine/calls.ts';
import type { EraseAnswer, MultipleAnswer, TargetAnswer } from '../engine/vault-calls.ts';
import { writeMessage } from './adapter.ts';
import { writeRevealAnswer, writeTokenAnswer } from './answers.ts';
import { GRPC_CODE } from './codes.ts';
import { batchReader } from './columns.ts';
import {
  ItemErrorSchema,
  ReceiptSchema,
  type ItemError as WireItemError,
  type Receipt as WireReceipt,
} from './gen/lockstep/v1/common_pb.ts';
import {
  DetokenizeRequestSchema,
  DetokenizeStreamResponseSchema,
  EraseRequestSchema,
  EraseResponseSchema,
  ExchangeRequestSchema,
  InspectRequestSchema,
  InspectResponseSchema,
  LookupRequestSchema,
  RestrictRequestSchema,
  RestrictResponseSchema,
  TokenDetailsSchema,
  TokenizeMultipleRequestSchema,
  TokenizeMultipleResponseSchema,
  TokenizeRequestSchema,
  TokenizeStreamResponseSchema,
  type TokenDetails as WireDetails,
} from './gen/lockstep/v1/token_service_pb.ts';
import { STATE_NUMBER } from './names.ts';
import { wireRules } from './rules.ts';
import { wireErrorOf } from './status.ts';
import { readStreamBatch, type StreamAnswer } from './streams.ts';

export const readTokenize = batchReader(TokenizeRequestSchema);
export const readDetokenize = batchReader(DetokenizeRequestSchema);

/** Requests of TokenService never become objects of protobuf-es, nor do its hot answers: columns go
 *  straight from the wire to the engine and back. */
export const tokenCodecs = {
  tokenize: { read: readTokenize, write: (answer: TokenAnswer) => writeTokenAnswer(answer) },
  lookup: {
    read: batchReader(LookupRequestSchema),
    write: (answer: TokenAnswer) => writeTokenAnswer(answer),
  },
  detokenize: { read: readDetokenize, write: (answer: RevealAnswer) => writeRevealAnswer(answer) },
  exchange: {
    read: batchReader(ExchangeRequestSchema),
    write: (answer: TokenAnswer) => writeTokenAnswer(answer),
  },
  inspect: { read: batchReader(InspectRequestSchema), write: writeInspectAnswer },
  tokenizeMultiple: { read: batchReader(TokenizeMultipleRequestSchema), write: writeMultiple },
  restrict: { read: batchReader(RestrictRequestSchema), write: writeRestrictAnswer },
  erase: { read: batchReader(EraseRequestSchema), write: writeEraseAnswer },
  tokenizeStream: { read: readStreamBatch, write: writeTokenizeStream },
  detokenizeStream: { read: readStreamBatch, write: writeDetokenizeStream },
} as const;

function writeTokenizeStream(it: StreamAnswer<TokenAnswer>): Buffer {
  if ('answer' in it) return writeTokenAnswer(it.answer, it.seq);
  const outcome = { case: 'error', value: wireErrorOf(it.error) } as const;
  const schema = TokenizeStreamResponseSchema;
  return writeMessage(schema, create(schema, { seq: it.seq, outcome }));
}

function writeDetokenizeStream(it: StreamAnswer<RevealAnswer>): Buffer {
  if ('answer' in it) return writeRevealAnswer(it.answer, it.seq);
  const outcome = { case: 'error', value: wireErrorOf(it.error) } as const;
  const schema = DetokenizeStreamResponseSchema;
  return writeMessage(schema, create(schema, { seq: it.seq, outcome }));
}

function writeInspectAnswer(answer: InspectAnswer): Buffer {
  const message = create(InspectResponseSchema, {
    states: answer.states.map((state) => STATE_NUMBER[state]),
    errors: answer.errors.map(wireItemError),
    receipt: wireReceipt(answer.receipt),
    keyVersions: [...answer.keyVersions],
    details: answer.details.map(wireDetails),
  });
  // The place of a failed item holds no state.
  for (const { index } of answer.errors) {
    if (index < message.states.length) message.states[index] = 0;
  }
  return writeMessage(InspectResponseSchema, message);
}

function wireDetails(details: TokenDetails | undefined): WireDetails {
  if (details === undefined) return create(TokenDetailsSchema);
  const { createdMs, reveals } = details;
  return create(TokenDetailsSchema, {
    ...(createdMs === 0 ? {} : { createTime: timestampFromMs(createdMs) }),
    rules: wireRules(details),
    reveals,
  });
}

function writeMultiple(answer: MultipleAnswer): Buffer {
  return writeMessage(
    TokenizeMultipleResponseSchema,
    create(TokenizeMultipleResponseSchema, {
      tokens: stringsOf(answer.tokens),
      errors: answer.errors.map(wireItemError),
      receipt: wireReceipt(answer.receipt),
      keyVersion: answer.keyVersion,
      counts: [...answer.counts],
      notices: answer.notices.map(({ reason, indexes }) => ({ reason, indexes: [...indexes] })),
    }),
  );
}

function writeRestrictAnswer(answer: TargetAnswer): Buffer {
  const message = create(RestrictResponseSchema, targetFields(answer));
  return writeMessage(RestrictResponseSchema, message);
}

function writeEraseAnswer(answer: EraseAnswer): Buffer {
  const { certificate } = answer;
  const message = create(EraseResponseSchema, { ...targetFields(answer), certificate });
  return writeMessage(EraseResponseSchema, message);
}

const targetFields = (answer: TargetAnswer) => ({
  tokenCounts: [...answer.counts],
  errors: answer.errors.map(wireItemError),
  receipt: wireReceipt(answer.receipt),
});

export function wireItemError(error: ItemError): WireItemError {
  const { code, retry } = REASONS[error.reason];
  const { index, reason } = error;
  return create(ItemErrorSchema, { index, code: GRPC_CODE[code], reason, retryable: retry });
}

export function wireReceipt(receipt: Receipt): WireReceipt {
  return create(ReceiptSchema, {
    leafIndex: BigInt(receipt.leafIndex),
    // Copies onto plain buffers, which is what protobuf-es is typed for.
    leafHash: Uint8Array.from(receipt.leafHash),
    salt: Uint8Array.from(receipt.salt),
    leaf: Uint8Array.from(receipt.proof?.leaf ?? []),
    proof: receipt.proof?.text ?? '',
  });
}
