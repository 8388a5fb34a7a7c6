import { CallError } from '../base/call-error.ts';
import type { Reason } from '../base/reason.ts';
import { StoreError, type StoreFault } from '../storage/store.ts';

const REASON_OF: Readonly<Record<StoreFault, Reason>> = {
  // Whatever a failed write did, the call did not happen for its caller; a retry finds it.
  unknown: 'OUTCOME_UNKNOWN',
  full: 'STORE_FULL',
  corrupt: 'RECORD_CORRUPT',
  fenced: 'STORE_UNAVAILABLE',
  'in-use': 'STORE_UNAVAILABLE',
  missing: 'STORE_UNAVAILABLE',
  exists: 'STORE_UNAVAILABLE',
  foreign: 'STORE_UNAVAILABLE',
  moved: 'STORE_UNAVAILABLE',
  closed: 'STORE_UNAVAILABLE',
};

/** A fenced store tries to heal within this time; space comes back when somebody makes it. */
const RETRY_MS: { readonly [reason in Reason]?: number } = {
  STORE_UNAVAILABLE: 250,
  OUTCOME_UNKNOWN: 250,
  STORE_FULL: 2_000,
};

/** What a call answers when the store failed under it. Anything else passes through. */
export function callErrorOf(error: unknown): unknown {
  if (!(error instanceof StoreError)) return error;
  const { fault, cause } = error;
  // A store fenced for want of space goes on saying so.
  const full = fault === 'fenced' && cause instanceof StoreError && cause.fault === 'full';
  const reason = full ? 'STORE_FULL' : REASON_OF[fault];
  const retryDelayMs = RETRY_MS[reason];
  return new CallError(reason, {
    cause: error,
    ...(retryDelayMs === undefined ? {} : { retryDelayMs }),
  });
}
