import assert from 'node:assert';
import type { Change, Store } from '../storage/store.ts';
import type { Edit } from './call-write.ts';
import type { Domains } from './domains.ts';
import { callErrorOf } from './failure.ts';
import { after, PREFIX, putU32, putU64 } from './layout.ts';
import {
  isNobody,
  SUBJECT_BYTES,
  SUBJECT_KEY_BYTES,
  type SubjectRow,
  subjectKey,
  subjectRowOf,
} from './subject-rows.ts';

/** Where a page ended: the last row it gave. */
export interface SubjectPlace {
  /** One of those asked for, 16 bytes. */
  readonly subject: Uint8Array;
  /** Number of the domain in the vault. */
  readonly domain: number;
  readonly counter: number;
}

/** A page of the tokens of a patient, row by row. */
export interface SubjectTokens {
  readonly domains: readonly string[];
  readonly counters: Float64Array;
  /** The id that each is a token of, 16 bytes a row. */
  readonly subjects: Uint8Array;
  /** Where each stands, to go on behind it. */
  readonly places: readonly SubjectPlace[];
  /** Set where rows may follow: give it as `after`. */
  readonly next: SubjectPlace | undefined;
}

/** Rows read at once where all are. */
const PAGE_ROWS = 10_000;

/** Which records belong to a subject: a row of its own for each record that was made for one. */
export class Subjects {
  readonly #store: Store;
  readonly #domains: Domains;

  constructor(store: Store, domains: Domains) {
    this.#store = store;
    this.#domains = domains;
  }

  /** Tokens of all ids of a patient (16-byte keyed indexes), behind `after`, at most `limit`. In
   *  the order of the ids as given, then of domain number, then of counter; a record that several
   *  of the ids share comes once, with the first. `domain`: one, several, or undefined for all of
   *  the installation. Rejects with `CallError`: RECORD_CORRUPT where a row is damaged. */
  async tokensOf(
    subjects: readonly Uint8Array[],
    domain: string | readonly string[] | undefined,
    behind: SubjectPlace | undefined,
    limit: number,
  ): Promise<SubjectTokens> {
    const numbers = this.#numbersOf(domain);
    const found: SubjectRow[] = [];
    const start = behind === undefined ? 0 : placeOf(subjects, behind.subject);
    try {
      for (let place = start; place < subjects.length; place++) {
        const from = place === start ? behind : undefined;
        for (const range of rangesOf(subjects[place]!, numbers, from)) {
          if (found.length > limit) break;
          await this.#collect(range, subjects.slice(0, place), limit + 1, found);
        }
      }
    } catch (error) {
      throw callErrorOf(error);
    }
    return this.#page(found.slice(0, limit), found.length > limit);
  }

  #page(rows: readonly SubjectRow[], more: boolean): SubjectTokens {
    const ids = new Map<number, string>();
    for (const { id, row } of this.#domains.all()) ids.set(row.number, id);
    const subjects = new Uint8Array(rows.length * SUBJECT_BYTES);
    for (const [i, { subject }] of rows.entries()) subjects.set(subject, i * SUBJECT_BYTES);
    const last = rows.at(-1);
    return {
      domains: rows.map(({ domain }) => {
        const id = ids.get(domain);
        assert(id !== undefined, 'a subject row names a domain of the vault');
        return id;
      }),
      counters: Float64Array.from(rows, ({ counter }) => counter),
      subjects,
      places: rows,
      next: more && last !== undefined ? last : undefined,
    };
  }

  /** Appends rows of a range until there are `limit`, without those that an earlier id has too. */
  async #collect(
    range: Range,
    earlier: readonly Uint8Array[],
    limit: number,
    found: SubjectRow[],
  ): Promise<void> {
    let { from } = range;
    while (found.length < limit) {
      const wanted = limit - found.length;
      const rows: SubjectRow[] = [];
      for await (const row of this.#store.range({ from, to: range.to, limit: wanted })) {
        rows.push(subjectRowOf(row));
      }
      for (const row of await this.#without(rows, earlier)) found.push(row);
      const last = rows.at(-1);
      if (rows.length < wanted || last === undefined) return;
      from = behindKey(last);
    }
  }

  async #without(
    rows: readonly SubjectRow[],
    earlier: readonly Uint8Array[],
  ): Promise<readonly SubjectRow[]> {
    if (earlier.length === 0 || rows.length === 0) return rows;
    const keys = rows.flatMap(({ domain, counter }) =>
      earlier.map((subject) => subjectKey(domain, subject, 0, counter)),
    );
    const there = await this.#store.getMany(keys);
    return rows.filter((_, row) => {
      for (let i = 0; i < earlier.length; i++) {
        if (there[row * earlier.length + i] !== undefined) return false;
      }
      return true;
    });
  }

  #numbersOf(domain: string | readonly string[] | undefined): readonly number[] | undefined {
    if (domain === undefined) return undefined;
    const ids = typeof domain === 'string' ? [domain] : domain;
    return ids.map((id) => this.#domains.get(id).row.number).sort((a, b) => a - b);
  }

  /** How many tokens these ids have in these domains. */
  async count(subjects: readonly Uint8Array[], domains: readonly string[]): Promise<number> {
    let total = 0;
    let behind: SubjectPlace | undefined;
    do {
      const page = await this.tokensOf(subjects, domains, behind, PAGE_ROWS);
      total += page.counters.length;
      behind = page.next;
    } while (behind !== undefined);
    return total;
  }

  /** Takes the rows of records that go; `subjects` holds 16 bytes a record, zeros for none. */
  removal(domain: string, counters: Float64Array, subjects: Uint8Array): Edit {
    const { number } = this.#domains.get(domain).row;
    assert(subjects.length === counters.length * SUBJECT_BYTES, 'each record has its subject');
    const changes: Change[] = [];
    for (let i = 0, at = 0; i < counters.length; i++, at += SUBJECT_BYTES) {
      if (isNobody(subjects, at)) continue;
      changes.push({ type: 'del', key: subjectKey(number, subjects, at, counters[i]!) });
    }
    return { changes, deltas: [] };
  }
}

interface Range {
  readonly from: Uint8Array;
  readonly to: Uint8Array;
}

/** The subject's rows in these domains, ascending, or in all. */
function rangesOf(
  subject: Uint8Array,
  numbers: readonly number[] | undefined,
  behind: SubjectPlace | undefined,
): Range[] {
  assert(subject.length === SUBJECT_BYTES, 'a subject index is 16 bytes');
  const prefixes =
    numbers === undefined
      ? [prefixOf(subject, undefined)]
      : numbers
          .filter((number) => behind === undefined || number >= behind.domain)
          .map((number) => prefixOf(subject, number));
  return prefixes.map((prefix, i) => ({
    // Only the first domain left can be the one that the page before ended in.
    from: i === 0 && behind !== undefined ? later(prefix, behindKey(behind)) : prefix,
    to: after(prefix),
  }));
}

const later = (one: Uint8Array, other: Uint8Array): Uint8Array =>
  Buffer.compare(one, other) < 0 ? other : one;

function prefixOf(subject: Uint8Array, domain: number | undefined): Uint8Array {
  const prefix = new Uint8Array(domain === undefined ? 17 : 21);
  prefix[0] = PREFIX.subject;
  prefix.set(subject, 1);
  if (domain !== undefined) putU32(prefix, 17, domain);
  return prefix;
}

/** The first key that can stand behind this row. */
function behindKey({ subject, domain, counter }: SubjectPlace): Uint8Array {
  const key = new Uint8Array(SUBJECT_KEY_BYTES);
  key[0] = PREFIX.subject;
  key.set(subject, 1);
  putU32(key, 17, domain);
  putU64(key, 21, counter + 1);
  return key;
}

function placeOf(subjects: readonly Uint8Array[], subject: Uint8Array): number {
  const place = subjects.findIndex((one) => Buffer.compare(one, subject) === 0);
  assert(place >= 0, 'a page goes on with the ids it began with');
  return place;
}
