import { type Change, type Store, StoreError } from '../storage/store.ts';
import type { Edit } from './call-write.ts';
import type { Domains } from './domains.ts';
import { callErrorOf } from './failure.ts';
import { after, getU32, PREFIX, putU32, viewsOf } from './layout.ts';
import { checked, proven } from './rows.ts';
import { SUBJECT_BYTES } from './subject-rows.ts';

/** Flags of a subject in a domain whose tokens have no records. */
export const ERASED_SUBJECT = 1;
export const RESTRICTED_SUBJECT = 2;

const KEY_BYTES = 5 + SUBJECT_BYTES;

/** Subjects of one domain, row by row. */
export interface FlaggedSubjects {
  readonly domain: string;
  /** 16 bytes a row. */
  readonly subjects: Uint8Array;
  readonly flags: Uint8Array;
}

/** What was erased or stopped of a subject where there is no record to take away: a row a subject,
 *  which the key worker holds in memory too. */
export class Tombstones {
  readonly #store: Store;
  readonly #domains: Domains;

  constructor(store: Store, domains: Domains) {
    this.#store = store;
    this.#domains = domains;
  }

  /** All of them, by domain. A row that does not prove itself counts as erased: its subject is part
   *  of the key, and what was erased must not come back. Rejects with `StoreError`. */
  async *all(): AsyncGenerator<FlaggedSubjects> {
    const ids = new Map<number, string>();
    for (const { id, row } of this.#domains.all()) ids.set(row.number, id);
    const found = new Map<string, { key: Uint8Array; flags: number }[]>();
    const from = Uint8Array.of(PREFIX.tombstone);
    for await (const { key, value } of this.#store.range({ from, to: after(from) })) {
      const domain = ids.get(getU32(key, 1));
      if (domain === undefined || key.length !== KEY_BYTES) throw new StoreError('corrupt');
      const rows = found.get(domain) ?? [];
      rows.push({ key: Uint8Array.from(key), flags: flagsOf(key, value) });
      found.set(domain, rows);
    }
    for (const [domain, rows] of found) {
      yield {
        domain,
        subjects: Uint8Array.from(Buffer.concat(rows.map(({ key }) => key.subarray(5)))),
        flags: Uint8Array.from(rows, ({ flags }) => flags),
      };
    }
  }

  /** Flags of these subjects, 16 bytes each, with `set` added and `clear` taken away, and the rows
   *  that store them. From here to the commit the caller holds `vault.exclusive` of the domain.
   *  Rejects with `CallError`. */
  async change(
    domain: string,
    subjects: readonly Uint8Array[],
    { set = 0, clear = 0 }: { readonly set?: number; readonly clear?: number },
  ): Promise<{ readonly edit: Edit; readonly after: FlaggedSubjects }> {
    const { number } = this.#domains.get(domain).row;
    const keys = viewsOf(keysOf(number, subjects), KEY_BYTES);
    const flags = new Uint8Array(subjects.length);
    const changes: Change[] = [];
    try {
      for (const [i, row] of (await this.#store.getMany(keys)).entries()) {
        const key = keys[i]!;
        const before = row === undefined ? 0 : flagsOf(key, row);
        flags[i] = (before | set) & ~clear;
        if (flags[i] === before) continue;
        if (flags[i] === 0) changes.push({ type: 'del', key });
        else changes.push({ type: 'put', key, value: checked(key, flags.slice(i, i + 1)) });
      }
    } catch (error) {
      throw callErrorOf(error);
    }
    const joined = Uint8Array.from(Buffer.concat(subjects));
    return { edit: { changes, deltas: [] }, after: { domain, subjects: joined, flags } };
  }
}

function keysOf(domain: number, subjects: readonly Uint8Array[]): Uint8Array {
  const keys = new Uint8Array(subjects.length * KEY_BYTES);
  for (const [i, subject] of subjects.entries()) {
    const at = i * KEY_BYTES;
    keys[at] = PREFIX.tombstone;
    putU32(keys, at + 1, domain);
    keys.set(subject, at + 5);
  }
  return keys;
}

function flagsOf(key: Uint8Array, row: Uint8Array): number {
  try {
    return proven(key, row)[0] ?? ERASED_SUBJECT;
  } catch (error) {
    if (error instanceof StoreError) return ERASED_SUBJECT;
    throw error;
  }
}
