import { createHash } from 'node:crypto';
import { decodeEntry } from '../audit/entry.ts';
import { leafHash } from '../audit/tree.ts';
import { CallError } from '../base/call-error.ts';
import type { Column } from '../base/column.ts';
import type { Plain } from '../base/plain.ts';
import type { Remembered } from '../vault/requests.ts';
import type { BatchBase, CallRules, Receipt } from './calls.ts';
import type { IdemNames, OpenBodyResult } from './job.ts';
import type { Parts } from './parts.ts';
import { rulesText } from './rules.ts';

/** A call that mints and may come again with its request id. */
interface MintingCall extends BatchBase {
  readonly values: Plain;
  readonly rules?: CallRules | undefined;
  /** TokenizeMultiple. */
  readonly count?: number;
}

/** Names of the request: caller ‖ method ‖ id, and the digest of what was asked. */
export function idemNames(method: string, call: MintingCall, domainId: string): IdemNames {
  const hash = createHash('sha256');
  const add = (part: Uint8Array | string): void => {
    const bytes = typeof part === 'string' ? Buffer.from(part, 'utf8') : part;
    const length = Buffer.alloc(4);
    length.writeUInt32BE(bytes.length);
    hash.update(length).update(bytes);
  };
  const addColumn = (column: Column): void => {
    const { bytes, ends } = column;
    add(bytes.subarray(0, ends[ends.length - 1] ?? 0));
    add(Buffer.from(ends.buffer, ends.byteOffset, ends.byteLength));
  };
  add(domainId);
  add(call.purpose);
  add(call.delivery);
  addColumn(call.values.reveal());
  for (const cells of [call.context, call.subject]) {
    add(cells.kind);
    if (cells.kind === 'one') add(cells.value);
    if (cells.kind === 'each') addColumn(cells.values);
  }
  if (call.rules !== undefined) add(rulesText(call.rules));
  if (call.count !== undefined) add(String(call.count));
  const name = Buffer.from(JSON.stringify([call.caller.id, method, call.requestId]), 'utf8');
  return { name, digest: hash.digest() };
}

/** What the first try answered, out of its leaf: nothing is minted, counted or logged again. The
 *  caller was authorised anew before this. Throws `CallError`: REQUEST_ID_REUSED where it asked for
 *  something else, OUTCOME_UNKNOWN, RECORD_CORRUPT. */
export async function answeredBefore(
  parts: Parts,
  call: Pick<BatchBase, 'deadlineMs' | 'cancelled'>,
  request: { readonly digest: Uint8Array },
  before: Remembered,
): Promise<{ readonly body: OpenBodyResult; readonly receipt: Receipt }> {
  if (Buffer.compare(before.digest, request.digest) !== 0) {
    throw new CallError('REQUEST_ID_REUSED');
  }
  const { leafIndex } = before;
  // Committed, yet its leaf is still on the way into the log: the same id finds it in a moment.
  if (leafIndex === undefined) throw new CallError('OUTCOME_UNKNOWN', { retryDelayMs: 100 });
  const sealed = await parts.log.body(leafIndex);
  if (sealed === undefined) throw new CallError('RECORD_CORRUPT');
  const entry = await parts.log.entry(leafIndex);
  // Another call's answer must never be taken for this one's, whatever became of the log.
  if (decodeEntry(entry).commit !== before.commit) throw new CallError('RECORD_CORRUPT');
  const body = await parts.lane.run({ op: 'open-body', sealed }, call);
  const hash = Uint8Array.from(leafHash(entry));
  return { body, receipt: { leafIndex, leafHash: hash, salt: body.salt } };
}
