import assert from 'node:assert';
import { CallError } from '../base/call-error.ts';
import { type Clock, systemClock } from '../base/clock.ts';
import type { Column } from '../base/column.ts';
import { type Change, type Store, StoreError } from '../storage/store.ts';
import { Aliases } from './aliases.ts';
import { type CallWrite, writeOf } from './call-write.ts';
import { type Claim, Claims } from './claims.ts';
import { Committer, type Marks, type VaultWrite } from './committer.ts';
import { Continuity } from './continuity.ts';
import { Copies } from './copies.ts';
import { type DomainOptions, DomainState, type Domains, domainRowOf } from './domains.ts';
import { Erasures } from './erasure.ts';
import { Exclusive } from './exclusive.ts';
import { callErrorOf } from './failure.ts';
import { type Finding, type FsckOptions, fsck } from './fsck.ts';
import { type Healed, heal } from './heal.ts';
import { PREFIX, RECORD_KEY_BYTES, recordKeys, textKey, viewsOf } from './layout.ts';
import { initialChanges, loadVault } from './load.ts';
import { findCounters, type Minted, Minting } from './minting.ts';
import { Outbox, type OutboxRow, type Settled } from './outbox.ts';
import { listedCounters, type RecordPage, recordPage } from './pages.ts';
import { ReadBatch } from './read-batch.ts';
import { REQUEST_KEPT_MS, type Remembered, Requests } from './requests.ts';
import { checked, proven } from './rows.ts';
import { RulesTable } from './rules-table.ts';
import { Sharers } from './sharers.ts';
import { Subjects } from './subjects.ts';
import { Tombstones } from './tombstones.ts';

export interface VaultOptions {
  /** Installation id: a vault of another one is refused. */
  readonly identity: string;
  readonly clock?: Clock;
  readonly marks?: Marks;
  /** What becomes of a vault that lies elsewhere than it did; `refuse` where absent. `allow` leaves
   *  it to the caller, who finds it in `continuity.moved`. */
  readonly moved?: 'refuse' | 'allow';
}

/** Makes an empty vault in a store that was just made, which it closes where it fails. Rejects
 *  with `StoreError`. */
export async function initVault(store: Store, options: VaultOptions): Promise<Vault> {
  try {
    await store.write(initialChanges(options.identity, store.place));
  } catch (error) {
    await store.close();
    throw error;
  }
  return openVault(store, options);
}

/** Checks identity and completeness and reads the running numbers. The store belongs to the vault
 *  from here on, and is closed where it is refused. Rejects with `StoreError`: `missing` where
 *  there is no vault, `foreign` where it is another installation's, `moved` where it is not in its
 *  place, `corrupt` where rows or whole writes are gone. */
export async function openVault(store: Store, options: VaultOptions): Promise<Vault> {
  const clock = options.clock ?? systemClock;
  try {
    const { head, domains, lineage } = await loadVault(store, options.identity);
    if (lineage.moved && options.moved !== 'allow') throw new StoreError('moved');
    const outbox = new Outbox(store);
    await outbox.load(head.outboxFrom);
    const requests = new Requests(store, clock);
    const claims = new Claims();
    const { marks } = options;
    const committer = new Committer({ store, claims, outbox, requests, marks }, head);
    const continuity = new Continuity({ store, domains, committer }, lineage);
    const vault = new Vault({
      store,
      identity: options.identity,
      domains,
      outbox,
      requests,
      claims,
      committer,
      clock,
      continuity,
    });
    await vault.aliases.load();
    return vault;
  } catch (error) {
    await store.close();
    throw error;
  }
}

interface VaultParts {
  readonly store: Store;
  readonly identity: string;
  readonly domains: Domains;
  readonly outbox: Outbox;
  readonly requests: Requests;
  readonly claims: Claims;
  readonly committer: Committer;
  readonly clock: Clock;
  readonly continuity: Continuity;
}

/** Sealed records by domain and counter, found again by keyed index; the leaves that tell of them
 *  until the log has them; what requests did. It never sees a key or a value. Columns in, columns
 *  out; `test/contract/token-store.ts` is the rest of this definition. Methods reject with
 *  `CallError` (STORE_UNAVAILABLE, STORE_FULL, OUTCOME_UNKNOWN, RECORD_CORRUPT) unless they say
 *  more. A domain that the vault does not know is an assertion. */
export class Vault {
  readonly #parts: VaultParts;
  /** Rules of single tokens: time to live, reveals, labels, restriction. */
  readonly rules: RulesTable;
  /** What was erased for good. */
  readonly erasures: Erasures;
  /** What was erased or stopped by subject where there are no records. */
  readonly tombstones: Tombstones;
  /** Records of a subject. */
  readonly subjects: Subjects;
  /** Subjects of a record that several share. */
  readonly sharers: Sharers;
  /** Subjects that were merged. */
  readonly aliases: Aliases;
  /** Counters for new records. */
  readonly minting: Minting;
  /** Everything as of one moment, for backups. */
  readonly copies: Copies;
  /** Epoch, place, and what an accepted rollback changes. */
  readonly continuity: Continuity;
  readonly #exclusive = new Exclusive();
  readonly #reads: ReadBatch;
  readonly #adding = new Map<string, Promise<void>>();
  #commits: number;

  constructor(parts: VaultParts) {
    this.#parts = parts;
    this.#reads = new ReadBatch(parts.store);
    this.rules = new RulesTable(parts.store, parts.domains);
    this.copies = new Copies(parts.store, parts.domains);
    this.erasures = new Erasures(parts, this.rules);
    this.tombstones = new Tombstones(parts.store, parts.domains);
    this.subjects = new Subjects(parts.store, parts.domains);
    this.sharers = new Sharers(parts.store, parts.domains);
    this.aliases = new Aliases(parts.store);
    this.minting = new Minting(parts, this.#reads);
    this.continuity = parts.continuity;
    this.#commits = parts.committer.head.commit;
  }

  /** Runs `work` while nobody else changes records of these domains in place: erasing, restricting,
   *  counting reveals. Minting goes on beside it. */
  exclusive<T>(domains: readonly string[], work: () => Promise<T>): Promise<T> {
    return this.#exclusive.run(domains, work);
  }

  /** True from the first failed write until it healed: reads only. */
  get fenced(): boolean {
    return this.refusal !== undefined;
  }

  /** What every write is answered now, a `CallError`; undefined while all is well. */
  get refusal(): unknown {
    return this.#parts.committer.refusal;
  }

  /** Opens the store of a fenced vault again, and compares it with what was acknowledged. No call
   *  may be between reading and writing. */
  heal(): Promise<Healed> {
    const reload = (): Promise<void> => {
      this.minting.reload();
      return this.aliases.load();
    };
    return heal({ ...this.#parts, reload });
  }

  /** Leaves that the log must hold: those of commits that the outbox has let go of. */
  get logLeaves(): number {
    return this.#parts.committer.head.leaves;
  }

  /** Highest commit number that is durable. */
  get lastCommit(): number {
    return this.#parts.committer.head.commit;
  }

  /** Durable writes since the vault was made, each for one call or for many. */
  get writes(): number {
    return this.#parts.committer.head.group;
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
    const { index, countersMax, drawn } = there.row;
    const same = countersMax === options.countersMax && drawn === (options.drawn ?? false);
    if (index !== options.index || !same) {
      throw new CallError('RESOURCE_EXISTS');
    }
  }

  async #storeDomain(id: string, options: DomainOptions): Promise<void> {
    const { domains, committer } = this.#parts;
    assert(Number.isSafeInteger(options.countersMax) && options.countersMax > 0);
    const { index, countersMax, drawn = false } = options;
    const row = { number: domains.nextNumber(), index, countersMax, drawn };
    const change: Change = { type: 'put', ...domainRowOf(id, row) };
    await committer.submit([plainWrite([change])]);
    domains.add(new DomainState(id, row));
  }

  hasDomain(id: string): boolean {
    return this.#parts.domains.find(id) !== undefined;
  }

  /** Records in the domain, a running number. */
  liveCount(domain: string): number {
    return this.#parts.domains.get(domain).running.live;
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
    return findCounters(this.#reads, row.number, indexes);
  }

  /** Create or get in a `unique` domain, indexes 16 bytes a row: stored counters, those that calls
   *  under way have made, and new ones for as long as there are any. */
  claim(domain: string, indexes: Uint8Array): Promise<Claim> {
    return this.minting.claim(domain, indexes);
  }

  /** The call of a claim, or of minted counters, has ended. Before `commit` that gives them up, and
   *  calls that wait for the claim are told; after `commit` it is still due where counters were
   *  drawn or imported. */
  release(taken: Claim | Minted): void {
    this.minting.release(taken);
  }

  /** First of `count` counters in a row, for `listed` and `none` domains in which none is drawn or
   *  imported; never given out again. Throws `CallError('FORMAT_EXHAUSTED')`. */
  reserve(domain: string, count: number): number {
    const state = this.#parts.domains.get(domain);
    assert(state.row.index !== 'unique', 'counters of the domain are claimed');
    return state.take(count);
  }

  /** A number for the next leaf, higher than all before; one that is not used leaves a gap. */
  nextCommit(): number {
    this.#commits = Math.max(this.#commits, this.lastCommit) + 1;
    return this.#commits;
  }

  /** The rows of one call, ready for `commit`. */
  prepare(call: CallWrite): VaultWrite {
    const { domains, claims, clock } = this.#parts;
    const write = writeOf(call, domains, claims, clock.nowMs() + REQUEST_KEPT_MS);
    this.minting.prepared(write, call.records);
    return write;
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
    for (const write of writes) this.minting.stored(write);
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
  list(domain: string, index: Uint8Array, limit: number): Promise<Float64Array> {
    const { number } = this.#parts.domains.get(domain).row;
    return listedCounters(this.#parts.store, number, index, limit);
  }

  /** Records from the counter `from` on, ascending, at most `limit`. */
  page(domain: string, from: number, limit: number): Promise<RecordPage> {
    return recordPage(this.#parts.store, this.#parts.domains.get(domain).row.number, from, limit);
  }

  /** What this request did before, or undefined: then it is the caller's, who must call
   *  `endRequest` when its call has ended, in whatever way. Waits while another call has it. */
  async beginRequest(key: Uint8Array): Promise<Remembered | undefined> {
    const { requests, outbox } = this.#parts;
    try {
      return await requests.begin(key, (commit) => outbox.leafOf(commit));
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
      return await this.#reads.getMany(keys);
    } catch (error) {
      throw callErrorOf(error);
    }
  }
}

const plainWrite = (changes: readonly Change[]): VaultWrite => ({
  commit: 0,
  changes,
  bytes: 256,
  deltas: [],
  records: 0,
  claim: undefined,
  request: undefined,
});
