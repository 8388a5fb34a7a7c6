import { decodeEntry, type Entry } from '../audit/entry.ts';
import { equalBytes } from '../audit/tree.ts';
import { CallError } from '../base/call-error.ts';
import type { Merge } from '../vault/aliases.ts';
import { SUBJECT_BYTES } from '../vault/subject-rows.ts';
import { tellGroups } from './merged-groups.ts';
import type { Parts } from './parts.ts';

/** Nobody waits for these jobs: they are as long as they are. */
const UNHURRIED = { deadlineMs: Number.POSITIVE_INFINITY, cancelled: () => false };

/** Does again what the leaves from `fromLeaf` on say of merged subjects, in a vault that is older
 *  than they are: a merge that was taken back must not come back with a backup, for it opens one
 *  patient's records to another. A merge whose leaf has no body any more stays lost, which only
 *  closes. Makes no leaves; may be repeated. Durable and in force when it resolves with the number
 *  of merges made and taken back. */
export async function reapplyMerges(parts: Parts, fromLeaf: number): Promise<number> {
  const { vault, log } = parts;
  let done = 0;
  for await (const { index, entry: bytes } of log.entriesFrom(fromLeaf)) {
    const entry = decodeEntry(bytes);
    const id = entry.extra?.['merge'];
    // A refused call has a leaf of that name too, without a merge.
    if (typeof id !== 'string') continue;
    const there = vault.aliases.merge(id);
    if (entry.verb === 'MergeSubjects' && there === undefined) {
      const merge = await mergeOf(parts, entry, id, index);
      if (merge === undefined) continue;
      await vault.continuity.apply(vault.aliases.addition(merge));
      vault.aliases.added(merge);
      done++;
    } else if (entry.verb === 'UnmergeSubjects' && there !== undefined) {
      await vault.continuity.apply(vault.aliases.removal(there));
      vault.aliases.removed(there);
      done++;
    }
  }
  if (done > 0) await tellGroups(parts, undefined);
  return done;
}

async function mergeOf(
  { log, lane }: Parts,
  entry: Entry,
  id: string,
  leafIndex: number,
): Promise<Merge | undefined> {
  const sealed = await log.body(leafIndex);
  if (sealed === undefined || sealed.length === 0) return undefined;
  const { hash, subjects } = await lane.run({ op: 'open-body', sealed }, UNHURRIED);
  const organisation = entry.extra?.['organisation'];
  // The leaf is what the log proves; the body only stands beside it.
  const whole = entry.bodyHash !== undefined && equalBytes(hash, entry.bodyHash);
  if (!whole || subjects.length !== 2 * SUBJECT_BYTES || typeof organisation !== 'string') {
    throw new CallError('RECORD_CORRUPT');
  }
  const survivor = subjects.slice(0, SUBJECT_BYTES);
  return { id, organisation, survivor, prior: subjects.slice(SUBJECT_BYTES) };
}
