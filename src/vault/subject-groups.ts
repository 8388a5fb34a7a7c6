import assert from 'node:assert';
import { getU32 } from './layout.ts';
import { SUBJECT_BYTES } from './subject-rows.ts';

/** The ids of one patient of an organisation, ascending, 16 bytes each, at least two. */
export type Members = readonly Uint8Array[];

/** Ids of merged subjects of one organisation, found by each of them. Ids are CMACs and so evenly
 *  spread: their first word finds the few that share it, without a string an id. */
class OrganisationGroups {
  readonly #byWord = new Map<number, { readonly id: Uint8Array; readonly members: Members }[]>();

  /** All ids of the patient who has the 16 bytes from `at`; undefined where it has no other. */
  find(ids: Uint8Array, at: number): Members | undefined {
    if (ids.length < at + SUBJECT_BYTES) return undefined;
    const candidates = this.#byWord.get(getU32(ids, at));
    if (candidates === undefined) return undefined;
    return candidates.find(({ id }) => same(id, 0, ids, at))?.members;
  }

  set(members: Members): void {
    for (const id of members) {
      const word = getU32(id, 0);
      const others = (this.#byWord.get(word) ?? []).filter((one) => !same(one.id, 0, id, 0));
      if (members.length > 1) others.push({ id, members });
      if (others.length === 0) this.#byWord.delete(word);
      else this.#byWord.set(word, others);
    }
  }

  get empty(): boolean {
    return this.#byWord.size === 0;
  }
}

function same(one: Uint8Array, at: number, other: Uint8Array, otherAt: number): boolean {
  for (let i = 0; i < SUBJECT_BYTES; i++) if (one[at + i] !== other[otherAt + i]) return false;
  return true;
}

/** What a change did to one group. */
export interface ChangedGroup {
  readonly organisation: string;
  /** Ids, 16 bytes each, ascending; one alone is merged with nobody any more. */
  readonly ids: Uint8Array;
}

/** Merged subjects by organisation: what one merges is nothing to the others, whose patients may
 *  have the same ids. */
export class SubjectGroups {
  readonly #byOrganisation = new Map<string, OrganisationGroups>();

  /** Undefined where the organisation has merged nobody, so that its calls need not look. */
  of(organisation: string): Pick<OrganisationGroups, 'find'> | undefined {
    return this.#byOrganisation.get(organisation);
  }

  clear(): void {
    this.#byOrganisation.clear();
  }

  set({ organisation, ids }: ChangedGroup): void {
    assert(ids.length > 0 && ids.length % SUBJECT_BYTES === 0, 'subject indexes are 16 bytes');
    const members: Uint8Array[] = [];
    for (let at = 0; at < ids.length; at += SUBJECT_BYTES) {
      members.push(ids.slice(at, at + SUBJECT_BYTES));
    }
    const groups = this.#byOrganisation.get(organisation) ?? new OrganisationGroups();
    groups.set(members);
    if (groups.empty) this.#byOrganisation.delete(organisation);
    else this.#byOrganisation.set(organisation, groups);
  }
}
