/** One change of an atomic batch. Keys are compared as bytes. */
export type Change =
  | { readonly type: 'put'; readonly key: Uint8Array; readonly value: Uint8Array }
  | { readonly type: 'del'; readonly key: Uint8Array };

/** The same with bytes of its own. */
export function copyOf(change: Change): Change {
  const key = Uint8Array.from(change.key); // Not slice: a Buffer's is a view.
  if (change.type === 'del') return { type: 'del', key };
  return { type: 'put', key, value: Uint8Array.from(change.value) };
}

export interface Row {
  readonly key: Uint8Array;
  readonly value: Uint8Array;
}

/** Rows as key and value, up to a thousand of them and about 64 KiB. */
export type Page = readonly (readonly [key: Uint8Array, value: Uint8Array])[];

/** The rows as they stood when it was taken, whatever is written since. Hold it no longer than
 *  needed: what it can see cannot be compacted away. */
export interface Snapshot {
  close(): Promise<void>;
}

export interface RangeOptions {
  /** Inclusive. */
  readonly from: Uint8Array;
  /** Exclusive. */
  readonly to: Uint8Array;
  readonly reverse?: boolean;
  readonly limit?: number;
  /** Rows as of then; without it as of the call. */
  readonly snapshot?: Snapshot;
}

/** Ordered keys and values; the contract suite in test/contract/store.ts is the rest of this
 *  definition. Every method rejects with `StoreError`. */
export interface Store {
  /** All or none, durable (fsynced) before it resolves. After any failure the outcome is unknown
   *  and the store is fenced. The bytes are copied before the call returns its promise. Two writes
   *  under way at once have no order; of two changes to one key in a batch the later one counts. */
  write(changes: readonly Change[]): Promise<void>;
  /** The conditional insert: as `write` where none of `absent` has a row, and true; else nothing
   *  happens, and false. Such writes come one after the other; a key that one of them is about must
   *  be put by such writes alone, for against a plain `write` under way they promise nothing. */
  writeIfAbsent(absent: readonly Uint8Array[], changes: readonly Change[]): Promise<boolean>;
  /** Same length and order as `keys`, read from one snapshot; undefined where absent. */
  getMany(keys: readonly Uint8Array[]): Promise<readonly (Uint8Array | undefined)[]>;
  /** Ascending, or descending with `reverse`, from one snapshot. */
  range(options: RangeOptions): AsyncIterable<Row>;
  /** The same rows, a page of them at a time, for whoever reads very many: an object and a turn of
   *  the loop a row is most of what `range` costs. A page is never empty. */
  pages(options: RangeOptions): AsyncIterable<Page>;
  snapshot(): Snapshot;
  /** Rewrites the files of a range, so that deleted and replaced bytes are gone from them, from
   *  the write-ahead log too. Resolves when that is so; for that it waits for snapshots and for
   *  readings of ranges under way: whoever waits for it must hold none. */
  compact(from: Uint8Array, to: Uint8Array): Promise<void>;
  /** Names where the store lies: another text for a copy, or after a move to another machine; ''
   *  where it lies nowhere. */
  readonly place: string;
  /** True from the first failed write until the store is opened again: reads only. */
  readonly fenced: boolean;
  /** Opens the files again in place, after a failed write: what is there then is what counts, and
   *  the failed write is there whole or not at all. No write may be under way; reads that come
   *  meanwhile wait, those under way may fail as `closed`, and snapshots end. The store keeps its
   *  lock throughout. Rejects with `full`, `corrupt` or `unknown`: it stays fenced then and reading
   *  fails too, until a later try succeeds. */
  reopen(): Promise<void>;
  /** Waits for writes under way, then refuses new ones. */
  close(): Promise<void>;
}

/** `fenced`: refused, nothing was written. `unknown`: this write may or may not be there.
 *  `full`: no space; the write may or may not be there. `corrupt`: the store does not open or
 *  read. `in-use`: another has it. `missing`: there is none where one must be. `exists`: there is
 *  something where none may be. `foreign`: it belongs to another installation. `moved`: it
 *  lies elsewhere than it did: a copy perhaps. */
export type StoreFault =
  | 'fenced'
  | 'unknown'
  | 'full'
  | 'corrupt'
  | 'in-use'
  | 'missing'
  | 'exists'
  | 'foreign'
  | 'moved'
  | 'closed';

export class StoreError extends Error {
  override readonly name = 'StoreError';
  readonly fault: StoreFault;
  constructor(fault: StoreFault, cause?: unknown) {
    super(`the store refused: ${fault}`, cause === undefined ? {} : { cause });
    this.fault = fault;
  }
}
