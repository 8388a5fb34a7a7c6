import { randomInt } from 'node:crypto';
import { create, toBinary } from '@bufbuild/protobuf';
import { anyPack } from '@bufbuild/protobuf/wkt';
import { Metadata } from '@grpc/grpc-js';
import { CallError } from '../base/call-error.ts';
import type { Logger } from '../base/logger.ts';
import { REASONS } from '../base/reason.ts';
import { GRPC_CODE } from './codes.ts';
import {
  BadRequestSchema,
  ErrorInfoSchema,
  RetryInfoSchema,
} from './gen/google/rpc/error_details_pb.ts';
import { StatusSchema } from './gen/google/rpc/status_pb.ts';
import { CallErrorSchema, type CallError as WireCallError } from './gen/lockstep/v1/common_pb.ts';

/** How a call ends on the wire. */
export interface RpcStatus {
  readonly code: number;
  /** Fixed text of the reason: sent as `grpc-message`. */
  readonly details: string;
  readonly metadata: Metadata;
}

export const ERROR_DOMAIN = 'lockstep';
export const DETAILS_KEY = 'grpc-status-details-bin';
const VIOLATIONS_MAX = 16;
const DETAILS_BYTES_MAX = 4 * 1024;
/** Told where a reason says "later" and nobody knows better when. */
const RETRY_DELAY_MS = 1_000;

/** The only way an error leaves. What is not a `CallError` becomes INTERNAL with an `incident` that
 *  the log has too: nothing else of it crosses. */
export function callErrorOf(error: unknown, method: string, logger: Logger): CallError {
  if (error instanceof CallError) {
    if (error.cause !== undefined) {
      logger.warn('call-failed', { method, reason: error.reason }, error.cause);
    }
    return error;
  }
  // A number, since the log carries no free text: 47 bits find their line.
  const incident = randomInt(2 ** 47);
  logger.error('internal-fault', { method, incident }, error);
  return new CallError('INTERNAL', { metadata: { incident: String(incident) } });
}

/** `grpc-status` and `grpc-status-details-bin`: ErrorInfo, BadRequest (at most 16 violations) and
 *  RetryInfo where they apply, at most 4 KiB in all. */
export function statusOf(error: CallError): RpcStatus {
  const { text } = REASONS[error.reason];
  const metadata = new Metadata();
  metadata.set(DETAILS_KEY, detailsOf(error));
  return { code: GRPC_CODE[REASONS[error.reason].code], details: text, metadata };
}

function detailsOf(error: CallError): Buffer {
  for (let count = Math.min(error.violations.length, VIOLATIONS_MAX); ; count--) {
    const bytes = encodeDetails(error, count);
    if (bytes.length <= DETAILS_BYTES_MAX || count === 0) return bytes;
  }
}

function encodeDetails(error: CallError, violations: number): Buffer {
  const { code, text } = REASONS[error.reason];
  const info = create(ErrorInfoSchema, {
    reason: error.reason,
    domain: ERROR_DOMAIN,
    metadata: { ...error.metadata },
  });
  const details = [anyPack(ErrorInfoSchema, info)];
  if (violations > 0) {
    const fieldViolations = error.violations
      .slice(0, violations)
      .map(({ field, text: description }) => ({ field, description }));
    details.push(anyPack(BadRequestSchema, create(BadRequestSchema, { fieldViolations })));
  }
  const delayMs = retryDelayMs(error);
  if (delayMs !== undefined) {
    const retry = create(RetryInfoSchema, { retryDelay: durationOf(delayMs) });
    details.push(anyPack(RetryInfoSchema, retry));
  }
  const status = create(StatusSchema, { code: GRPC_CODE[code], message: text, details });
  const bytes = toBinary(StatusSchema, status);
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** The same in-band, for one batch of a stream. */
export function wireErrorOf(error: CallError): WireCallError {
  const { code, retry } = REASONS[error.reason];
  const delayMs = retryDelayMs(error);
  return create(CallErrorSchema, {
    code: GRPC_CODE[code],
    reason: error.reason,
    retryable: retry,
    ...(delayMs === undefined ? {} : { retryDelay: durationOf(delayMs) }),
    metadata: { ...error.metadata },
  });
}

function retryDelayMs(error: CallError): number | undefined {
  if (error.retryDelayMs !== undefined) return error.retryDelayMs;
  const { code, retry } = REASONS[error.reason];
  return retry && code === 'RESOURCE_EXHAUSTED' ? RETRY_DELAY_MS : undefined;
}

function durationOf(ms: number): { seconds: bigint; nanos: number } {
  const whole = Math.max(0, Math.ceil(ms));
  return { seconds: BigInt(Math.floor(whole / 1_000)), nanos: (whole % 1_000) * 1_000_000 };
}
