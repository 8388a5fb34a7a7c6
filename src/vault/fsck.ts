import type { Store } from '../storage/store.ts';
import { FsckCheck } from './fsck-check.ts';
import { after, PREFIX } from './layout.ts';

export type Problem =
  /** A row that does not prove itself, or of no known form. */
  | 'row-damaged'
  /** Its domain is not known. */
  | 'domain-unknown'
  /** An index row whose record is not there. */
  | 'record-missing'
  /** A record that no index row names, in a domain that has them: its value would be minted
   *  again. */
  | 'index-missing'
  /** Two index rows with one counter: two values would get one token. */
  | 'index-shared'
  /** A counter at or above the mark: it would be given out again. */
  | 'counter-above-mark'
  /** A record of a token that was erased for good. */
  | 'erased-present'
  /** Rules, a subject or a sharer of a record that is not there. */
  | 'row-orphaned'
  /** A running number is not what is there. */
  | 'count-differs'
  /** A merge that only one of its two subjects knows. */
  | 'merge-halved'
  /** A whole write is gone. */
  | 'write-missing'
  /** A leaf above the head. */
  | 'commit-above-head';

export interface Finding {
  readonly problem: Problem;
  /** Domain id, where it concerns one. */
  readonly domain?: string;
  readonly counter?: number;
  /** Which running number: `live`, `ruled`, `erased`. */
  readonly number?: string;
  /** What the running number says and what was counted. */
  readonly expected?: number;
  readonly found?: number;
}

export interface FsckOptions {
  /** Called every 100,000 rows with the rows seen so far. */
  readonly progress?: (rows: number) => void;
}

const PROGRESS_ROWS = 100_000;

/** Reads every row once, in key order, from one snapshot, while calls go on. Rows that name a
 *  record stand before the records, so a bit a counter and kind of row is all that is kept: some
 *  1.3 MiB for each 10,000,000 tokens where counters are dense. Says nothing of what the seals
 *  hold. */
export async function* fsck(store: Store, options: FsckOptions = {}): AsyncGenerator<Finding> {
  const snapshot = store.snapshot();
  const check = new FsckCheck();
  let rows = 0;
  try {
    const domains = Uint8Array.of(PREFIX.domain);
    for await (const page of store.pages({ from: domains, to: after(domains), snapshot })) {
      for (const [key, value] of page) check.domain(key, value);
    }
    const everything = { from: new Uint8Array(0), to: new Uint8Array(64).fill(0xff), snapshot };
    for await (const page of store.pages(everything)) {
      for (const [key, value] of page) {
        if (++rows % PROGRESS_ROWS === 0) options.progress?.(rows);
        const finding = check.row(key, value);
        if (finding !== undefined) yield finding;
      }
    }
  } finally {
    await snapshot.close();
  }
  options.progress?.(rows);
  yield* check.end();
}
