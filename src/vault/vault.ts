import assert from 'node:assert';
import { CallError } from '../base/call-error.ts';
import { type Clock, systemClock } from '../base/clock.ts';
import { type Column, rowCount } from '../base/column.ts';
import type { Change, Store } from '../storage/store.ts';
import { type Claim, Claims } from './claims.ts';
import { Committer, type VaultWrite } from './committer.ts';
import { type DomainOptions, DomainState, type Domains, domainRowOf } from './domains.ts';
import { callErrorOf } from './failure.ts';
import { type Finding, type FsckOptions, fsck } from './fsck.ts';
import {
  after,
  getU64,
  INDEX_BYTES,
  INDEX_KEY_BYTES,
  indexKeys,
  listedKeys,
  PREFIX,
  RECORD_KEY_BYTES,
  recordKeys,
  textKey,
  viewsOf,
} from './layout.ts';
import { initialChanges, loadVault } from './load.ts';
import { type NewRecords, newRows } from './new-records.ts';
import { Outbox, type OutboxRow, outboxChange, type Settled } from './outbox.ts';
import { REQUEST_KEPT_MS, type Remembered, Requests } from './requests.ts';
import { checked, counterOf, proven } from './rows.ts';

export interface VaultOptions {
  /** Installation id: a vault of another one is refused. */
  readonly identity: string;
  readonly clock?: Clock;
}

/** What one call stores. The bytes must stay as they are until `commit` has answered. */
export interface CallWrite {
  /** From `nextCommit`; the leaf's entry names it. */
  readonly commit: number;
  /** The leaf as it will go into the log. */
  readonly entry: Uint8Array;
  /** Its sealed body. */
  readonly body: Uint8Array;
  readonly records?: NewRecords | undefined;
  /** Both 16 bytes; the key was taken by `beginRequest`. */
  readonly request?: { readonly key: Uint8Array; readonly digest: Uint8Array } | undefined;
}

/** Makes an empty vault in a store that was just made, which it closes where it fails. Rejects
 *  with `StoreError`. */
export async function initVault(store: Store, options: VaultOptions): Promise<Vault> {
  try {
    await store.write(initialChanges(options.identity));
  } catch (error) {
    await store.close();
    throw error;
  }
  return openVault(store, options);
}

/** Checks identity and completeness and reads the running numbers. The store belongs to the vault
 *  from here on, and is closed where it is refused. Rejects with `StoreError`: `missing` where
 *  there is no vault, `foreign` where it is another installation's, `corrupt` where rows or whole
 *  writes are gone. */
export async function openVault(store: Store, options: VaultOptions): Promise<Vault> {
  const clock = options.clock ?? systemClock;
  try {
    const { head, domains } = await loadVault(store, options.identity);
    const outbox = new Outbox(store);
    await outbox.load(head.outboxFrom);
    const requests = new Requests(store, clock);
    const claims = new Claims();
    const committer = new Committer({ store, claims, outbox, requests }, head);
    return new Vault({ store, domains, outbox, requests, claims, committer, clock });
  } catch (error) {
    await store.close();
    throw error;
  }
}

interface VaultParts {
  readonly store: Store;
  readonly domains: Domains;
  readonly outbox: Outbox;
  readonly requests: Requests;
  readonly claims: Claims;
  readonly committer: Committer;
  readonly clock: Clock;
}

/** Sealed records by domain and counter, found again by keyed index; the leaves that tell of them
 *  until the log has them; what requests did. It never sees a key or a value. Columns in, columns
 *  out; `test/contract/token-store.ts` is the rest of this definition. Methods reject with
 *  `CallError` (STORE_UNAVAILABLE, STORE_FULL, OUTCOME_UNKNOWN, RECORD_CORRUPT) unless they say
 *  more. A domain that the vault does not know is an assertion. */
export class Vault {
  readonly #parts: VaultParts;
  readonly #adding = new Map<string, Promise<void>>();
  #commits: number;

  constructor(parts: VaultParts) {
    this.#parts = parts;
    this.#commits = parts.committer.head.commit;
  }

  /** True from the first failed write until the store is opened again: reads only. */
  get fenced(): boolean {
    return this.#parts.store.fenced;
  }

  /** Leaves that the log must hold: those of commits that the outbox has let go of. */
  get logLeaves(): number {
    return this.#parts.committer.head.leaves;
  }

  /** Highest commit number that is durable. */
  get lastCommit(): number {
    return this.#parts.committer.head.commit;
  }

  /** Durable before it resolves. Nothing happens where the domain is there with these options;
   *  with others it is `CallError('RESOURCE_EXISTS')`. A domain is never removed. */
  async addDomain(id: string, options: DomainOptions): Promise<void> {
    while (this.#adding.size > 0) await this.#adding.values().next().value;
    const there = this.#parts.domains.find(id);
    if (there === undefined) {
      const adding = this.#storeDomain(id, options);
      this.#adding.set(
        id,
        adding.catch(() => {}),
      );
      try {
        await adding;
      } finally {
        this.#adding.delete(id);
      }
      return;
    }
    const { index, countersMax } = there.row;
    if (index !== options.index || countersMax !== options.countersMax) {
      throw new CallError('RESOURCE_EXISTS');
    }
  }

  async #storeDomain(id: string, options: DomainOptions): Promise<void> {
    const { domains, committer } = this.#parts;
    assert(Number.isSafeInteger(options.countersMax) && options.countersMax > 0);
    const row = { number: domains.nextNumber(), ...options };
    const change: Change = { type: 'put', ...domainRowOf(id, row) };
    await committer.submit([plainWrite([change])]);
    domains.add(new DomainState(id, row, { mark: 0, live: 0 }));
  }

  hasDomain(id: string): boolean {
    return this.#parts.domains.find(id) !== undefined;
  }

  /** Records in the domain, a running number. */
  liveCount(domain: string): number {
    return this.#parts.domains.get(domain).live;
  }

  /** Counters given out so far, those of failed calls too: what fills the format. */
  countersUsed(domain: string): number {
    return this.#parts.domains.get(domain).next;
  }

  /** Counters of a `unique` domain by index, 16 bytes a row; NaN where there is none, −1 where the
   *  row is damaged (RECORD_CORRUPT for that item). Sees what is durable, in one snapshot. */
  async find(domain: string, indexes: Uint8Array): Promise<Float64Array> {
    const { row } = this.#parts.domains.get(domain);
    assert(row.index === 'unique', 'the domain has no unique index');
    return this.#find(row.number, indexes);
  }

  async #find(domain: number, indexes: Uint8Array): Promise<Float64Array> {
    const keys = viewsOf(indexKeys(domain, indexes), INDEX_KEY_BYTES);
    const rows = await this.#getMany(keys);
    const counters = new Float64Array(rows.length);
    for (let i = 0; i < rows.length; i++) {
      const row = rows[i];
      counters[i] =
        row === undefined ? Number.NaN : counterOf(row, domain, indexes, i * INDEX_BYTES);
    }
    return counters;
  }

  /** Create or get in a `unique` domain, indexes 16 bytes a row: stored counters, those that calls
   *  under way have made, and new ones. Rejects with `CallError('FORMAT_EXHAUSTED')` too, and then
   *  holds nothing. */
  async claim(domain: string, indexes: Uint8Array): Promise<Claim> {
    const { domains, claims } = this.#parts;
    const state = domains.get(domain);
    assert(state.row.index === 'unique', 'the domain has no unique index');
    const ticket = claims.beginRead();
    try {
      const stored = await this.#find(state.row.number, indexes);
      return claims.claim(state, indexes, stored);
    } finally {
      claims.endRead(ticket);
    }
  }

  /** Gives a claim up: its call failed before `commit`. Calls that wait for it are told. Harmless
   *  after `commit` has answered. */
  release(claim: Claim): void {
    this.#parts.claims.released(claim);
  }

  /** First of `count` counters in a row, for `listed` and `none` domains; never given out again.
   *  Throws `CallError('FORMAT_EXHAUSTED')`. */
  reserve(domain: string, count: number): number {
    const state = this.#parts.domains.get(domain);
    assert(state.row.index !== 'unique', 'counters of the domain are claimed');
    return state.take(count);
  }

  /** A number for the next leaf, higher than all before; one that is not used leaves a gap. */
  nextCommit(): number {
    return ++this.#commits;
  }

  /** The rows of one call, ready for `commit`. */
  prepare(call: CallWrite): VaultWrite {
    const { domains, claims, clock } = this.#parts;
    const { commit, entry, body, records } = call;
    const expiresMs = clock.nowMs() + REQUEST_KEPT_MS;
    const request = call.request && { ...call.request, commit, expiresMs };
    const rows = records && newRows(records, domains, claims);
    const changes = rows?.changes ?? [];
    changes.push(outboxChange({ commit, entry, body }, request));
    const sealedBytes = records?.sealed.bytes.length ?? 0;
    return {
      commit,
      changes,
      bytes: sealedBytes + 64 * changes.length + entry.length + body.length,
      domain: rows?.domain,
      records: records === undefined ? 0 : rowCount(records.sealed),
      claim: rows?.claim,
      request,
    };
  }

  /** One atomic durable group of these calls, and of others that come meanwhile; waits for what
   *  their claims wait for. On failure their claims are released. */
  async commit(writes: readonly VaultWrite[]): Promise<void> {
    const waits = writes.flatMap(({ claim }) => claim?.after ?? []);
    try {
      if (waits.length > 0) await Promise.all(waits);
    } catch (error) {
      for (const { claim } of writes) if (claim !== undefined) this.release(claim);
      throw error;
    }
    await this.#parts.committer.submit(writes);
  }

  /** Sealed records; an empty row where there is none, or where the counter is not a whole number
   *  from 0. One snapshot. */
  async read(domain: string, counters: Float64Array): Promise<Column> {
    const { number } = this.#parts.domains.get(domain).row;
    const keys = viewsOf(recordKeys(number, counters), RECORD_KEY_BYTES);
    const rows = await this.#getMany(keys);
    const ends = new Uint32Array(rows.length);
    let end = 0;
    for (let i = 0; i < rows.length; i++) {
      if (counters[i]! >= 0) end += rows[i]?.length ?? 0;
      ends[i] = end;
    }
    const bytes = new Uint8Array(end);
    for (let i = 0; i < rows.length; i++) {
      const start = i === 0 ? 0 : ends[i - 1]!;
      if (ends[i]! > start) bytes.set(rows[i]!, start);
    }
    return { bytes, ends };
  }

  /** Counters of a value in a `listed` domain, ascending, at most `limit`. */
  async list(domain: string, index: Uint8Array, limit: number): Promise<Float64Array> {
    const { number } = this.#parts.domains.get(domain).row;
    const key = listedKeys(number, index, Float64Array.of(0)).subarray(0, 5 + INDEX_BYTES);
    const counters: number[] = [];
    try {
      const range = { from: key, to: after(key), limit };
      for await (const row of this.#parts.store.range(range)) {
        counters.push(getU64(row.key, 5 + INDEX_BYTES));
      }
    } catch (error) {
      throw callErrorOf(error);
    }
    return Float64Array.from(counters);
  }

  /** What this request did before, or undefined: then it is the caller's, who must call
   *  `endRequest` when its call has ended, in whatever way. Waits while another call has it. */
  async beginRequest(key: Uint8Array): Promise<Remembered | undefined> {
    const { requests, outbox } = this.#parts;
    try {
      const found = await requests.begin(key);
      if (found === undefined || found.leafIndex !== undefined) return found;
      return { ...found, leafIndex: outbox.leafOf(found.commit) };
    } catch (error) {
      throw callErrorOf(error);
    }
  }

  endRequest(key: Uint8Array): void {
    this.#parts.requests.end(key);
  }

  /** Leaves committed here and not settled, ascending by commit. At open, before any call: those
   *  that are not in the log are appended to it, and all are settled. */
  outbox(): AsyncIterable<OutboxRow> {
    return this.#parts.outbox.rows();
  }

  /** These leaves are durable in the log: their rows go with the next write. */
  settle(commits: readonly Settled[]): void {
    this.#parts.outbox.settle(commits);
  }

  /** Durable before it resolves; it shares the next group's fsync. */
  async saveState(name: string, bytes: Uint8Array): Promise<void> {
    const key = textKey(PREFIX.state, name);
    const change: Change = { type: 'put', key, value: checked(key, bytes) };
    await this.#parts.committer.submit([plainWrite([change])]);
  }

  async loadState(name: string): Promise<Uint8Array | undefined> {
    const key = textKey(PREFIX.state, name);
    const [row] = await this.#getMany([key]);
    try {
      return row === undefined ? undefined : proven(key, row);
    } catch (error) {
      throw callErrorOf(error);
    }
  }

  /** What is wrong with the rows, from one snapshot, while calls go on. */
  fsck(options: FsckOptions = {}): AsyncIterable<Finding> {
    return fsck(this.#parts.store, options);
  }

  /** Waits for writes under way, stores what only lies in memory, closes the store. */
  async close(): Promise<void> {
    try {
      await this.#parts.committer.close(this.#parts.domains.all());
    } finally {
      await this.#parts.store.close();
    }
  }

  async #getMany(keys: readonly Uint8Array[]): Promise<readonly (Uint8Array | undefined)[]> {
    try {
      return await this.#parts.store.getMany(keys);
    } catch (error) {
      throw callErrorOf(error);
    }
  }
}

const plainWrite = (changes: readonly Change[]): VaultWrite => ({
  commit: 0,
  changes,
  bytes: 256,
  domain: undefined,
  records: 0,
  claim: undefined,
  request: undefined,
});
