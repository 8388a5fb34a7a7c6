import { type Store, StoreError } from '../storage/store.ts';
import { GROUPS_KEPT } from './committer.ts';
import { CounterSet } from './counter-set.ts';
import { getU32, getU64, PREFIX } from './layout.ts';
import {
  counterOf,
  decodeDomain,
  decodeHead,
  decodeRunning,
  type IndexKind,
  proven,
} from './rows.ts';

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
  /** The running number of records is not what is there. */
  | 'count-differs'
  /** A whole write is gone. */
  | 'write-missing'
  /** A leaf above the head. */
  | 'commit-above-head';

export interface Finding {
  readonly problem: Problem;
  /** Domain id, where it concerns one. */
  readonly domain?: string;
  readonly counter?: number;
  /** What the running number says and what was counted. */
  readonly expected?: number;
  readonly found?: number;
}

export interface FsckOptions {
  /** Called every 100,000 rows with the rows seen so far. */
  readonly progress?: (rows: number) => void;
}

const PROGRESS_ROWS = 100_000;

interface DomainCheck {
  readonly id: string;
  readonly index: IndexKind;
  mark: number;
  live: number;
  found: number;
  /** Counters that index rows name and whose record has not been seen. */
  readonly named: CounterSet;
}

/** Reads every row once, in key order, from one snapshot: index rows stand before records, so one
 *  bit a counter is all that is kept. Says nothing of what the seals hold. */
export async function* fsck(store: Store, options: FsckOptions = {}): AsyncGenerator<Finding> {
  const state = new Check();
  let rows = 0;
  const everything = { from: new Uint8Array(0), to: new Uint8Array(64).fill(0xff) };
  for await (const { key, value } of store.range(everything)) {
    if (++rows % PROGRESS_ROWS === 0) options.progress?.(rows);
    const finding = state.row(key, value);
    if (finding !== undefined) yield finding;
  }
  options.progress?.(rows);
  yield* state.end();
}

class Check {
  readonly #domains = new Map<number, DomainCheck>();
  #groups = 0;
  #lastGroup = 0;
  #firstGroup = 0;
  #head = { commit: 0, group: 0, outboxFrom: 0, leaves: 0 };

  row(key: Uint8Array, value: Uint8Array): Finding | undefined {
    try {
      switch (key[0]) {
        case PREFIX.index:
        case PREFIX.listed:
        case PREFIX.record:
          return this.#domainRow(key, value);
        case PREFIX.expiry:
          return key.length === 25 ? undefined : { problem: 'row-damaged' };
        default:
          return this.#checkedRow(key, proven(key, value));
      }
    } catch (error) {
      if (error instanceof StoreError) return { problem: 'row-damaged' };
      throw error;
    }
  }

  #checkedRow(key: Uint8Array, value: Uint8Array): Finding | undefined {
    switch (key[0]) {
      case PREFIX.domain: {
        const { number, index } = decodeDomain(value);
        const id = Buffer.from(key.subarray(1)).toString('utf8');
        const named = new CounterSet();
        this.#domains.set(number, { id, index, mark: 0, live: 0, found: 0, named });
        return undefined;
      }
      case PREFIX.group:
        this.#lastGroup = getU64(key, 1);
        if (this.#groups++ === 0) this.#firstGroup = this.#lastGroup;
        return undefined;
      case PREFIX.meta:
        if (Buffer.from(key.subarray(1)).toString('utf8') === 'head')
          this.#head = decodeHead(value);
        return undefined;
      case PREFIX.running: {
        const domain = this.#domains.get(getU32(key, 1));
        if (domain === undefined) return { problem: 'domain-unknown' };
        Object.assign(domain, decodeRunning(value));
        return undefined;
      }
      case PREFIX.outbox:
        return getU64(key, 1) > this.#head.commit ? { problem: 'commit-above-head' } : undefined;
      case PREFIX.request:
      case PREFIX.state:
        return undefined;
      default:
        return { problem: 'row-damaged' };
    }
  }

  #domainRow(key: Uint8Array, value: Uint8Array): Finding | undefined {
    const number = getU32(key, 1);
    const domain = this.#domains.get(number);
    if (domain === undefined) return { problem: 'domain-unknown' };
    if (key[0] === PREFIX.record) return recordRow(domain, getU64(key, 5));
    const counter = key[0] === PREFIX.listed ? getU64(key, 21) : counterOf(value, number, key, 5);
    if (counter < 0) return { problem: 'row-damaged', domain: domain.id };
    if (!domain.named.add(counter)) return { problem: 'index-shared', domain: domain.id, counter };
    return undefined;
  }

  *end(): Generator<Finding> {
    for (const { id, named, live, found } of this.#domains.values()) {
      for (const counter of named) yield { problem: 'record-missing', domain: id, counter };
      if (live !== found) yield { problem: 'count-differs', domain: id, expected: live, found };
    }
    const expected = Math.min(this.#head.group, GROUPS_KEPT);
    const whole = this.#groups === 0 || this.#lastGroup - this.#firstGroup + 1 === this.#groups;
    if (this.#groups !== expected || !whole || this.#lastGroup !== this.#head.group) {
      yield { problem: 'write-missing', expected, found: this.#groups };
    }
  }
}

function recordRow(domain: DomainCheck, counter: number): Finding | undefined {
  const { id } = domain;
  domain.found++;
  const named = domain.named.delete(counter);
  if (counter >= domain.mark) return { problem: 'counter-above-mark', domain: id, counter };
  if (!named && domain.index !== 'none') return { problem: 'index-missing', domain: id, counter };
  return undefined;
}
