import assert from 'node:assert';
import { type Change, type Store, StoreError } from '../storage/store.ts';
import type { Edit } from './call-write.ts';
import type { Claims } from './claims.ts';
import type { DomainState, Domains } from './domains.ts';
import { danglingRows } from './erasure-scan.ts';
import { callErrorOf } from './failure.ts';
import {
  after,
  domainKey,
  INDEX_BYTES,
  INDEX_KEY_BYTES,
  indexKeys,
  LISTED_KEY_BYTES,
  listedKeys,
  PREFIX,
  putU32,
  putU64,
  RECORD_KEY_BYTES,
  recordKeys,
  viewsOf,
} from './layout.ts';
import { checked, counterOf, proven } from './rows.ts';
import type { RulesColumn, RulesTable } from './rules-table.ts';
import { isNobody, SUBJECT_BYTES, subjectKey } from './subject-rows.ts';

/** `delete`: the token is unknown from now on. `unlink`: its value is gone, the token is known. */
export type EraseMode = 'delete' | 'unlink';

/** Records to be erased; row i of each column belongs together. */
export interface Erasing {
  readonly domain: string;
  /** Distinct. A counter without a record is marked all the same, so that it never gets one. */
  readonly counters: Float64Array;
  readonly mode: EraseMode;
  /** Of the leaf that tells of it. */
  readonly commit: number;
  /** 16 bytes a row: keyed indexes of the values, as their records tell them. */
  readonly indexes: Uint8Array;
  /** Likewise: keyed indexes of the subjects that the records are bound to, zeros for none. */
  readonly subjects: Uint8Array;
  /** 1 where the record told them. Where it did not open, the rows that name it are looked for
   *  in the whole domain. */
  readonly known: Uint8Array;
  /** Looks for such rows also where the record is not there although nobody erased it. */
  readonly thorough: boolean;
}

const KEY_BYTES = 13;
const MODES: readonly EraseMode[] = ['delete', 'unlink'];
const DELETED = 1;
const UNLINKED = 2;

/** What was erased for good. A row a counter stays behind: no record, import or draw takes it
 *  again, in this vault or in an older one that was restored. */
export class Erasures {
  readonly #store: Store;
  readonly #domains: Domains;
  readonly #claims: Claims;
  readonly #rules: RulesTable;

  constructor(parts: { store: Store; domains: Domains; claims: Claims }, rules: RulesTable) {
    this.#store = parts.store;
    this.#domains = parts.domains;
    this.#claims = parts.claims;
    this.#rules = rules;
  }

  /** Whether anything of the domain was erased; a running number, no read. */
  any(domain: string): boolean {
    return this.#domains.get(domain).running.erased > 0;
  }

  /** 1 where the counter was erased, in whichever mode. No read while the domain has none. A row
   *  that does not prove itself counts as erased. Rejects with `CallError`. */
  async erased(domain: string, counters: Float64Array): Promise<Uint8Array> {
    const modes = await this.#modes(domain, counters);
    return modes.map((mode) => (mode === 0 ? 0 : 1));
  }

  /** 1 where the value is gone and the token still known. */
  async unlinked(domain: string, counters: Float64Array): Promise<Uint8Array> {
    const modes = await this.#modes(domain, counters);
    return modes.map((mode) => (mode === UNLINKED ? 1 : 0));
  }

  async #modes(domain: string, counters: Float64Array): Promise<Uint8Array> {
    const modes = new Uint8Array(counters.length);
    const { row, running } = this.#domains.get(domain);
    if (running.erased === 0 || counters.length === 0) return modes;
    const keys = viewsOf(erasedKeys(row.number, counters), KEY_BYTES);
    const rows = await this.#getMany(keys);
    for (let i = 0; i < rows.length; i++) {
      const value = rows[i];
      if (value !== undefined) modes[i] = modeOf(keys[i]!, value);
    }
    return modes;
  }

  /** The rows that erase these records, for `CallWrite.edits`. From this call to the commit the
   *  caller holds `vault.exclusive` of the domain; `committed` must follow the commit. Rows of
   *  subjects that share a record are the caller's. Rejects with `CallError`. */
  async editOf(erasing: Erasing): Promise<Edit> {
    const { domain, counters, mode } = erasing;
    const state = this.#domains.get(domain);
    const { number } = state.row;
    assert(erasing.indexes.length === counters.length * INDEX_BYTES, 'an index a record');
    assert(erasing.subjects.length === counters.length * SUBJECT_BYTES, 'a subject a record');
    assert(new Set(counters).size === counters.length, 'a token is erased once');
    const changes: Change[] = [];
    const before = await this.#modes(domain, counters);
    const there = await this.#dropRecords(number, counters, changes);
    const live = there.reduce((sum, one) => sum + one, 0);
    const erased = this.#markErased(number, erasing, before, changes);
    const strange = counters.filter(
      (_, i) => erasing.known[i] !== 1 && (there[i] === 1 || (erasing.thorough && before[i] === 0)),
    );
    await this.#dropIndexes(state, erasing, strange, changes);
    for (let i = 0, at = 0; i < counters.length; i++, at += SUBJECT_BYTES) {
      if (erasing.known[i] !== 1 || isNobody(erasing.subjects, at)) continue;
      changes.push({ type: 'del', key: subjectKey(number, erasing.subjects, at, counters[i]!) });
    }
    const rules = await this.#rulesEdit(domain, counters, mode, before);
    for (const change of rules.changes) changes.push(change);
    return { changes, deltas: [{ domain: state, live: -live, erased }, ...rules.deltas] };
  }

  /** The edit is durable: calls that begin from now on find neither record nor claim. */
  committed({ domain, indexes, counters }: Erasing): void {
    const { number, index } = this.#domains.get(domain).row;
    if (index === 'unique') this.#claims.forget(number, indexes, counters);
  }

  /** 1 where there was one. */
  async #dropRecords(
    number: number,
    counters: Float64Array,
    changes: Change[],
  ): Promise<Uint8Array> {
    const keys = viewsOf(recordKeys(number, counters), RECORD_KEY_BYTES);
    const rows = await this.#getMany(keys);
    const there = new Uint8Array(counters.length);
    for (let i = 0; i < rows.length; i++) {
      if (rows[i] === undefined) continue;
      there[i] = 1;
      changes.push({ type: 'del', key: keys[i]! });
    }
    return there;
  }

  /** How many were not erased before. */
  #markErased(
    number: number,
    { counters, commit, mode }: Erasing,
    before: Uint8Array,
    changes: Change[],
  ): number {
    const keys = viewsOf(erasedKeys(number, counters), KEY_BYTES);
    let erased = 0;
    for (let i = 0; i < counters.length; i++) {
      if (before[i] === 0) erased++;
      // What was deleted does not come back as a token that is still known.
      if (before[i] === DELETED || (before[i] === UNLINKED && mode === 'unlink')) continue;
      const value = new Uint8Array(9);
      putU64(value, 0, commit);
      value[8] = MODES.indexOf(mode) + 1;
      changes.push({ type: 'put', key: keys[i]!, value: checked(keys[i]!, value) });
    }
    return erased;
  }

  async #dropIndexes(
    state: DomainState,
    erasing: Erasing,
    strange: Float64Array,
    changes: Change[],
  ): Promise<void> {
    const { number, index } = state.row;
    const { counters, indexes, known } = erasing;
    if (strange.length > 0) {
      for await (const key of danglingRows(this.#store, number, index, strange)) {
        changes.push({ type: 'del', key });
      }
    }
    if (index === 'listed') {
      const keys = viewsOf(listedKeys(number, indexes, counters), LISTED_KEY_BYTES);
      for (const [i, key] of keys.entries()) {
        if (known[i] === 1) changes.push({ type: 'del', key });
      }
    }
    if (index !== 'unique') return;
    const keys = viewsOf(indexKeys(number, indexes), INDEX_KEY_BYTES);
    const rows = await this.#getMany(keys);
    for (let i = 0; i < rows.length; i++) {
      const row = rows[i];
      if (known[i] !== 1 || row === undefined) continue;
      const named = counterOf(row, number, indexes, i * INDEX_BYTES);
      // The value may have a newer token by now. A damaged row names nobody any more.
      if (named === counters[i] || named < 0) changes.push({ type: 'del', key: keys[i]! });
    }
  }

  async #rulesEdit(
    domain: string,
    counters: Float64Array,
    mode: EraseMode,
    modes: Uint8Array,
  ): Promise<Edit> {
    const before = await this.#rules.read(domain, counters);
    const rules: RulesColumn = Array.from(counters, (_, i) => {
      if (mode === 'delete' || modes[i] === DELETED) return undefined;
      return { ...UNLINKED_RULES, createdMs: before?.[i]?.createdMs ?? 0 };
    });
    return this.#rules.editOf(domain, counters, rules, before);
  }

  /** Rewrites the files of everything that erasures take away, so that the sealed bytes are gone
   *  from them; waits for copies of the vault under way. `step` is called between two ranges and
   *  may throw to stop. Rejects with `CallError`. */
  async compact(step: (done: number, total: number) => void): Promise<void> {
    const ranges = [...this.#domains.all()]
      .filter(({ running }) => running.erased > 0)
      .flatMap(({ row }) => DOMAIN_RANGES.map((prefix) => domainKey(prefix, row.number)));
    ranges.push(Uint8Array.of(PREFIX.subject), Uint8Array.of(PREFIX.sharer));
    try {
      for (const [i, from] of ranges.entries()) {
        step(i, ranges.length);
        await this.#store.compact(from, after(from));
      }
    } catch (error) {
      throw callErrorOf(error);
    }
    step(ranges.length, ranges.length);
  }

  async #getMany(keys: readonly Uint8Array[]): Promise<readonly (Uint8Array | undefined)[]> {
    try {
      return await this.#store.getMany(keys);
    } catch (error) {
      throw callErrorOf(error);
    }
  }
}

/** What goes with a record. Rows of subjects also go where a shared record stays. */
const DOMAIN_RANGES = [PREFIX.record, PREFIX.index, PREFIX.listed, PREFIX.rules] as const;

/** All that is left to say of a token whose value is gone. */
const UNLINKED_RULES = Object.freeze({
  createdMs: 0,
  idleMs: 0,
  expireMs: 0,
  revealsMax: 0,
  labels: [],
  usedMs: 0,
  reveals: 0,
  restricted: false,
  unlinked: true,
});

/** Rows that spend counters which never had a record here. */
export function spentChanges(domain: number, counters: Float64Array, commit: number): Change[] {
  return viewsOf(erasedKeys(domain, counters), KEY_BYTES).map((key) => {
    const value = new Uint8Array(9);
    putU64(value, 0, commit);
    value[8] = DELETED;
    return { type: 'put', key, value: checked(key, value) };
  });
}

/** e ‖ domain ‖ counter, 13 bytes a row. */
export function erasedKeys(domain: number, counters: Float64Array): Uint8Array {
  const keys = new Uint8Array(counters.length * KEY_BYTES);
  for (let i = 0, at = 0; i < counters.length; i++, at += KEY_BYTES) {
    keys[at] = PREFIX.erased;
    putU32(keys, at + 1, domain);
    putU64(keys, at + 5, counters[i]!);
  }
  return keys;
}

/** 1 or 2; a row that is damaged says at least that the counter is spent. */
function modeOf(key: Uint8Array, row: Uint8Array): number {
  try {
    return proven(key, row)[8] === UNLINKED ? UNLINKED : DELETED;
  } catch (error) {
    if (error instanceof StoreError) return DELETED;
    throw error;
  }
}
