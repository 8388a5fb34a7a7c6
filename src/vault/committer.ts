import { type Change, type Store, StoreError } from '../storage/store.ts';
import type { Claim, Claims } from './claims.ts';
import type { DomainState } from './domains.ts';
import { callErrorOf } from './failure.ts';
import { domainKey, numberKey, PREFIX, putU64, textKey } from './layout.ts';
import type { Outbox } from './outbox.ts';
import type { RequestRow, Requests } from './requests.ts';
import { checked, encodeHead, encodeRunning, type HeadRow } from './rows.ts';

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
  readonly domain: DomainState | undefined;
  /** Records it adds to the domain. */
  readonly records: number;
  readonly claim: Claim | undefined;
  readonly request: RequestRow | undefined;
}

interface Job {
  readonly writes: readonly VaultWrite[];
  readonly done: PromiseWithResolvers<void>;
}

interface Group {
  readonly changes: readonly Change[];
  /** Takes what was stored into memory. */
  readonly stored: () => void;
}

export interface CommitterParts {
  readonly store: Store;
  readonly claims: Claims;
  readonly outbox: Outbox;
  readonly requests: Requests;
}

const HEAD_KEY = textKey(PREFIX.meta, 'head');

/** One write at a time, each with the calls that came while the one before was under way: so
 *  concurrent calls share an fsync, an idle vault answers at once, and running numbers are stored
 *  in order. */
export class Committer {
  readonly #parts: CommitterParts;
  #head: HeadRow;
  #queue: Job[] = [];
  #draining: Promise<void> | undefined;
  #closed = false;

  constructor(parts: CommitterParts, head: HeadRow) {
    this.#parts = parts;
    this.#head = head;
  }

  get head(): HeadRow {
    return this.#head;
  }

  /** Durable before it resolves; rejects with `CallError`. */
  submit(writes: readonly VaultWrite[]): Promise<void> {
    if (this.#closed) return Promise.reject(callErrorOf(new StoreError('closed')));
    const done = Promise.withResolvers<void>();
    this.#queue.push({ writes, done });
    this.#draining ??= this.#drain();
    return done.promise;
  }

  /** Waits for what is queued, then stores what only lies in memory. */
  async close(domains: Iterable<DomainState>): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#draining;
    const unused = [...domains].filter((domain) => domain.next < domain.mark);
    if (this.#parts.store.fenced || (unused.length === 0 && !this.#parts.outbox.unwritten)) return;
    // Nothing is under way any more, so the mark may come down to what was given out.
    const marks = unused.map((domain) => runningChange(domain, domain.next, domain.live));
    const group = this.#compose([], marks);
    await this.#parts.store.write(group.changes);
    group.stored();
  }

  async #drain(): Promise<void> {
    await Promise.resolve(); // Calls that end in the same turn share the first group too.
    while (this.#queue.length > 0) {
      const jobs = this.#take();
      try {
        await this.#parts.requests.look();
        const writes = jobs.flatMap((job) => job.writes);
        const group = this.#compose(writes, []);
        await this.#parts.store.write(group.changes);
        group.stored();
        for (const { claim } of writes)
          if (claim !== undefined) this.#parts.claims.committed(claim);
        for (const { done } of jobs) done.resolve();
      } catch (error) {
        this.#fail(jobs, callErrorOf(error));
      }
    }
    this.#draining = undefined;
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
      for (const { claim } of writes) {
        if (claim !== undefined) this.#parts.claims.released(claim, error);
      }
      done.reject(error);
    }
  }

  #compose(writes: readonly VaultWrite[], more: readonly Change[]): Group {
    const { outbox, requests } = this.#parts;
    const changes: Change[] = [];
    const added = new Map<DomainState, number>();
    let commit = this.#head.commit;
    let named = 0;
    // Before the calls' own rows: a request id whose old row expired may be in this very group.
    const flushed = outbox.flush(changes);
    for (const write of writes) if (write.request !== undefined) named++;
    requests.purge(changes, 2 * named + 16);
    let outboxFrom = outbox.lowest(Number.POSITIVE_INFINITY);
    for (const write of writes) {
      for (const change of write.changes) changes.push(change);
      if (write.request !== undefined) requests.put(changes, write.request);
      if (write.domain !== undefined) {
        added.set(write.domain, (added.get(write.domain) ?? 0) + write.records);
      }
      if (write.commit === 0) continue;
      commit = Math.max(commit, write.commit);
      outboxFrom = Math.min(outboxFrom, write.commit);
    }
    const running = [...added].map(([domain, count]) => {
      const row = { domain, mark: domain.markAhead(), live: domain.live + count };
      changes.push(runningChange(domain, row.mark, row.live));
      return row;
    });
    changes.push(...more);
    const head = {
      commit,
      group: this.#head.group + 1,
      outboxFrom: Math.min(outboxFrom, commit),
      leaves: Math.max(this.#head.leaves, outbox.logLeaves),
    };
    this.#number(changes, head);
    const stored = (): void => {
      this.#head = head;
      flushed();
      for (const { domain, mark, live } of running) {
        domain.mark = mark;
        domain.live = live;
      }
      for (const write of writes) if (write.commit > 0) outbox.stored(write.commit, write.request);
    };
    return { changes, stored };
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

function runningChange(domain: DomainState, mark: number, live: number): Change {
  const key = domainKey(PREFIX.running, domain.row.number);
  return { type: 'put', key, value: checked(key, encodeRunning({ mark, live })) };
}
