import { StoreError } from '../storage/store.ts';
import { GROUPS_KEPT } from './committer.ts';
import { CounterSet } from './counter-set.ts';
import type { Finding } from './fsck.ts';
import { getU32, getU64, PREFIX } from './layout.ts';
import {
  counterOf,
  type DomainRow,
  decodeDomain,
  decodeHead,
  decodeRunning,
  proven,
  RUNNING_START,
  type RunningRow,
} from './rows.ts';
import { decodeRules } from './rules.ts';
import { provesItself } from './subject-rows.ts';

interface DomainCheck {
  readonly id: string;
  readonly row: DomainRow;
  running: RunningRow;
  found: number;
  ruled: number;
  erased: number;
  /** Counters that index rows name and whose record has not been seen. */
  readonly named: CounterSet;
  /** Likewise those with rules, subjects or sharers. */
  readonly attached: CounterSet;
  readonly gone: CounterSet;
}

const ERASED_KEY_BYTES = 13;

/** What fsck has seen so far. Rows come in key order, all domain rows before them. */
export class FsckCheck {
  readonly #domains = new Map<number, DomainCheck>();
  /** Rows of merges whose mirror has not been seen. */
  readonly #merges = new Set<string>();
  #groups = 0;
  #lastGroup = 0;
  #firstGroup = 0;
  #head = { commit: 0, group: 0, outboxFrom: 0, leaves: 0 };

  /** A damaged one is found by `row`, later. */
  domain(key: Uint8Array, value: Uint8Array): void {
    try {
      const row = decodeDomain(proven(key, value));
      this.#domains.set(row.number, {
        id: Buffer.from(key.subarray(1)).toString('utf8'),
        row,
        running: RUNNING_START,
        found: 0,
        ruled: 0,
        erased: 0,
        named: new CounterSet(),
        attached: new CounterSet(),
        gone: new CounterSet(),
      });
    } catch (error) {
      if (!(error instanceof StoreError)) throw error;
    }
  }

  row(key: Uint8Array, value: Uint8Array): Finding | undefined {
    try {
      switch (key[0]) {
        case PREFIX.index:
        case PREFIX.listed:
          return this.#indexRow(key, value);
        case PREFIX.record:
          return this.#record(key);
        case PREFIX.subject:
        case PREFIX.sharer:
          return this.#attachedRow(key, value);
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
      case PREFIX.rules:
        return this.#rules(key, value);
      case PREFIX.erased:
        return this.#erased(key);
      case PREFIX.alias:
        this.#merge(key);
        return undefined;
      case PREFIX.group:
        this.#lastGroup = getU64(key, 1);
        if (this.#groups++ === 0) this.#firstGroup = this.#lastGroup;
        return undefined;
      case PREFIX.meta:
        if (Buffer.from(key.subarray(1)).toString('utf8') === 'head') {
          this.#head = decodeHead(value);
        }
        return undefined;
      case PREFIX.running: {
        const domain = this.#domains.get(getU32(key, 1));
        if (domain === undefined) return { problem: 'domain-unknown' };
        domain.running = decodeRunning(value);
        return undefined;
      }
      case PREFIX.outbox:
        return getU64(key, 1) > this.#head.commit ? { problem: 'commit-above-head' } : undefined;
      case PREFIX.domain:
      case PREFIX.request:
      case PREFIX.state:
      case PREFIX.tombstone:
        return undefined;
      default:
        return { problem: 'row-damaged' };
    }
  }

  #indexRow(key: Uint8Array, value: Uint8Array): Finding | undefined {
    const number = getU32(key, 1);
    const domain = this.#domains.get(number);
    if (domain === undefined) return { problem: 'domain-unknown' };
    const counter = key[0] === PREFIX.listed ? getU64(key, 21) : counterOf(value, number, key, 5);
    if (counter < 0) return { problem: 'row-damaged', domain: domain.id };
    if (!domain.named.add(counter)) return { problem: 'index-shared', domain: domain.id, counter };
    return undefined;
  }

  #record(key: Uint8Array): Finding | undefined {
    const domain = this.#domains.get(getU32(key, 1));
    if (domain === undefined) return { problem: 'domain-unknown' };
    const counter = getU64(key, 5);
    const { id, row, running } = domain;
    domain.found++;
    domain.attached.delete(counter);
    const named = domain.named.delete(counter);
    if (domain.gone.has(counter)) return { problem: 'erased-present', domain: id, counter };
    // Imported and drawn counters stand where chance put them.
    const ordered = running.placed === 0 && !row.drawn;
    if (counter >= (ordered ? running.mark : row.countersMax)) {
      return { problem: 'counter-above-mark', domain: id, counter };
    }
    if (!named && row.index !== 'none') return { problem: 'index-missing', domain: id, counter };
    return undefined;
  }

  #rules(key: Uint8Array, value: Uint8Array): Finding | undefined {
    const domain = this.#domains.get(getU32(key, 1));
    if (domain === undefined) return { problem: 'domain-unknown' };
    domain.ruled++;
    // The token of a value that is gone keeps its rules row and nothing else.
    if (!decodeRules(value).unlinked) domain.attached.add(getU64(key, 5));
    return undefined;
  }

  #erased(key: Uint8Array): Finding | undefined {
    const domain = this.#domains.get(getU32(key, 1));
    if (domain === undefined) return { problem: 'domain-unknown' };
    if (key.length !== ERASED_KEY_BYTES) return { problem: 'row-damaged' };
    domain.erased++;
    domain.gone.add(getU64(key, 5));
    return undefined;
  }

  #attachedRow(key: Uint8Array, value: Uint8Array): Finding | undefined {
    if (!provesItself(key, value)) return { problem: 'row-damaged' };
    const shared = key[0] === PREFIX.sharer;
    const domain = this.#domains.get(getU32(key, shared ? 1 : 17));
    if (domain === undefined) return { problem: 'domain-unknown' };
    domain.attached.add(getU64(key, shared ? 5 : 21));
    return undefined;
  }

  /** k ‖ subject ‖ other ‖ merge: the mirrored key must come too. */
  #merge(key: Uint8Array): void {
    const text = Buffer.from(key.subarray(1)).toString('latin1');
    const mirror = text.slice(16, 32) + text.slice(0, 16) + text.slice(32);
    if (!this.#merges.delete(mirror)) this.#merges.add(text);
  }

  *end(): Generator<Finding> {
    for (const domain of this.#domains.values()) {
      const { id, running, found, ruled, erased } = domain;
      for (const counter of domain.named) yield { problem: 'record-missing', domain: id, counter };
      for (const counter of domain.attached) yield { problem: 'row-orphaned', domain: id, counter };
      const counted = { live: found, ruled, erased };
      for (const number of ['live', 'ruled', 'erased'] as const) {
        if (running[number] === counted[number]) continue;
        const [expected, seen] = [running[number], counted[number]];
        yield { problem: 'count-differs', domain: id, number, expected, found: seen };
      }
    }
    for (const _ of this.#merges) yield { problem: 'merge-halved' };
    const expected = Math.min(this.#head.group, GROUPS_KEPT);
    const whole = this.#groups === 0 || this.#lastGroup - this.#firstGroup + 1 === this.#groups;
    if (this.#groups !== expected || !whole || this.#lastGroup !== this.#head.group) {
      yield { problem: 'write-missing', expected, found: this.#groups };
    }
  }
}
