import type { Page, Snapshot, Store } from '../storage/store.ts';
import { headKey } from './committer.ts';
import type { Domains } from './domains.ts';
import { after, PREFIX, textKey } from './layout.ts';
import { type RecordBatch, recordBatches } from './record-batches.ts';
import { decodeHead, type HeadRow, proven } from './rows.ts';

/** Above every key of the vault. */
const END = Uint8Array.of(0xff);
/** What makes sense in one folder of one machine alone: where the vault lies. */
const PLACE = textKey(PREFIX.meta, 'place');

/** All rows of the vault as they stood at one moment. Hold it no longer than needed: what is erased
 *  meanwhile is not gone from the files before it is closed. */
export interface Copy {
  readonly head: HeadRow;
  /** In key order, without what belongs to this folder alone. */
  pages(): AsyncIterable<Page>;
  /** The sealed records alone, in batches of one domain. */
  records(): AsyncIterable<RecordBatch>;
  close(): Promise<void>;
}

/** Makes copies of the vault while calls go on. */
export class Copies {
  readonly #store: Store;
  readonly #domains: Domains;
  #open = 0;

  constructor(store: Store, domains: Domains) {
    this.#store = store;
    this.#domains = domains;
  }

  /** Copies that are not closed yet. */
  get open(): number {
    return this.#open;
  }

  /** Holds everything that was committed before the call, and of what is under way whole groups.
   *  Rejects with `StoreError`. */
  async take(): Promise<Copy> {
    const store = this.#store;
    const snapshot = store.snapshot();
    this.#open += 1;
    const close = async (): Promise<void> => {
      this.#open -= 1;
      await snapshot.close();
    };
    try {
      const head = await readHead(store, snapshot);
      const pages = (): AsyncIterable<Page> => pagesOf(store, snapshot);
      return { head, pages, records: () => recordBatches(pages(), this.#domains), close };
    } catch (error) {
      await close();
      throw error;
    }
  }
}

async function readHead(store: Store, snapshot: Snapshot): Promise<HeadRow> {
  const from = headKey();
  for await (const { key, value } of store.range({ from, to: after(from), snapshot, limit: 1 })) {
    return decodeHead(proven(key, value));
  }
  throw new RangeError('a vault that is open has a head');
}

async function* pagesOf(store: Store, snapshot: Snapshot): AsyncGenerator<Page> {
  for await (const page of store.pages({ from: new Uint8Array(0), to: END, snapshot })) {
    const [first, last] = [page[0]![0], page[page.length - 1]![0]];
    // Almost no page holds it, so almost none is copied.
    const here = Buffer.compare(first, PLACE) <= 0 && Buffer.compare(PLACE, last) <= 0;
    yield here ? page.filter(([key]) => Buffer.compare(key, PLACE) !== 0) : page;
  }
}
