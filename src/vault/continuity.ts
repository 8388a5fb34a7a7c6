import type { Change, Store } from '../storage/store.ts';
import type { Edit } from './call-write.ts';
import type { Committer, VaultWrite } from './committer.ts';
import type { Delta, Domains } from './domains.ts';
import { callErrorOf } from './failure.ts';
import { after, getU64, PREFIX, putU64, textKey } from './layout.ts';
import { LEAF_UNKNOWN } from './requests.ts';
import { checked, proven } from './rows.ts';

const EPOCH_KEY = textKey(PREFIX.meta, 'epoch');
const PLACE_KEY = textKey(PREFIX.meta, 'place');

/** What tells this vault from a copy of it. */
export interface Lineage {
  /** How often it was opened; 0 for one that was just made. */
  readonly epoch: number;
  /** It does not lie where it was made or adopted. */
  readonly moved: boolean;
}

/** Rejects with `StoreError('corrupt')`. */
export async function loadLineage(store: Store): Promise<Lineage> {
  const [epochRow, placeRow] = await store.getMany([EPOCH_KEY, PLACE_KEY]);
  const epoch = epochRow === undefined ? 0 : getU64(proven(EPOCH_KEY, epochRow), 0);
  const place = placeRow === undefined ? '' : textOf(proven(PLACE_KEY, placeRow));
  // A store that lies nowhere, in memory, can be nobody's copy.
  return { epoch, moved: store.place !== '' && place !== store.place };
}

const textOf = (bytes: Uint8Array): string =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8');

export function epochChange(epoch: number): Change {
  const value = new Uint8Array(8);
  putU64(value, 0, epoch);
  return { type: 'put', key: EPOCH_KEY, value: checked(EPOCH_KEY, value) };
}

export const placeChange = (place: string): Change => ({
  type: 'put',
  key: PLACE_KEY,
  value: checked(PLACE_KEY, Buffer.from(place, 'utf8')),
});

/** Which vault this is, and what has to change in it when an officer accepts an older one, or one
 *  in another place, as the vault. All of it is durable when it resolves; methods reject with
 *  `CallError`. */
export class Continuity {
  readonly #store: Store;
  readonly #domains: Domains;
  readonly #committer: Committer;
  #lineage: Lineage;

  constructor(
    parts: { readonly store: Store; readonly domains: Domains; readonly committer: Committer },
    lineage: Lineage,
  ) {
    this.#store = parts.store;
    this.#domains = parts.domains;
    this.#committer = parts.committer;
    this.#lineage = lineage;
  }

  get epoch(): number {
    return this.#lineage.epoch;
  }

  get moved(): boolean {
    return this.#lineage.moved;
  }

  async saveEpoch(epoch: number): Promise<void> {
    await this.#submit({ changes: [epochChange(epoch)] });
    this.#lineage = { ...this.#lineage, epoch };
  }

  /** From now on it belongs where it lies. */
  async adopt(): Promise<void> {
    await this.#submit({ changes: [placeChange(this.#store.place)] });
    this.#lineage = { ...this.#lineage, moved: false };
  }

  /** Its counters are drawn by chance, so none of them says which others are used. */
  draws(id: string): boolean {
    return this.#domains.get(id).row.drawn;
  }

  async apply(edit: Edit): Promise<void> {
    if (edit.changes.length > 0) await this.#submit(edit);
  }

  /** The next counter of each domain, by domain id. */
  counters(): Map<string, number> {
    return new Map([...this.#domains.all()].map(({ id, next }): [string, number] => [id, next]));
  }

  /** Counters below these are never given out, by domain id; domains that are not there, and marks
   *  that are passed already, do nothing. */
  async skipCounters(marks: ReadonlyMap<string, number>): Promise<void> {
    const deltas: Delta[] = [];
    for (const [id, mark] of marks) {
      const domain = this.#domains.find(id);
      if (domain === undefined || mark <= domain.next) continue;
      domain.next = Math.min(mark, domain.row.countersMax);
      deltas.push({ domain });
    }
    if (deltas.length > 0) await this.#submit({ deltas });
  }

  /** The domain mints no more, for good (MINTING_CLOSED). */
  async closeMinting(id: string): Promise<void> {
    await this.#submit({ deltas: [{ domain: this.#domains.get(id), closed: true }] });
  }

  /** Commit numbers up to `commit` count as used, and the log as one of `leaves` leaves. What
   *  requests did whose leaves are gone is forgotten: their places are other calls' now. */
  async continueAt(commit: number, leaves: number): Promise<void> {
    const changes = await this.#requestsFrom(leaves);
    await this.#submit({ changes, headAt: { commit, leaves } });
  }

  async #requestsFrom(leaves: number): Promise<Change[]> {
    const changes: Change[] = [];
    const from = Uint8Array.of(PREFIX.request);
    try {
      for await (const { key, value } of this.#store.range({ from, to: after(from) })) {
        const leafIndex = getU64(proven(key, value), 24);
        const unsettled = leafIndex === LEAF_UNKNOWN;
        if (!unsettled && leafIndex >= leaves) changes.push({ type: 'del', key: key.slice() });
      }
    } catch (error) {
      throw callErrorOf(error);
    }
    return changes;
  }

  async #submit(more: Partial<VaultWrite>): Promise<void> {
    const { changes = [], deltas = [] } = more;
    const rest = { commit: 0, records: 0, claim: undefined, request: undefined };
    const bytes = 256 + 64 * changes.length;
    await this.#committer.submit([{ ...rest, ...more, bytes, changes, deltas }]);
  }
}
