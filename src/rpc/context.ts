import type { CallError } from '../base/call-error.ts';
import type { Caller } from '../base/caller.ts';
import { LIMITS } from '../base/limits.ts';

/** What the edge knows of a call besides its message. */
export interface CallContext {
  readonly caller: Caller;
  /** Of `performance.now()`. */
  readonly startedAt: number;
  /** Absolute, on the system clock; Infinity for a stream that named none. */
  readonly deadlineMs: number;
  /** True once the client is gone or its deadline has passed. */
  readonly cancelled: () => boolean;
  /** Aborted once the server is going: a stream takes no more batches then. */
  readonly draining: AbortSignal;
  /** Metadata `idempotency-key`; '' where absent. */
  readonly idempotencyKey: string;
  /** For an error inside a stream: logs what may not cross. */
  readonly errorOf: (error: unknown) => CallError;
  /** Items of its batches that succeeded and failed, for the counters. */
  done: number;
  failed: number;
}

/** 30 s where the caller named none, and never more than 10 min. */
export function clampDeadline(deadlineMs: number, nowMs: number): number {
  return Number.isFinite(deadlineMs)
    ? Math.min(deadlineMs, nowMs + LIMITS.deadlineMaxMs)
    : nowMs + LIMITS.deadlineDefaultMs;
}
