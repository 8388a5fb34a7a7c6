import assert from 'node:assert';
import { type Change, type Store, StoreError } from '../storage/store.ts';
import type { Edit } from './call-write.ts';
import { after, PREFIX } from './layout.ts';
import { checked, proven } from './rows.ts';
import { type ChangedGroup, SubjectGroups } from './subject-groups.ts';
import { SUBJECT_BYTES } from './subject-rows.ts';

/** Ids that one patient can have: a reveal may try each of them. */
export const GROUP_MAX = 64;
/** Merges that a vault keeps, about 500 bytes of memory each. */
export const MERGES_MAX = 200_000;

/** One merge, as it was asked for: HL7 v2 A40. */
export interface Merge {
  /** ULID, 26 characters. */
  readonly id: string;
  /** `[a-z0-9-]{1,63}`. */
  readonly organisation: string;
  /** Keyed index, 16 bytes; the id that stays. */
  readonly survivor: Uint8Array;
  /** Likewise; the id that was folded into it. */
  readonly prior: Uint8Array;
}

const MERGE_BYTES = 26;
/** k ‖ subject ‖ other subject ‖ merge. */
const ALIAS_KEY_BYTES = 1 + 2 * SUBJECT_BYTES + MERGE_BYTES;
const ROLE = { survivor: 1, prior: 2 } as const;

/** Who is whom. Merges are the edges, a patient's ids what they connect; all of it lies in memory,
 *  since merges are few. What is written here takes effect by `added` and `removed`, which the
 *  caller runs once its commit is durable, one merge at a time. */
export class Aliases {
  readonly #store: Store;
  #merges = new Map<string, Merge>();
  #edges = new Map<string, Set<Merge>>();
  #groups = new SubjectGroups();

  constructor(store: Store) {
    this.#store = store;
  }

  /** Reads what is durable, in place of what was known. Rejects with `StoreError`. */
  async load(): Promise<void> {
    const merges = new Map<string, Merge>();
    const prefix = Uint8Array.of(PREFIX.alias);
    for await (const { key, value } of this.#store.range({ from: prefix, to: after(prefix) })) {
      const merge = mergeOf(key, proven(key, value));
      if (merge !== undefined) merges.set(merge.id, merge);
    }
    this.#merges = new Map();
    this.#edges = new Map();
    this.#groups = new SubjectGroups();
    for (const merge of merges.values()) this.#enter(merge);
    for (const group of this.groups()) this.#groups.set(group);
  }

  /** Merges there are. */
  get size(): number {
    return this.#merges.size;
  }

  /** All ids of the patient in that organisation, the one asked for first, then ascending. */
  groupOf(subject: Uint8Array, organisation: string): readonly Uint8Array[] {
    const members = this.#groups.of(organisation)?.find(subject, 0);
    if (members === undefined) return [subject];
    return [subject, ...members.filter((one) => Buffer.compare(one, subject) !== 0)];
  }

  /** Likewise for a column of subjects, 16 bytes a row; undefined where the organisation has merged
   *  nobody. */
  groupsIn(organisation: string): ReturnType<SubjectGroups['of']> {
    return this.#groups.of(organisation);
  }

  merge(id: string): Merge | undefined {
    return this.#merges.get(id);
  }

  /** The merge that made these two one, whichever of them survived. */
  between(organisation: string, one: Uint8Array, other: Uint8Array): Merge | undefined {
    for (const merge of this.#edges.get(nodeOf(organisation, one)) ?? []) {
      if (Buffer.compare(otherOf(merge, one), other) === 0) return merge;
    }
    return undefined;
  }

  /** Rows of a new merge. */
  addition(merge: Merge): Edit {
    assert(merge.id.length === MERGE_BYTES, 'a merge has a ULID');
    const changes = rowsOf(merge).map(({ key, role }): Change => {
      const value = Buffer.concat([Uint8Array.of(role), Buffer.from(merge.organisation, 'utf8')]);
      return { type: 'put', key, value: checked(key, value) };
    });
    return { changes, deltas: [] };
  }

  /** Takes its rows. */
  removal(merge: Merge): Edit {
    return { changes: rowsOf(merge).map(({ key }) => ({ type: 'del', key })), deltas: [] };
  }

  /** It is durable: in force from here on. The group that it made. */
  added(merge: Merge): ChangedGroup[] {
    this.#enter(merge);
    return this.#regroup(merge.organisation, [merge.survivor]);
  }

  /** It is durably gone. The groups, or single ids, that are left of the one. */
  removed(merge: Merge): ChangedGroup[] {
    this.#merges.delete(merge.id);
    for (const id of [merge.survivor, merge.prior]) {
      const node = nodeOf(merge.organisation, id);
      const edges = this.#edges.get(node);
      for (const edge of edges ?? []) if (edge.id === merge.id) edges?.delete(edge);
      if (edges?.size === 0) this.#edges.delete(node);
    }
    const left = this.#reach(merge.organisation, merge.survivor);
    const still = left.some((id) => Buffer.compare(id, merge.prior) === 0);
    const starts = still ? [merge.survivor] : [merge.survivor, merge.prior];
    return this.#regroup(merge.organisation, starts);
  }

  /** Ids that are another patient's once this merge is gone: the prior and what hangs on it; none
   *  where another merge connects the two. */
  partedBy(merge: Merge): readonly Uint8Array[] {
    const ids = this.#reach(merge.organisation, merge.prior, merge);
    return ids.some((id) => Buffer.compare(id, merge.survivor) === 0) ? [] : ids;
  }

  /** Ids that the survivor and the prior would have together. */
  joined(organisation: string, survivor: Uint8Array, prior: Uint8Array): number {
    const ids = [...this.#reach(organisation, survivor), ...this.#reach(organisation, prior)];
    return new Set(ids.map(hex)).size;
  }

  /** Every group of two ids or more. */
  *groups(): Generator<ChangedGroup> {
    const seen = new Set<string>();
    for (const { organisation, survivor } of this.#merges.values()) {
      if (seen.has(nodeOf(organisation, survivor))) continue;
      const members = this.#reach(organisation, survivor);
      for (const id of members) seen.add(nodeOf(organisation, id));
      yield { organisation, ids: joinedIds(members) };
    }
  }

  #enter(merge: Merge): void {
    this.#merges.set(merge.id, merge);
    for (const id of [merge.survivor, merge.prior]) {
      const node = nodeOf(merge.organisation, id);
      const edges = this.#edges.get(node);
      if (edges === undefined) this.#edges.set(node, new Set([merge]));
      else edges.add(merge);
    }
  }

  #regroup(organisation: string, starts: readonly Uint8Array[]): ChangedGroup[] {
    return starts.map((start) => {
      const group = { organisation, ids: joinedIds(this.#reach(organisation, start)) };
      this.#groups.set(group);
      return group;
    });
  }

  /** All ids that merges, but for one, connect with this one, itself among them. */
  #reach(organisation: string, start: Uint8Array, without?: Merge): Uint8Array[] {
    const found = new Map([[nodeOf(organisation, start), start]]);
    // A Map that grows is walked to its new end: this is the queue too.
    for (const [node, id] of found) {
      for (const merge of this.#edges.get(node) ?? []) {
        if (merge.id === without?.id) continue;
        const other = otherOf(merge, id);
        found.set(nodeOf(organisation, other), other);
      }
    }
    return [...found.values()];
  }
}

const hex = (id: Uint8Array): string => Buffer.from(id).toString('hex');
const nodeOf = (organisation: string, id: Uint8Array): string => `${organisation} ${hex(id)}`;

const otherOf = ({ survivor, prior }: Merge, one: Uint8Array): Uint8Array =>
  Buffer.compare(survivor, one) === 0 ? prior : survivor;

const joinedIds = (ids: readonly Uint8Array[]): Uint8Array =>
  Uint8Array.from(Buffer.concat([...ids].sort(Buffer.compare)));

/** The row of each of the two, so that either finds the other. */
function rowsOf({ id, survivor, prior }: Merge): { key: Uint8Array; role: number }[] {
  return [
    { key: aliasKey(survivor, prior, id), role: ROLE.survivor },
    { key: aliasKey(prior, survivor, id), role: ROLE.prior },
  ];
}

function aliasKey(subject: Uint8Array, other: Uint8Array, merge: string): Uint8Array {
  const key = new Uint8Array(ALIAS_KEY_BYTES);
  key[0] = PREFIX.alias;
  key.set(subject, 1);
  key.set(other, 1 + SUBJECT_BYTES);
  key.set(Buffer.from(merge, 'latin1'), 1 + 2 * SUBJECT_BYTES);
  return key;
}

/** The merge of a survivor's row; that of its prior says nothing more. */
function mergeOf(key: Uint8Array, value: Uint8Array): Merge | undefined {
  if (key.length !== ALIAS_KEY_BYTES || value.length < 2) {
    throw new StoreError('corrupt', new Error('a merge of subjects does not read'));
  }
  if (value[0] === ROLE.prior) return undefined;
  return {
    id: Buffer.from(key.subarray(1 + 2 * SUBJECT_BYTES)).toString('latin1'),
    organisation: Buffer.from(value.subarray(1)).toString('utf8'),
    survivor: Uint8Array.from(key.subarray(1, 1 + SUBJECT_BYTES)),
    prior: Uint8Array.from(key.subarray(1 + SUBJECT_BYTES, 1 + 2 * SUBJECT_BYTES)),
  };
}
