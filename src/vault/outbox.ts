import type { Change, Store } from '../storage/store.ts';
import { after, getU32, getU64, numberKey, PREFIX, putU32, putU64 } from './layout.ts';
import { type RequestRow, requestChange } from './requests.ts';
import { checked, proven } from './rows.ts';

/** A leaf that was committed with its records and may not be in the log yet. */
export interface OutboxRow {
  readonly commit: number;
  /** As it goes into the log. */
  readonly entry: Uint8Array;
  /** Sealed. */
  readonly body: Uint8Array;
}

/** A commit whose leaf is durable in the log. */
export interface Settled {
  readonly commit: number;
  readonly leafIndex: number;
}

const REQUEST_BYTES = 40;

/** Leaves between the vault's commit and the log's. Rows are deleted with a later write, never
 *  with one of their own: a row too many is found in the log at the next open. */
export class Outbox {
  readonly #store: Store;
  /** Commits with a row, and the request that each was made for. */
  readonly #open = new Map<number, RequestRow | undefined>();
  /** Settled ones whose row is still stored. */
  #settled: Settled[] = [];
  readonly #leaves = new Map<number, number>();
  #logLeaves = 0;

  constructor(store: Store) {
    this.#store = store;
  }

  /** Reads which rows there are; `from` as the head has it. */
  async load(from: number): Promise<void> {
    for await (const { row, request } of this.#scan(from)) this.#open.set(row.commit, request);
  }

  /** Reads them anew after the store was opened again: a write of unknown outcome may have brought
   *  some, or its deletions may not have happened. What is known to be in the log stays known. */
  async reload(from: number): Promise<void> {
    const open = new Map<number, RequestRow | undefined>();
    for await (const { row, request } of this.#scan(from)) open.set(row.commit, request);
    this.#open.clear();
    for (const [commit, request] of open) this.#open.set(commit, request);
    this.#settled = [];
    for (const [commit, leafIndex] of this.#leaves) {
      if (open.has(commit)) this.#settled.push({ commit, leafIndex });
      else this.#leaves.delete(commit);
    }
  }

  /** Ascending by commit; from one snapshot. */
  async *rows(): AsyncGenerator<OutboxRow> {
    for await (const { row } of this.#scan(this.lowest(0))) {
      if (!this.#leaves.has(row.commit)) yield row;
    }
  }

  async *#scan(from: number): AsyncGenerator<{ row: OutboxRow; request: RequestRow | undefined }> {
    const to = after(Uint8Array.of(PREFIX.outbox));
    for await (const { key, value } of this.#store.range({
      from: numberKey(PREFIX.outbox, from),
      to,
    })) {
      yield decode(getU64(key, 1), proven(key, value));
    }
  }

  /** Lowest commit with a row; `otherwise` where there is none. */
  lowest(otherwise: number): number {
    let lowest = Number.POSITIVE_INFINITY;
    for (const commit of this.#open.keys()) lowest = Math.min(lowest, commit);
    return lowest === Number.POSITIVE_INFINITY ? otherwise : lowest;
  }

  /** The row has been stored. */
  stored(commit: number, request: RequestRow | undefined): void {
    this.#open.set(commit, request);
  }

  settle(commits: readonly Settled[]): void {
    for (const settled of commits) {
      if (!this.#open.has(settled.commit)) continue; // Twice, or never ours.
      this.#settled.push(settled);
      this.#logLeaves = Math.max(this.#logLeaves, settled.leafIndex + 1);
      this.#leaves.set(settled.commit, settled.leafIndex);
    }
  }

  /** Leaf of a settled commit whose request row does not say it yet. */
  leafOf(commit: number): number | undefined {
    return this.#leaves.get(commit);
  }

  /** Leaves that the log holds at least, by what was settled since the open. */
  get logLeaves(): number {
    return this.#logLeaves;
  }

  get unwritten(): boolean {
    return this.#settled.length > 0;
  }

  /** Adds the deletion of settled rows; call the result once they are stored. */
  flush(changes: Change[]): () => void {
    const settled = this.#settled;
    this.#settled = [];
    for (const { commit, leafIndex } of settled) {
      changes.push({ type: 'del', key: numberKey(PREFIX.outbox, commit) });
      const request = this.#open.get(commit);
      if (request !== undefined) changes.push(requestChange(request, leafIndex));
      this.#open.delete(commit);
    }
    return () => {
      for (const { commit } of settled) this.#leaves.delete(commit);
    };
  }
}

/** entry length u32 ‖ request length u8 ‖ request ‖ entry ‖ body. */
export function outboxChange(row: OutboxRow, request: RequestRow | undefined): Change {
  const requestBytes = request === undefined ? 0 : REQUEST_BYTES;
  const start = 5 + requestBytes;
  const value = new Uint8Array(start + row.entry.length + row.body.length);
  putU32(value, 0, row.entry.length);
  value[4] = requestBytes;
  if (request !== undefined) {
    value.set(request.key, 5);
    value.set(request.digest, 21);
    putU64(value, 37, request.expiresMs);
  }
  value.set(row.entry, start);
  value.set(row.body, start + row.entry.length);
  const key = numberKey(PREFIX.outbox, row.commit);
  return { type: 'put', key, value: checked(key, value) };
}

function decode(
  commit: number,
  value: Uint8Array,
): { row: OutboxRow; request: RequestRow | undefined } {
  const start = 5 + value[4]!;
  const end = start + getU32(value, 0);
  const request =
    start === 5
      ? undefined
      : {
          key: value.slice(5, 21),
          digest: value.slice(21, 37),
          commit,
          expiresMs: getU64(value, 37),
        };
  return { row: { commit, entry: value.slice(start, end), body: value.slice(end) }, request };
}
