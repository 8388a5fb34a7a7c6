import { createHash } from 'node:crypto';
import { decodeEntry } from '../audit/entry.ts';
import { leafHash } from '../audit/tree.ts';
import { CallError } from '../base/call-error.ts';
import type { Column } from '../base/column.ts';
import type { Remembered } from '../vault/requests.ts';
import type { IdemNames } from './job.ts';
import type { Parts } from './parts.ts';
import type { EraseCall, RestrictCall, TargetAnswer, TargetCall } from './vault-calls.ts';

/** Notice of a body that says where each item's tokens end. */
const ITEM_ENDS = 'ITEM_ENDS';

/** Counts as ends, plus the item's place, since places of a notice must rise. */
export function endsOf(counts: Uint32Array): { reason: string; indexes: number[] } {
  const indexes: number[] = [];
  let end = 0;
  for (const [item, count] of counts.entries()) {
    end += count;
    indexes.push(end + item);
  }
  return { reason: ITEM_ENDS, indexes };
}

/** Names of the request: caller ‖ method ‖ id, and the digest of what was asked. */
export function namesOf(call: EraseCall | RestrictCall): IdemNames {
  const hash = createHash('sha256');
  const add = (part: Uint8Array | string): void => {
    const bytes = typeof part === 'string' ? Buffer.from(part, 'utf8') : part;
    const length = Buffer.alloc(4);
    length.writeUInt32BE(bytes.length);
    hash.update(length).update(bytes);
  };
  const addColumn = ({ bytes, ends }: Column): void => {
    add(bytes.subarray(0, ends[ends.length - 1] ?? 0));
    add(Buffer.from(ends.buffer, ends.byteOffset, ends.byteLength));
  };
  const { items } = call;
  const does = 'mode' in call ? call.mode : call.lift ? 'lift' : 'restrict';
  for (const text of [call.domain, call.purpose, call.delivery, does, items.by]) add(text);
  if (items.by === 'tokens') addColumn(items.tokens);
  if (items.by === 'values') addColumn(items.values.reveal());
  for (const cells of [call.context, call.subject]) {
    add(cells.kind);
    if (cells.kind === 'one') add(cells.value);
    if (cells.kind === 'each') addColumn(cells.values);
  }
  const verb = 'mode' in call ? 'Erase' : 'Restrict';
  const name = JSON.stringify([call.caller.id, verb, call.requestId]);
  return { name: Buffer.from(name, 'utf8'), digest: hash.digest() };
}

/** What the first try answered, out of the last of its leaves; the caller was authorised anew. */
export async function answerBefore(
  parts: Parts,
  call: TargetCall,
  before: Remembered,
): Promise<TargetAnswer> {
  const { leafIndex } = before;
  // Committed, yet its leaf is still on the way into the log: the same id finds it in a moment.
  if (leafIndex === undefined) throw new CallError('OUTCOME_UNKNOWN', { retryDelayMs: 100 });
  const sealed = await parts.log.body(leafIndex);
  if (sealed === undefined) throw new CallError('RECORD_CORRUPT');
  const entry = await parts.log.entry(leafIndex);
  // Another call's answer must never be taken for this one's, whatever became of the log.
  if (decodeEntry(entry).commit !== before.commit) throw new CallError('RECORD_CORRUPT');
  const body = await parts.lane.run({ op: 'open-body', sealed }, call);
  const ends = body.notices.find(({ reason }) => reason === ITEM_ENDS)?.indexes;
  if (ends === undefined) throw new CallError('RECORD_CORRUPT');
  const counts = Uint32Array.from(ends, (end, i) => {
    const start = i === 0 ? 0 : ends[i - 1]! - (i - 1);
    return end - i - start;
  });
  const receipt = { leafIndex, leafHash: Uint8Array.from(leafHash(entry)), salt: body.salt };
  return { counts, errors: body.errors, receipt };
}
