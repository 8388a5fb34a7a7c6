import { type Change, type Store, StoreError } from '../storage/store.ts';
import type { Claim, Claims } from './claims.ts';
import { addDeltas, type Delta, type DomainState } from './domains.ts';
import { callErrorOf } from './failure.ts';
import { RecentGroups } from './heal-recent.ts';
import { domainKey, numberKey, PREFIX, putU64, textKey } from './layout.ts';
import type { Outbox } from './outbox.ts';
import type { RequestRow, Requests } from './requests.ts';
import { checked, encodeHead, encodeRunning, type HeadRow, type RunningRow } from './rows.ts';

/** Groups whose number is kept, so that a hole left by a torn write-ahead log is seen at the next
 *  open (facts.md F1). That log holds at most 8 MiB and a group is never below 300 bytes. */
export const GROUPS_KEPT = 32_768;
/** A group takes no further call beyond this: a batch is held twice in memory. */
const GROUP_BYTES_MAX = 4 * 1024 * 1024;

/** All that one call stores; made by `Vault.prepare`. */
export interface VaultWrite {
  /** 0 where the write has no leaf. */
  readonly commit: number;
  readonly changes: readonly Change[];
  readonly bytes: number;
  /** What it adds to running numbers. */
  readonly deltas: readonly Delta[];
  /** Records it adds. */
  readonly records: number;
  readonly claim: Claim | undefined;
  readonly request: RequestRow | undefined;
  /** After a rollback that was accepted: commits up to here count as done, and the log has no more
   *  leaves than these. */
  readonly headAt?: { readonly commit: number; readonly leaves: number };
}

interface Job {
  readonly writes: readonly VaultWrite[];
  readonly done: PromiseWithResolvers<void>;
}

interface Group {
  readonly changes: readonly Change[];
  /** About what the changes hold. */
  readonly bytes: number;
  /** Takes what was stored into memory. */
  readonly stored: () => void;
}

/** What keeps the marks outside the vault, so that an older copy of it can be told from the newest
 *  one and no counter is given out twice. */
export interface Marks {
  /** Another process has taken the vault over: nothing may be written any more. */
  readonly lost: boolean;
  /** Resolves once it is durable there that counters of the domain are used below `upTo`, and
   *  others too where they are `unordered`: drawn or imported. At once, as undefined, in the common
   *  case. `most`: the domain's `countersMax`. Rejects with `CallError`. */
  reserve(
    domain: string,
    upTo: number,
    most: number,
    unordered: boolean,
  ): Promise<void> | undefined;
}

export interface CommitterParts {
  readonly marks?: Marks | undefined;
  readonly store: Store;
  readonly claims: Claims;
  readonly outbox: Outbox;
  readonly requests: Requests;
}

const HEAD_KEY = textKey(PREFIX.meta, 'head');

/** Fences at the first write that fails, whatever the store thinks of itself, until `resume`.
 *
 *  One write at a time, each with the calls that came while the one before was under way: so
 *  concurrent calls share an fsync, an idle vault answers at once, and running numbers are stored
 *  in order. */
export class Committer {
  readonly #parts: CommitterParts;
  #head: HeadRow;
  #queue: Job[] = [];
  #draining: Promise<void> | undefined;
  #closed = false;
  /** Why the last write failed. */
  #fence: StoreError | undefined;
  /** What the store must hold after it was opened again. */
  readonly recent = new RecentGroups();

  constructor(parts: CommitterParts, head: HeadRow) {
    this.#parts = parts;
    this.#head = head;
  }

  get head(): HeadRow {
    return this.#head;
  }

  /** Why nothing is written now; undefined while all is well. */
  get refusal(): unknown {
    return this.#closed ? callErrorOf(new StoreError('closed')) : this.#fenced();
  }

  #fenced(): unknown {
    if (this.#fence !== undefined) return callErrorOf(new StoreError('fenced', this.#fence));
    if (this.#parts.marks?.lost === true) return callErrorOf(new StoreError('fenced'));
    // Somebody else's write to the store failed, e.g. a compaction's.
    return this.#parts.store.fenced ? callErrorOf(new StoreError('fenced')) : undefined;
  }

  /** The store was opened again and compared; its head is this. */
  resume(head: HeadRow): void {
    this.#head = head;
    this.#fence = undefined;
    this.recent.clear();
  }

  /** Resolves when no write is under way and none is queued. */
  async idle(): Promise<void> {
    while (this.#draining !== undefined) await this.#draining;
  }

  /** Durable before it resolves; rejects with `CallError`. */
  submit(writes: readonly VaultWrite[]): Promise<void> {
    const { refusal } = this;
    if (refusal !== undefined) {
      this.#release(writes, refusal);
      return Promise.reject(refusal);
    }
    const done = Promise.withResolvers<void>();
    this.#queue.push({ writes, done });
    this.#draining ??= this.#drain();
    return done.promise;
  }

  /** Waits for what is queued, then stores what only lies in memory. */
  async close(domains: Iterable<DomainState>): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.idle();
    const unused = [...domains].filter((domain) => domain.next < domain.running.mark);
    if (this.#fenced() !== undefined || (unused.length === 0 && !this.#parts.outbox.unwritten))
      return;
    // Nothing is under way any more, so the mark may come down to what was given out.
    const marks = unused.map((domain) =>
      runningChange(domain, { ...domain.running, mark: domain.next }),
    );
    await this.#store(this.#compose([], marks));
  }

  async #drain(): Promise<void> {
    await Promise.resolve(); // Calls that end in the same turn share the first group too.
    while (this.#queue.length > 0) {
      const jobs = this.#take();
      try {
        const fenced = this.#fenced();
        if (fenced !== undefined) throw fenced;
        await this.#parts.requests.look();
        const writes = jobs.flatMap((job) => job.writes);
        for (let wait = this.#reserve(writes); wait !== undefined; wait = this.#reserve(writes)) {
          await wait; // Counters may be given out meanwhile, so it looks again.
        }
        const group = this.#compose(writes, []);
        await this.#store(group);
        for (const { claim } of writes)
          if (claim !== undefined) this.#parts.claims.committed(claim);
        for (const { done } of jobs) done.resolve();
      } catch (error) {
        this.#fail(jobs, callErrorOf(error));
      }
    }
    this.#draining = undefined;
  }

  async #store(group: Group): Promise<void> {
    try {
      await this.#parts.store.write(group.changes);
    } catch (error) {
      this.#fence = error instanceof StoreError ? error : new StoreError('unknown', error);
      this.recent.unknown(group.changes);
      throw this.#fence;
    }
    this.recent.acknowledged(group.changes, group.bytes);
    group.stored();
  }

  /** The first reservation that the marks of these writes have to wait for. */
  #reserve(writes: readonly VaultWrite[]): Promise<void> | undefined {
    const { marks } = this.#parts;
    if (marks === undefined) return undefined;
    for (const { deltas } of writes) {
      for (const { domain, placed = 0 } of deltas) {
        const { drawn, countersMax } = domain.row;
        const unordered = drawn || placed > 0 || domain.running.placed > 0;
        const wait = marks.reserve(domain.id, domain.markAhead(), countersMax, unordered);
        if (wait !== undefined) return wait;
      }
    }
    return undefined;
  }

  /** The calls of the next group, in the order in which they came; at least one. */
  #take(): Job[] {
    let bytes = 0;
    let count = 0;
    for (const { writes } of this.#queue) {
      for (const write of writes) bytes += write.bytes;
      if (count > 0 && bytes > GROUP_BYTES_MAX) break;
      count++;
    }
    return this.#queue.splice(0, count);
  }

  #fail(jobs: readonly Job[], error: unknown): void {
    for (const { writes, done } of jobs) {
      this.#release(writes, error);
      done.reject(error);
    }
  }

  #release(writes: readonly VaultWrite[], error: unknown): void {
    for (const { claim } of writes) {
      if (claim !== undefined) this.#parts.claims.released(claim, error);
    }
  }

  #compose(writes: readonly VaultWrite[], more: readonly Change[]): Group {
    const { outbox, requests } = this.#parts;
    const changes: Change[] = [];
    const added = new Map<DomainState, Delta[]>();
    let { commit, leaves } = this.#head;
    let named = 0;
    // Before the calls' own rows: a request id whose old row expired may be in this very group.
    const flushed = outbox.flush(changes);
    for (const write of writes) if (write.request !== undefined) named++;
    requests.purge(changes, 2 * named + 16);
    let outboxFrom = outbox.lowest(Number.POSITIVE_INFINITY);
    for (const write of writes) {
      for (const change of write.changes) changes.push(change);
      if (write.request !== undefined) requests.put(changes, write.request);
      for (const delta of write.deltas) {
        const deltas = added.get(delta.domain);
        if (deltas === undefined) added.set(delta.domain, [delta]);
        else deltas.push(delta);
      }
      if (write.headAt !== undefined) {
        commit = Math.max(commit, write.headAt.commit);
        leaves = Math.min(leaves, write.headAt.leaves);
      }
      if (write.commit === 0) continue;
      commit = Math.max(commit, write.commit);
      outboxFrom = Math.min(outboxFrom, write.commit);
    }
    const running = [...added].map(([domain, deltas]) => {
      const row = addDeltas(domain, deltas);
      changes.push(runningChange(domain, row));
      return { domain, row };
    });
    changes.push(...more);
    const head = {
      commit,
      group: this.#head.group + 1,
      outboxFrom: Math.min(outboxFrom, commit),
      leaves: Math.max(leaves, outbox.logLeaves),
    };
    this.#number(changes, head);
    const stored = (): void => {
      this.#head = head;
      flushed();
      for (const { domain, row } of running) domain.running = row;
      for (const write of writes) if (write.commit > 0) outbox.stored(write.commit, write.request);
    };
    let bytes = 64 * changes.length;
    for (const write of writes) bytes += write.bytes;
    return { changes, bytes, stored };
  }

  #number(changes: Change[], head: HeadRow): void {
    const key = numberKey(PREFIX.group, head.group);
    const value = new Uint8Array(8);
    putU64(value, 0, head.commit);
    changes.push({ type: 'put', key, value: checked(key, value) });
    if (head.group > GROUPS_KEPT) {
      changes.push({ type: 'del', key: numberKey(PREFIX.group, head.group - GROUPS_KEPT) });
    }
    changes.push(headChange(head));
  }
}

export const headKey = (): Uint8Array => HEAD_KEY;

export const headChange = (head: HeadRow): Change => ({
  type: 'put',
  key: HEAD_KEY,
  value: checked(HEAD_KEY, encodeHead(head)),
});

function runningChange(domain: DomainState, row: RunningRow): Change {
  const key = domainKey(PREFIX.running, domain.row.number);
  return { type: 'put', key, value: checked(key, encodeRunning(row)) };
}
