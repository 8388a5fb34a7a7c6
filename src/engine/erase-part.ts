import { type Column, rowCount } from '../base/column.ts';
import type { ItemError } from '../base/reason.ts';
import type { Edit } from '../vault/call-write.ts';
import type { Erasing } from '../vault/erasure.ts';
import { ERASED_SUBJECT, type FlaggedSubjects } from '../vault/tombstones.ts';
import type { Receipt } from './calls.ts';
import type { ServedDomain } from './domain-table.ts';
import { entryOf } from './gate.ts';
import type { IndexResult, SealedBody } from './job.ts';
import { joinColumns } from './jobs/gather.ts';
import type { Parts } from './parts.ts';
import { commitLeaf, plainEntry } from './receipts.ts';
import type { EraseCall } from './vault-calls.ts';

/** What one leaf of an Erase takes away: at most 10,000 tokens of one domain. */
export interface ErasePart {
  /** undefined where the call found nothing anywhere. */
  readonly domain: ServedDomain | undefined;
  /** Distinct, ascending. */
  readonly counters: Float64Array;
  /** All ids of the patient; none unless by subject. */
  readonly group: readonly Uint8Array[];
  /** Whether the domain has tokens that only their subject can take away. */
  readonly byTombstone: boolean;
}

/** Which leaf of its call it is. */
export interface PartPlace {
  readonly part: number;
  readonly parts: number;
  /** Leaf of the part before. */
  readonly previous: number | undefined;
  /** Of the last part only: what the answer says. */
  readonly answer:
    | {
        readonly errors: readonly ItemError[];
        readonly notices: readonly { readonly reason: string; readonly indexes: number[] }[];
        readonly request: NonNullable<IndexResult['idem']> | undefined;
      }
    | undefined;
}

export interface ErasedPart {
  readonly receipt: Receipt;
  /** 1 where the record itself went, by place in `counters`; else only its subject left it. */
  readonly gone: Uint8Array;
}

/** What becomes of the rows of one domain; `gone` as in `ErasedPart`. */
interface Plan {
  readonly edits: readonly Edit[];
  readonly gone: Uint8Array;
  readonly erasing: Erasing | undefined;
  readonly flagged: FlaggedSubjects | undefined;
}

/** Notice of a call's last body, followed by a domain and its kind: nothing there can be erased. */
export const CANNOT_ERASE = 'CANNOT_ERASE';

const NO_BYTES = new Uint8Array(0);

/** Erases one part: rows and leaf in one commit, in force when it resolves. Its domain is the
 *  caller's alone (`vault.exclusive`). */
export const erasePart = (
  parts: Parts,
  call: EraseCall,
  part: ErasePart,
  place: PartPlace,
): Promise<ErasedPart> => parts.compaction.erasing(() => erase(parts, call, part, place));

async function erase(
  parts: Parts,
  call: EraseCall,
  part: ErasePart,
  place: PartPlace,
): Promise<ErasedPart> {
  const { vault } = parts;
  const commit = vault.nextCommit();
  const asked = { mode: call.mode, commit, call, thorough: true };
  const plan =
    part.domain === undefined ? NOTHING : await planErase(parts, part.domain, part, asked);
  const body = await sealPart(parts, call, part, plan.gone, place);
  const count = part.counters.length;
  const errors = place.answer?.errors ?? [];
  const entry =
    part.domain === undefined
      ? {
          ...plainEntry(parts, call.caller, 'Erase', '', { done: 0, failed: errors.length }),
          purpose: call.purpose,
        }
      : {
          ...entryOf(parts, call, 'Erase', part.domain, 0, [], parts.clock.nowMs()),
          done: count,
          failed: errors.length,
        };
  const extra = {
    mode: call.mode,
    tokens: plan.gone.reduce((sum, gone) => sum + gone, 0),
    part: place.part,
    parts: place.parts,
    ...(place.previous === undefined ? {} : { previous: place.previous }),
  };
  const marked = plan.edits.length > 0 ? [parts.compaction.mark(commit)] : [];
  const receipt = await commitLeaf(parts, {
    entry: { ...entry, extra },
    body,
    edits: [...plan.edits, ...marked],
    request: place.answer?.request,
    commit,
  });
  await inForce(parts, plan);
  return { receipt, gone: plan.gone };
}

const NOTHING: Plan = { edits: [], gone: NO_BYTES, erasing: undefined, flagged: undefined };

/** The rows to change. `thorough` also looks for rows that name a record which is not there. */
export async function planErase(
  parts: Parts,
  domain: ServedDomain,
  part: Pick<ErasePart, 'counters' | 'group' | 'byTombstone'>,
  asked: {
    readonly mode: EraseCall['mode'];
    readonly commit: number;
    readonly thorough: boolean;
    readonly call: Pick<EraseCall, 'deadlineMs' | 'cancelled'>;
    /** Replay: which records went; undefined works it out. */
    readonly gone?: Uint8Array;
  },
): Promise<Plan> {
  const { vault } = parts;
  const id = domain.spec.id;
  const edits: Edit[] = [];
  const flagged = part.byTombstone ? await entomb(parts, domain, part.group, edits) : undefined;
  let gone = asked.gone ?? new Uint8Array(part.counters.length).fill(1);
  if (domain.spec.subjectsShared && part.counters.length > 0) {
    gone = await leaveSets(parts, id, part, asked.gone, edits);
  }
  const counters = part.counters.filter((_, i) => gone[i] === 1);
  if (counters.length === 0) return { edits, gone, erasing: undefined, flagged };
  const records = await vault.read(id, counters);
  const job = { op: 'reindex', domain: id, counters, records } as const;
  const { known, indexes, subjects } = await parts.lane.run(job, asked.call);
  const { mode, commit, thorough } = asked;
  const erasing = { domain: id, counters, mode, commit, indexes, subjects, known, thorough };
  edits.push(await vault.erasures.editOf(erasing));
  return { edits, gone, erasing, flagged };
}

/** Tombstones of the patient's ids, in a domain whose tokens keep no records. */
async function entomb(
  parts: Parts,
  domain: ServedDomain,
  group: readonly Uint8Array[],
  edits: Edit[],
): Promise<FlaggedSubjects> {
  await ensureNumbered(parts, domain);
  const change = { set: ERASED_SUBJECT };
  const { edit, after } = await parts.vault.tombstones.change(domain.spec.id, group, change);
  edits.push(edit);
  return after;
}

/** A domain without records gets its number in the vault with its first tombstone. */
export async function ensureNumbered(parts: Parts, domain: ServedDomain): Promise<void> {
  if (parts.vault.hasDomain(domain.spec.id)) return;
  await parts.vault.addDomain(domain.spec.id, { index: 'none', countersMax: 1 });
}

/** Takes the patient out of the sets of shared records, or the sets away whole where no subject was
 *  named; a record dies with the last of its set. */
async function leaveSets(
  parts: Parts,
  id: string,
  part: Pick<ErasePart, 'counters' | 'group'>,
  known: Uint8Array | undefined,
  edits: Edit[],
): Promise<Uint8Array> {
  const { sharers } = parts.vault;
  const { counters, group } = part;
  if (group.length === 0) {
    edits.push(await sharers.removeAll(id, counters));
    return known ?? new Uint8Array(counters.length).fill(1);
  }
  const { edit, emptied } = await sharers.removeSubjects(id, counters, group);
  edits.push(edit);
  if (known === undefined) return emptied;
  // A record that went then goes with whoever an older vault still has in its set.
  edits.push(
    await sharers.removeAll(
      id,
      counters.filter((_, i) => known[i] === 1),
    ),
  );
  return known;
}

/** The commit is durable: calls that begin from now on must not see what is gone. */
export async function inForce(parts: Parts, { erasing, flagged }: Plan): Promise<void> {
  if (erasing !== undefined) parts.vault.erasures.committed(erasing);
  if (flagged !== undefined) await parts.lane.control({ control: 'subject-flags', ...flagged });
}

/** The body: a row a token, then an empty row for each id of the patient. `created` is 1 where the
 *  record went. */
async function sealPart(
  parts: Parts,
  call: EraseCall,
  { domain, counters, group }: ErasePart,
  gone: Uint8Array,
  { answer }: PartPlace,
): Promise<SealedBody> {
  const tokens = await tokensOf(parts, call, domain, counters);
  const rows = counters.length + group.length;
  const subjects = new Uint8Array(group.length === 0 ? 0 : rows * 16);
  for (const [i, id] of group.entries()) subjects.set(id, (counters.length + i) * 16);
  const created = new Uint8Array(rows);
  created.set(gone);
  return parts.lane.run(
    {
      op: 'seal',
      tokens: joinColumns([tokens, { bytes: NO_BYTES, ends: new Uint32Array(group.length) }]),
      targets: undefined,
      subject: undefined,
      subjectIndexes: subjects,
      errors: answer?.errors ?? [],
      created,
      notices: answer?.notices ?? [],
    },
    call,
  );
}

/** Tokens of counters, as they were first given out but for separators. */
export async function tokensOf(
  parts: Parts,
  call: Pick<EraseCall, 'deadlineMs' | 'cancelled'>,
  domain: ServedDomain | undefined,
  counters: Float64Array,
): Promise<Column> {
  const none = { bytes: NO_BYTES, ends: new Uint32Array(counters.length) };
  if (domain === undefined || rowCount(none) === 0) return none;
  const { tokens } = await parts.lane.run(
    {
      op: 'mint',
      domain: domain.spec.id,
      total: counters.length,
      good: undefined,
      counters,
      newRows: new Uint32Array(0),
      stored: none,
      context: undefined,
      subjects: new Uint8Array(counters.length * 16),
      created: NO_BYTES,
      errors: [],
      remarks: undefined,
      seal: false,
    },
    call,
  );
  return tokens;
}
