import assert from 'node:assert';
import { type Change, type Store, StoreError } from '../storage/store.ts';
import type { Edit } from './call-write.ts';
import type { Domains } from './domains.ts';
import { callErrorOf } from './failure.ts';
import { PREFIX, putU32, putU64, viewsOf } from './layout.ts';
import { proven } from './rows.ts';
import { decodeRules, RULES_KEY_BYTES, rulesChange, rulesKey, type TokenRules } from './rules.ts';

/** Stands for a row that does not prove itself: RECORD_CORRUPT for that item. Nobody knows what the
 *  rules were, so whoever does not look for it sees a token that is stopped. */
export const DAMAGED_RULES: TokenRules = Object.freeze({
  createdMs: 0,
  idleMs: 0,
  expireMs: 0,
  revealsMax: 0,
  labels: [],
  usedMs: 0,
  reveals: 0,
  restricted: true,
  unlinked: false,
});

/** Row by row as asked; undefined where a token has no rules. */
export type RulesColumn = readonly (TokenRules | undefined)[];

/** Rules of tokens, as rows of their own beside the records: a token without any has no row, and a
 *  domain without any is never read. */
export class RulesTable {
  readonly #store: Store;
  readonly #domains: Domains;

  constructor(store: Store, domains: Domains) {
    this.#store = store;
    this.#domains = domains;
  }

  /** Whether any token of the domain has rules; a running number, no read. */
  any(domain: string): boolean {
    return this.#domains.get(domain).running.ruled > 0;
  }

  /** Rules of these tokens, `DAMAGED_RULES` where a row is damaged, one snapshot. Undefined, and
   *  nothing is read, where the domain has none at all. Rejects with `CallError`
   *  (STORE_UNAVAILABLE). To change what was read, read and commit under `vault.exclusive`. */
  async read(domain: string, counters: Float64Array): Promise<RulesColumn | undefined> {
    const { row, running } = this.#domains.get(domain);
    if (running.ruled === 0) return undefined;
    const keys = viewsOf(rulesKeys(row.number, counters), RULES_KEY_BYTES);
    try {
      const rows = await this.#store.getMany(keys);
      return rows.map((value, i) => value && rulesOf(keys[i]!, value));
    } catch (error) {
      throw callErrorOf(error);
    }
  }

  /** Puts the rules of these tokens in place of those before, which `read` gave under the same
   *  `vault.exclusive`; undefined takes a row away. No counter stands there twice. The running
   *  number follows: a row that was not there adds one. */
  editOf(
    domain: string,
    counters: Float64Array,
    rules: RulesColumn,
    before: RulesColumn | undefined,
  ): Edit {
    const state = this.#domains.get(domain);
    const { number } = state.row;
    assert(rules.length === counters.length, 'each token has its rules');
    assert(before === undefined || before.length === counters.length, 'rules were read for each');
    assert(new Set(counters).size === counters.length, 'a token stands there once');
    const changes: Change[] = [];
    let ruled = 0;
    for (const [i, counter] of counters.entries()) {
      const next = rules[i];
      const there = before?.[i] !== undefined;
      if (next !== undefined) changes.push(rulesChange(number, counter, next));
      else if (there) changes.push({ type: 'del', key: rulesKey(number, counter) });
      ruled += (next === undefined ? 0 : 1) - (there ? 1 : 0);
    }
    return { changes, deltas: [{ domain: state, ruled }] };
  }
}

function rulesOf(key: Uint8Array, row: Uint8Array): TokenRules {
  try {
    return decodeRules(proven(key, row));
  } catch (error) {
    if (error instanceof StoreError) return DAMAGED_RULES;
    throw error;
  }
}

function rulesKeys(domain: number, counters: Float64Array): Uint8Array {
  const keys = new Uint8Array(counters.length * RULES_KEY_BYTES);
  for (let i = 0, at = 0; i < counters.length; i++, at += RULES_KEY_BYTES) {
    keys[at] = PREFIX.rules;
    putU32(keys, at + 1, domain);
    putU64(keys, at + 5, counters[i]!);
  }
  return keys;
}
