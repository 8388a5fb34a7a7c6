import { createHash } from 'node:crypto';
import { decodeEntry, type Entry } from '../audit/entry.ts';
import { leafHash } from '../audit/tree.ts';
import { CallError } from '../base/call-error.ts';
import type { Caller } from '../base/caller.ts';
import { systemClock } from '../base/clock.ts';
import { columnOf } from '../base/column.ts';
import { LIMITS } from '../base/limits.ts';
import { authorise } from '../policy/view.ts';
import { GROUP_MAX, MERGES_MAX, type Merge } from '../vault/aliases.ts';
import type { Edit } from '../vault/call-write.ts';
import type { Remembered } from '../vault/requests.ts';
import { SUBJECT_BYTES } from '../vault/subject-rows.ts';
import type { Receipt } from './calls.ts';
import { fieldInvalid } from './domain-admin.ts';
import type { IdemNames, SubjectsResult } from './job.ts';
import { tellGroups } from './merged-groups.ts';
import type { Parts } from './parts.ts';
import { commitLeaf, plainEntry } from './receipts.ts';
import { ulid } from './ulid.ts';
import type { MergeAnswer, MergeCall } from './vault-calls.ts';

/* Two ids of one patient become one: HL7 v2 A40. Records keep the subject they were made with; what
 * changes is which ids open them. So a merge can be taken back, and then all is as it was. It holds
 * in the caller's own organisation alone: the same id may be another patient elsewhere. */

type Verb = 'MergeSubjects' | 'UnmergeSubjects';

/** Name under which merges go one after the other; no domain id has this form. */
const ONE_AT_A_TIME = 'merges of subjects';
/** UnmergeSubjects comes without a deadline of its own. */
const UNMERGE_MS = 30_000;

/** In force, for every call that begins, before it resolves. Two ids that were merged before give
 *  that merge again. Rejects with SUBJECTS_TOO_MANY where the patient has too many ids. */
export async function mergeSubjects(parts: Parts, call: MergeCall): Promise<MergeAnswer> {
  const { caller, survivor, prior, note, requestId } = call;
  authoriseMerge(parts, caller);
  checkNote(note);
  for (const [field, id] of Object.entries({ survivor, prior })) {
    if (id.length === 0) throw new CallError('FIELD_REQUIRED', violation(field, 'is empty'));
  }
  if (Buffer.compare(survivor, prior) === 0) {
    throw fieldInvalid('prior', 'is the survivor itself');
  }
  const names = namesOf(caller, 'MergeSubjects', requestId, [survivor, prior, note]);
  const job = { op: 'subjects', subjects: columnOf([survivor, prior]), idem: names } as const;
  const asked = await parts.lane.run(job, { ...call, cancelled: () => false });
  return once(parts, asked.idem, call, (request) => {
    const ids = asked.indexes;
    const pair = {
      organisation: caller.organisation,
      survivor: ids.slice(0, SUBJECT_BYTES),
      prior: ids.slice(SUBJECT_BYTES),
    };
    return merge(parts, call, pair, request);
  });
}

type Request = SubjectsResult['idem'];
type Pair = Pick<Merge, 'organisation' | 'survivor' | 'prior'>;

async function merge(
  parts: Parts,
  call: MergeCall,
  pair: Pair,
  request: Request,
): Promise<MergeAnswer> {
  const { aliases } = parts.vault;
  const { organisation, survivor, prior } = pair;
  const before = aliases.between(organisation, survivor, prior);
  const moved = await tokensOf(parts, organisation, aliases.groupOf(prior, organisation));
  const made = before ?? { ...pair, id: ulid(parts.clock.nowMs()) };
  if (before === undefined) {
    const tooMany = aliases.joined(organisation, survivor, prior) > GROUP_MAX;
    // A group is tried id by id, and all merges lie in memory: both have an end.
    if (tooMany || aliases.size >= MERGES_MAX) throw new CallError('SUBJECTS_TOO_MANY');
  }
  const edits = before === undefined ? [aliases.addition(made)] : [];
  const told = { verb: 'MergeSubjects', caller: call.caller, note: call.note, moved } as const;
  const receipt = await commit(parts, { ...told, merge: made, edits, request, call }, () =>
    before === undefined ? aliases.added(made) : [],
  );
  return { merge: made.id, moved, receipt };
}

/** Takes exactly this merge back; ids that others still connect stay one patient. Rejects with
 *  RESOURCE_NOT_FOUND for a merge that is not there, or is another organisation's. */
export async function unmergeSubjects(
  parts: Parts,
  caller: Caller,
  mergeId: string,
  note: string,
  requestId: string,
): Promise<Omit<MergeAnswer, 'merge'>> {
  authoriseMerge(parts, caller);
  checkNote(note);
  const call = { deadlineMs: systemClock.nowMs() + UNMERGE_MS, cancelled: () => false };
  const names = namesOf(caller, 'UnmergeSubjects', requestId, [mergeId, note]);
  const nobody = columnOf([]);
  const asked =
    names && (await parts.lane.run({ op: 'subjects', subjects: nobody, idem: names }, call));
  return once(parts, asked?.idem, call, async (request) => {
    const { aliases } = parts.vault;
    const made = aliases.merge(mergeId);
    if (made?.organisation !== caller.organisation) throw new CallError('RESOURCE_NOT_FOUND');
    const parted = aliases.partedBy(made);
    const moved = await tokensOf(parts, made.organisation, parted);
    const edits = [aliases.removal(made)];
    const told = { verb: 'UnmergeSubjects', caller, note, moved } as const;
    const receipt = await commit(parts, { ...told, merge: made, edits, request, call }, () =>
      aliases.removed(made),
    );
    return { merge: made.id, moved, receipt };
  });
}

/** A right that concerns no domain is asked of one that cannot be there: grants on all domains of
 *  the organisation reach it. */
function authoriseMerge(parts: Parts, caller: Caller): void {
  const domain = { id: `${caller.organisation}/-`, kind: 'fpe', format: '' } as const;
  authorise(parts.policy, { caller, action: 'MergeSubjects', domain, purpose: '', items: 0 });
}

function checkNote(note: string): void {
  if (Buffer.byteLength(note) > LIMITS.noteBytesMax) {
    throw fieldInvalid('note', `must be at most ${LIMITS.noteBytesMax} bytes`);
  }
}

const violation = (field: string, text: string) => ({ violations: [{ field, text }] });

/** Tokens of these ids in the organisation's domains. */
async function tokensOf(
  parts: Parts,
  organisation: string,
  ids: readonly Uint8Array[],
): Promise<number> {
  const own = [...parts.domains.all()].filter(
    ({ spec, vaulted }) => vaulted && spec.id.startsWith(`${organisation}/`),
  );
  return parts.vault.subjects.count(
    ids,
    own.map(({ spec }) => spec.id),
  );
}

interface Change {
  readonly verb: Verb;
  readonly caller: Caller;
  readonly merge: Merge;
  readonly moved: number;
  readonly note: string;
  readonly edits: readonly Edit[];
  readonly request: Request;
  readonly call: { readonly deadlineMs: number };
}

/** Rows and leaf, then memory, then the key worker: the answer comes after all of them. */
async function commit(
  parts: Parts,
  change: Change,
  stored: () => Parameters<typeof tellGroups>[1],
): Promise<Receipt> {
  const { verb, caller, merge, moved, note, edits, request } = change;
  const body = await parts.lane.run(
    {
      op: 'seal',
      // A row for each of the two; there is nothing else to tell of them.
      tokens: columnOf(['', '']),
      targets: undefined,
      subject: undefined,
      subjectIndexes: Uint8Array.from(Buffer.concat([merge.survivor, merge.prior])),
      errors: [],
    },
    { deadlineMs: change.call.deadlineMs, cancelled: () => false },
  );
  const extra = { merge: merge.id, moved, organisation: merge.organisation };
  const more = { done: 1, failed: 0, extra: note === '' ? extra : { ...extra, note } };
  const entry = plainEntry(parts, caller, verb, '', more);
  try {
    const receipt = await commitLeaf(parts, { entry, body, edits, request });
    await tellGroups(parts, stored());
    return receipt;
  } catch (error) {
    // It may have been stored all the same, its leaf still to come: what is there is in force.
    if (!parts.vault.fenced) await reread(parts).catch(() => {});
    throw error;
  }
}

async function reread(parts: Parts): Promise<void> {
  await parts.vault.aliases.load();
  await tellGroups(parts, undefined);
}

/** Names of the request; undefined where it has no id. */
function namesOf(
  caller: Caller,
  verb: Verb,
  requestId: string,
  fields: readonly (string | Uint8Array)[],
): IdemNames | undefined {
  if (requestId === '') return undefined;
  const hash = createHash('sha256');
  for (const field of fields) {
    const bytes = typeof field === 'string' ? Buffer.from(field, 'utf8') : field;
    const length = Buffer.alloc(4);
    length.writeUInt32BE(bytes.length);
    hash.update(length).update(bytes);
  }
  const name = Buffer.from(JSON.stringify([caller.id, verb, requestId]), 'utf8');
  return { name, digest: hash.digest() };
}

/** Runs `work` alone among merges, and once for a request: a repeat gets the first answer. */
async function once(
  parts: Parts,
  request: Request,
  call: { readonly deadlineMs: number },
  work: (request: Request) => Promise<MergeAnswer>,
): Promise<MergeAnswer> {
  const alone = (): Promise<MergeAnswer> =>
    parts.vault.exclusive([ONE_AT_A_TIME], () => work(request));
  if (request === undefined) return alone();
  const before = await parts.vault.beginRequest(request.key);
  if (before !== undefined) {
    if (Buffer.compare(before.digest, request.digest) !== 0) {
      throw new CallError('REQUEST_ID_REUSED');
    }
    return replay(parts, before, call);
  }
  try {
    return await alone();
  } finally {
    parts.vault.endRequest(request.key);
  }
}

async function replay(
  parts: Parts,
  { leafIndex, commit: number }: Remembered,
  { deadlineMs }: { readonly deadlineMs: number },
): Promise<MergeAnswer> {
  // Committed, yet its leaf is still on the way into the log: the same id finds it in a moment.
  if (leafIndex === undefined) throw new CallError('OUTCOME_UNKNOWN', { retryDelayMs: 100 });
  const bytes = await parts.log.entry(leafIndex);
  const entry = decodeEntry(bytes);
  // Another call's answer must never be taken for this one's, whatever became of the log.
  if (entry.commit !== number) throw new CallError('RECORD_CORRUPT');
  const sealed = await parts.log.body(leafIndex);
  if (sealed === undefined) throw new CallError('RECORD_CORRUPT');
  const opened = { deadlineMs, cancelled: () => false };
  const { salt } = await parts.lane.run({ op: 'open-body', sealed }, opened);
  const receipt = { leafIndex, leafHash: Uint8Array.from(leafHash(bytes)), salt };
  return { ...mergeOf(entry), receipt };
}

function mergeOf({ extra }: Entry): { merge: string; moved: number } {
  const { merge: id, moved } = extra ?? {};
  if (typeof id !== 'string' || typeof moved !== 'number') throw new CallError('RECORD_CORRUPT');
  return { merge: id, moved };
}
