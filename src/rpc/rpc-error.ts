import { fromBinary } from '@bufbuild/protobuf';
import { anyUnpack, durationMs } from '@bufbuild/protobuf/wkt';
import type { Violation } from '../base/call-error.ts';
import {
  BadRequestSchema,
  ErrorInfoSchema,
  RetryInfoSchema,
} from './gen/google/rpc/error_details_pb.ts';
import { type Status, StatusSchema } from './gen/google/rpc/status_pb.ts';
import { DETAILS_KEY, ERROR_DOMAIN } from './status.ts';

const UNKNOWN = 2;

/** A call that failed, as its client sees it. `reason` is '' where the server gave none: the
 *  connection broke, the deadline passed here, or the answer came from something in between. */
export class RpcError extends Error {
  override readonly name = 'RpcError';
  /** Number of google.rpc.Code. */
  readonly code: number;
  readonly reason: string;
  readonly metadata: Readonly<Record<string, string>>;
  readonly violations: readonly Violation[];
  readonly retryDelayMs: number | undefined;

  constructor(code: number, text: string, details: Details = NO_DETAILS) {
    super(text);
    this.code = code;
    this.reason = details.reason;
    this.metadata = details.metadata;
    this.violations = details.violations;
    this.retryDelayMs = details.retryDelayMs;
  }
}

interface Details {
  readonly reason: string;
  readonly metadata: Readonly<Record<string, string>>;
  readonly violations: readonly Violation[];
  readonly retryDelayMs: number | undefined;
}

const NO_DETAILS: Details = { reason: '', metadata: {}, violations: [], retryDelayMs: undefined };

/** Reads the details out of what grpc-js rejects with; anything else is UNKNOWN. */
export function rpcErrorOf(error: unknown): RpcError {
  if (error instanceof RpcError) return error;
  if (typeof error !== 'object' || error === null) {
    return new RpcError(UNKNOWN, 'the call ended without an answer');
  }
  const code = 'code' in error && typeof error.code === 'number' ? error.code : UNKNOWN;
  const text = 'details' in error && typeof error.details === 'string' ? error.details : '';
  return new RpcError(code, text, detailsOf(error));
}

function detailsOf(error: object): Details {
  const metadata = 'metadata' in error ? error.metadata : undefined;
  if (typeof metadata !== 'object' || metadata === null || !('get' in metadata)) return NO_DETAILS;
  if (typeof metadata.get !== 'function') return NO_DETAILS;
  const [bytes]: unknown[] = metadata.get(DETAILS_KEY);
  if (!(bytes instanceof Uint8Array)) return NO_DETAILS;
  try {
    return unpack(fromBinary(StatusSchema, bytes));
  } catch {
    // Something in between wrote that header.
    return NO_DETAILS;
  }
}

function unpack(status: Status): Details {
  let { reason, metadata, violations, retryDelayMs } = NO_DETAILS;
  for (const any of status.details) {
    const info = anyUnpack(any, ErrorInfoSchema);
    if (info !== undefined && info.domain === ERROR_DOMAIN) ({ reason, metadata } = info);
    const bad = anyUnpack(any, BadRequestSchema);
    if (bad !== undefined) {
      violations = bad.fieldViolations.map(({ field, description: text }) => ({ field, text }));
    }
    const retry = anyUnpack(any, RetryInfoSchema)?.retryDelay;
    if (retry !== undefined) retryDelayMs = durationMs(retry);
  }
  return { reason, metadata, violations, retryDelayMs };
}
