import { createHash } from 'node:crypto';
import type { Caller } from '../base/caller.ts';
import type { Receipt } from './calls.ts';
import type { JobRequest } from './job-book.ts';
import type { Parts } from './parts.ts';
import type { JobView } from './vault-calls.ts';

export interface JobCall {
  readonly caller: Caller;
  readonly method: string;
  /** '' for none: then a repetition is a call of its own. */
  readonly requestId: string;
  /** All that was asked, plain data. */
  readonly message: unknown;
}

export interface StartedJob {
  readonly job: JobView;
  readonly receipt: Receipt;
}

/** Logs a call and starts its job; a repetition of the call within 24 h gives the same job and
 *  receipt instead. Rejects with REQUEST_ID_REUSED where the id was used for another message. */
export async function startOnce(
  { jobs }: Parts,
  { caller, method, requestId, message }: JobCall,
  log: () => Promise<Receipt>,
  start: (request: JobRequest | undefined) => JobView,
): Promise<StartedJob> {
  if (requestId === '') {
    const receipt = await log();
    return { job: start(undefined), receipt };
  }
  const key = sha256([caller.id, method, requestId]);
  const digest = sha256(message);
  const before = jobs.startedBy(key, digest);
  if (before !== undefined) {
    const { leafIndex, leafHash } = before.request;
    const hash = Uint8Array.from(Buffer.from(leafHash, 'hex'));
    const receipt = { leafIndex, leafHash: hash, salt: new Uint8Array(0) };
    return { job: before.job, receipt };
  }
  const receipt = await log();
  const leafHash = Buffer.from(receipt.leafHash).toString('hex');
  return { job: start({ key, digest, leafIndex: receipt.leafIndex, leafHash }), receipt };
}

const sha256 = (value: unknown): string =>
  createHash('sha256').update(JSON.stringify(value)).digest('hex');
