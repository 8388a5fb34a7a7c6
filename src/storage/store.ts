/** One change of an atomic batch. Keys are compared as bytes. */
export type Change =
  | { readonly type: 'put'; readonly key: Uint8Array; readonly value: Uint8Array }
  | { readonly type: 'del'; readonly key: Uint8Array };

export interface Row {
  readonly key: Uint8Array;
  readonly value: Uint8Array;
}

export interface RangeOptions {
  /** Inclusive. */
  readonly from: Uint8Array;
  /** Exclusive. */
  readonly to: Uint8Array;
  readonly reverse?: boolean;
  readonly limit?: number;
}

/** Ordered keys and values; the contract suite in test/contract/store.ts is the rest of this
 *  definition. Every method rejects with `StoreError`. */
export interface Store {
  /** All or none, durable (fsynced) before it resolves. After any failure the outcome is unknown
   *  and the store is fenced. The bytes are copied before the call returns its promise. Two writes
   *  under way at once have no order; of two changes to one key in a batch the later one counts. */
  write(changes: readonly Change[]): Promise<void>;
  /** Same length and order as `keys`, read from one snapshot; undefined where absent. */
  getMany(keys: readonly Uint8Array[]): Promise<readonly (Uint8Array | undefined)[]>;
  /** Ascending, or descending with `reverse`, from one snapshot. */
  range(options: RangeOptions): AsyncIterable<Row>;
  /** True from the first failed write until the store is opened again: reads only. */
  readonly fenced: boolean;
  /** Waits for writes under way, then refuses new ones. */
  close(): Promise<void>;
}

/** `fenced`: refused, nothing was written. `unknown`: this write may or may not be there.
 *  `full`: no space; the write may or may not be there. `corrupt`: the store does not open or
 *  read. `in-use`: another has it. `missing`: there is none where one must be. `exists`: there is
 *  something where none may be. `foreign`: it belongs to another installation. */
export type StoreFault =
  | 'fenced'
  | 'unknown'
  | 'full'
  | 'corrupt'
  | 'in-use'
  | 'missing'
  | 'exists'
  | 'foreign'
  | 'closed';

export class StoreError extends Error {
  override readonly name = 'StoreError';
  readonly fault: StoreFault;
  constructor(fault: StoreFault, cause?: unknown) {
    super(`the store refused: ${fault}`, cause === undefined ? {} : { cause });
    this.fault = fault;
  }
}
