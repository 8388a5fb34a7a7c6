import { create } from '@bufbuild/protobuf';
import { CallError } from '../base/call-error.ts';
import { rowCount, stringsOf } from '../base/column.ts';
import { Plain } from '../base/plain.ts';
import type { Engine } from '../engine/calls.ts';
import type { ExportBatch, ImportAnswer, ImportCall } from '../engine/vault-calls.ts';
import { type Outlet, type Pipe, writeMessage } from './adapter.ts';
import { type BatchFields, batchReader } from './columns.ts';
import type { CallContext } from './context.ts';
import {
  type ExportTokensRequest,
  type ExportTokensResponse,
  ExportTokensResponseSchema,
  ImportTokensRequestSchema,
  ImportTokensResponseSchema,
} from './gen/lockstep/v1/vault_service_pb.ts';
import { giveAll } from './outlets.ts';
import { wireErrorOf } from './status.ts';
import { pump, type StreamAnswer, type StreamBatch } from './streams.ts';
import { wireItemError, wireReceipt } from './token-codecs.ts';
import { checkDomain, frameOf, invalid, perCall, required, requirePurpose } from './validate.ts';
import { VARINT, WireReader } from './wire.ts';

// Pairs of value and token, in and out. Imports are a pipe of batches like TokenizeStream, and keep
// its rules; exports flow one way.

const readImport = batchReader(ImportTokensRequestSchema);
const ROW = /^[!-~]{0,256}$/;

export const importCodec = { read: readImportBatch, write: writeImportAnswer } as const;

/** The number alone: the pump reads the batch itself, so that a bad one is answered in-band. */
function readImportBatch(bytes: Uint8Array): StreamBatch {
  const wire = new WireReader(bytes);
  let seq = 0;
  while (!wire.done) {
    const tag = wire.tag();
    if (tag === 8 + VARINT) seq = wire.varint();
    else wire.skip(tag & 7);
  }
  return { seq, bytes };
}

function writeImportAnswer(it: StreamAnswer<ImportAnswer>): Buffer {
  const { seq } = it;
  const outcome =
    'answer' in it
      ? { errors: it.answer.errors.map(wireItemError), receipt: wireReceipt(it.answer.receipt) }
      : { error: wireErrorOf(it.error) };
  const message = create(ImportTokensResponseSchema, { seq, ...outcome });
  return writeMessage(ImportTokensResponseSchema, message);
}

export function importTokens(
  engine: Engine,
  pipe: Pipe<StreamBatch, StreamAnswer<ImportAnswer>>,
  context: CallContext,
  stallMs: number,
): Promise<void> {
  return pump(pipe, context, stallMs, {
    read: readImport,
    run: async (fields) => {
      const answer = await engine.importTokens(importCall(fields, context));
      context.done += rowCount(fields.items) - answer.errors.length;
      context.failed += answer.errors.length;
      return answer;
    },
    errorOf: context.errorOf,
  });
}

function importCall(fields: BatchFields, context: CallContext): ImportCall {
  const { items: tokens, targetValues: values } = fields;
  const base = frameOf(fields, context);
  requirePurpose(fields.purpose);
  const rows = rowCount(values);
  if (rows === 0) throw required('values');
  if (rowCount(tokens) !== rows) {
    throw new CallError('COLUMN_MISMATCH', {
      violations: [{ field: 'tokens', text: 'needs as many entries as there are values' }],
    });
  }
  const subject = perCall('subject', fields.subject, fields.subjects, rows);
  return { ...base, values: new Plain(values), tokens, subject };
}

export async function exportTokens(
  engine: Engine,
  { domain, purpose, after }: ExportTokensRequest,
  outlet: Outlet<ExportTokensResponse>,
  context: CallContext,
  stallMs: number,
): Promise<void> {
  checkDomain(domain, 'domain');
  requirePurpose(purpose);
  if (!ROW.test(after)) throw invalid({ field: 'after', text: 'is not a row of an export' });
  const base = frameOf({ domain, purpose }, context);
  // A whole domain takes as long as it takes: without a deadline of the stream there is none.
  const { deadlineMs } = context;
  const batches = engine.exportTokens({ ...base, deadlineMs, after });
  await giveAll(batches, outlet, context, stallMs, (batch) => {
    context.done += rowCount(batch.tokens);
    return wireExport(batch);
  });
}

function wireExport({ values, tokens, row, receipt }: ExportBatch): ExportTokensResponse {
  return create(ExportTokensResponseSchema, {
    values: stringsOf(values.reveal()),
    tokens: stringsOf(tokens),
    row,
    receipt: wireReceipt(receipt),
  });
}
