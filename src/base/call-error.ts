import { REASONS, type Reason } from './reason.ts';

/** One bad place of a request: a path like `values[17]` and fixed text, never input. */
export interface Violation {
  readonly field: string;
  readonly text: string;
}

export interface CallErrorOptions {
  /** ErrorInfo metadata; keys as documented beside the reason, values never from patient data. */
  readonly metadata?: Readonly<Record<string, string>>;
  /** At most 16 are sent. */
  readonly violations?: readonly Violation[];
  /** RetryInfo; for reasons whose row says retry. */
  readonly retryDelayMs?: number;
  /** For the log only; it never crosses the wire. */
  readonly cause?: unknown;
}

/** A call that failed as a whole. The only error type whose content reaches a client. */
export class CallError extends Error {
  override readonly name = 'CallError';
  readonly reason: Reason;
  readonly metadata: Readonly<Record<string, string>>;
  readonly violations: readonly Violation[];
  readonly retryDelayMs: number | undefined;

  constructor(reason: Reason, options: CallErrorOptions = {}) {
    super(REASONS[reason].text, options.cause === undefined ? {} : { cause: options.cause });
    this.reason = reason;
    this.metadata = options.metadata ?? {};
    this.violations = options.violations ?? [];
    this.retryDelayMs = options.retryDelayMs;
  }
}
