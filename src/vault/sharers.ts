import assert from 'node:assert';
import type { Change, Store } from '../storage/store.ts';
import type { Edit } from './call-write.ts';
import type { Domains } from './domains.ts';
import { callErrorOf } from './failure.ts';
import { after } from './layout.ts';
import {
  isNobody,
  provesItself,
  SUBJECT_BYTES,
  sharerChange,
  sharerKey,
  subjectChange,
  subjectKey,
  subjectRowOf,
} from './subject-rows.ts';

/** Subjects that one record can have (design.md, Subjects). */
export const SHARERS_MAX = 1_000;

/** Sets that are read side by side: each is a range of its own. */
const SETS_AT_ONCE = 32;

/** The sets of subjects of records that are bound to none: a row for each. Read and commit under
 *  `vault.exclusive` of the domain to change the set of a record that was there before. */
export class Sharers {
  readonly #store: Store;
  readonly #domains: Domains;

  constructor(store: Store, domains: Domains) {
    this.#store = store;
    this.#domains = domains;
  }

  /** Row by row: 1 where the subject (16 bytes a row) is in the set of the record, or names nobody;
   *  0 also where the row is damaged. One snapshot. */
  async has(domain: string, counters: Float64Array, subjects: Uint8Array): Promise<Uint8Array> {
    const { number } = this.#domains.get(domain).row;
    assert(subjects.length === counters.length * SUBJECT_BYTES, 'each row names a subject');
    const found = new Uint8Array(counters.length);
    const rows: number[] = [];
    const keys: Uint8Array[] = [];
    for (let i = 0, at = 0; i < counters.length; i++, at += SUBJECT_BYTES) {
      if (isNobody(subjects, at)) found[i] = 1;
      else if (counters[i]! >= 0) {
        rows.push(i);
        keys.push(sharerKey(number, subjects, at, counters[i]!));
      }
    }
    if (keys.length === 0) return found;
    try {
      const there = await this.#store.getMany(keys);
      for (const [i, row] of rows.entries()) {
        const value = there[i];
        found[row] = value !== undefined && provesItself(keys[i]!, value) ? 1 : 0;
      }
    } catch (error) {
      throw callErrorOf(error);
    }
    return found;
  }

  /** All subjects of each record, ascending, 16 bytes each; none for a record of nobody. Rejects
   *  with RECORD_CORRUPT where a row is damaged. */
  async of(domain: string, counters: Float64Array): Promise<readonly Uint8Array[]> {
    const { number } = this.#domains.get(domain).row;
    const sets: Uint8Array[] = [];
    try {
      for (let at = 0; at < counters.length; at += SETS_AT_ONCE) {
        const some = [...counters.subarray(at, at + SETS_AT_ONCE)];
        sets.push(...(await Promise.all(some.map((counter) => this.#set(number, counter)))));
      }
    } catch (error) {
      throw callErrorOf(error);
    }
    return sets;
  }

  async #set(domain: number, counter: number): Promise<Uint8Array> {
    const from = sharerKey(domain, NOBODY, 0, counter);
    const to = after(from.subarray(0, 13));
    const subjects: Uint8Array[] = [];
    for await (const row of this.#store.range({ from, to })) {
      subjects.push(subjectRowOf(row).subject);
    }
    return Buffer.concat(subjects);
  }

  /** Adds the subject of each row to the record's set, and the record to the subject's list. */
  additions(domain: string, counters: Float64Array, subjects: Uint8Array): Edit {
    const { number } = this.#domains.get(domain).row;
    const changes: Change[] = [];
    for (let i = 0, at = 0; i < counters.length; i++, at += SUBJECT_BYTES) {
      if (isNobody(subjects, at)) continue;
      changes.push(sharerChange(number, subjects, at, counters[i]!));
      changes.push(subjectChange(number, subjects, at, counters[i]!));
    }
    return { changes, deltas: [] };
  }

  /** Takes these subjects (16 bytes each) out of the sets of these records, and the records out of
   *  the subjects' lists. `emptied`: 1 where nobody is left, so that the record itself has to go.
   *  Under `vault.exclusive` until the edit is committed. */
  async removeSubjects(
    domain: string,
    counters: Float64Array,
    subjects: readonly Uint8Array[],
  ): Promise<{ readonly edit: Edit; readonly emptied: Uint8Array }> {
    const sets = await this.of(domain, counters);
    const { number } = this.#domains.get(domain).row;
    const changes: Change[] = [];
    const emptied = new Uint8Array(counters.length);
    for (const [i, set] of sets.entries()) {
      let left = set.length / SUBJECT_BYTES;
      for (let at = 0; at < set.length; at += SUBJECT_BYTES) {
        const one = set.subarray(at, at + SUBJECT_BYTES);
        if (!subjects.some((subject) => Buffer.compare(subject, one) === 0)) continue;
        pushRemoval(changes, number, set, at, counters[i]!);
        left--;
      }
      emptied[i] = left === 0 ? 1 : 0;
    }
    return { edit: { changes, deltas: [] }, emptied };
  }

  /** Takes the whole sets of records that go. Under `vault.exclusive`, likewise. */
  async removeAll(domain: string, counters: Float64Array): Promise<Edit> {
    const { number } = this.#domains.get(domain).row;
    const changes: Change[] = [];
    for (const [i, set] of (await this.of(domain, counters)).entries()) {
      for (let at = 0; at < set.length; at += SUBJECT_BYTES) {
        pushRemoval(changes, number, set, at, counters[i]!);
      }
    }
    return { changes, deltas: [] };
  }
}

const NOBODY = new Uint8Array(SUBJECT_BYTES);

function pushRemoval(
  changes: Change[],
  domain: number,
  subjects: Uint8Array,
  at: number,
  counter: number,
): void {
  changes.push({ type: 'del', key: sharerKey(domain, subjects, at, counter) });
  changes.push({ type: 'del', key: subjectKey(domain, subjects, at, counter) });
}
