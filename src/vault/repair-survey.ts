import { type Change, type Snapshot, type Store, StoreError } from '../storage/store.ts';
import { CounterSet } from './counter-set.ts';
import { after, getU32, getU64, PREFIX } from './layout.ts';
import {
  checked,
  counterOf,
  type DomainRow,
  decodeDomain,
  decodeHead,
  decodeRunning,
  type HeadRow,
  proven,
  RUNNING_START,
  type RunningRow,
} from './rows.ts';
import { encodeRules } from './rules.ts';
import { provesItself } from './subject-rows.ts';
import { ERASED_SUBJECT, RESTRICTED_SUBJECT } from './tombstones.ts';

export interface SurveyedDomain {
  readonly id: string;
  readonly row: DomainRow;
  running: RunningRow;
  runningDamaged: boolean;
  ruled: number;
  erased: number;
  /** Counters erased for good. */
  readonly gone: CounterSet;
  /** Counters that a sound index row names. */
  readonly named: CounterSet;
  /** Records that stay, and the highest of their counters. */
  readonly there: CounterSet;
  live: number;
  highest: number;
}

const PROGRESS_ROWS = 100_000;

/** One look at every row of a damaged vault: what is there, and what to do about rows that do not
 *  prove themselves. */
export class Survey {
  readonly domains = new Map<number, SurveyedDomain>();
  readonly changes: Change[] = [];
  readonly groupKeys: Uint8Array[] = [];
  head: HeadRow = { commit: 0, group: 0, outboxFrom: 0, leaves: 0 };
  rows = 0;
  damaged = 0;

  /** Rejects with `StoreError('corrupt')` where a domain's row is damaged. */
  static async of(
    store: Store,
    snapshot: Snapshot,
    progress: ((rows: number) => void) | undefined,
  ): Promise<Survey> {
    const survey = new Survey();
    const domains = Uint8Array.of(PREFIX.domain);
    for await (const { key, value } of store.range({
      from: domains,
      to: after(domains),
      snapshot,
    })) {
      survey.#domain(key, value);
    }
    const everything = { from: new Uint8Array(0), to: new Uint8Array(64).fill(0xff), snapshot };
    for await (const page of store.pages(everything)) {
      for (const [key, value] of page) {
        if (++survey.rows % PROGRESS_ROWS === 0) progress?.(survey.rows);
        survey.#row(key, value);
      }
    }
    return survey;
  }

  #domain(key: Uint8Array, value: Uint8Array): void {
    const row = decodeDomain(proven(key, value));
    this.domains.set(row.number, {
      id: Buffer.from(key.subarray(1)).toString('utf8'),
      row,
      running: RUNNING_START,
      // Until its row is seen: a lost one is as bad as a damaged one.
      runningDamaged: true,
      ruled: 0,
      erased: 0,
      gone: new CounterSet(),
      named: new CounterSet(),
      there: new CounterSet(),
      live: 0,
      highest: -1,
    });
  }

  #row(key: Uint8Array, value: Uint8Array): void {
    switch (key[0]) {
      case PREFIX.index:
      case PREFIX.listed:
        this.#index(key, value);
        return;
      case PREFIX.subject:
      case PREFIX.sharer:
        // Whose it is cannot be told any more; the record stays.
        if (!provesItself(key, value)) this.#drop(key);
        return;
      case PREFIX.record:
      case PREFIX.expiry:
      case PREFIX.domain:
        return;
      default:
        this.#checkedRow(key, soundOf(key, value));
    }
  }

  #index(key: Uint8Array, value: Uint8Array): void {
    const number = getU32(key, 1);
    const counter = key[0] === PREFIX.listed ? getU64(key, 21) : counterOf(value, number, key, 5);
    if (counter >= 0) this.domains.get(number)?.named.add(counter);
    else this.#drop(key);
  }

  #checkedRow(key: Uint8Array, sound: Uint8Array | undefined): void {
    const own = (at: number): SurveyedDomain | undefined => this.domains.get(getU32(key, at));
    switch (key[0]) {
      case PREFIX.rules: {
        const domain = own(1);
        if (domain !== undefined) domain.ruled++;
        if (sound === undefined) this.#replace(key, STOPPED);
        return;
      }
      case PREFIX.erased: {
        const domain = own(1);
        if (domain !== undefined) {
          domain.erased++;
          domain.gone.add(getU64(key, 5));
        }
        if (sound === undefined) this.#replace(key, new Uint8Array(9).fill(1, 8));
        return;
      }
      case PREFIX.tombstone:
        if (sound === undefined) this.#replace(key, FORGOTTEN);
        return;
      case PREFIX.running: {
        const domain = own(1);
        if (domain === undefined || sound === undefined) this.#drop(key);
        else {
          domain.running = decodeRunning(sound);
          domain.runningDamaged = false;
        }
        return;
      }
      case PREFIX.group:
        this.groupKeys.push(Uint8Array.from(key));
        if (sound !== undefined) this.#commit(getU64(sound, 0));
        return;
      case PREFIX.outbox:
        if (sound === undefined) this.#drop(key);
        else this.#commit(getU64(key, 1));
        return;
      case PREFIX.meta:
        this.#meta(key, sound);
        return;
      default:
        if (sound === undefined) this.#drop(key);
    }
  }

  #meta(key: Uint8Array, sound: Uint8Array | undefined): void {
    const name = Buffer.from(key.subarray(1)).toString('utf8');
    if (name === 'head') {
      if (sound === undefined) {
        this.damaged++;
        return;
      }
      const head = decodeHead(sound);
      this.head = { ...head, commit: Math.max(head.commit, this.head.commit), outboxFrom: 0 };
      return;
    }
    // Whose vault it is and where it lies is not ours to guess.
    if (sound === undefined)
      throw new StoreError('corrupt', new Error(`the row ${name} is damaged`));
  }

  #commit(commit: number): void {
    if (commit > this.head.commit) this.head = { ...this.head, commit };
  }

  #drop(key: Uint8Array): void {
    this.damaged++;
    this.changes.push({ type: 'del', key: Uint8Array.from(key) });
  }

  #replace(key: Uint8Array, value: Uint8Array): void {
    this.damaged++;
    const own = Uint8Array.from(key);
    this.changes.push({ type: 'put', key: own, value: checked(own, value) });
  }
}

/** Rules that nobody can read any more may have stopped the token. */
const STOPPED = encodeRules({
  createdMs: 0,
  idleMs: 0,
  usedMs: 0,
  expireMs: 0,
  revealsMax: 0,
  reveals: 0,
  labels: [],
  restricted: true,
  unlinked: false,
});
const FORGOTTEN = Uint8Array.of(ERASED_SUBJECT | RESTRICTED_SUBJECT);

function soundOf(key: Uint8Array, value: Uint8Array): Uint8Array | undefined {
  try {
    return proven(key, value);
  } catch (error) {
    if (error instanceof StoreError) return undefined;
    throw error;
  }
}
