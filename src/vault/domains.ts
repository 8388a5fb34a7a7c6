import assert from 'node:assert';
import { CallError } from '../base/call-error.ts';
import { PREFIX, textKey } from './layout.ts';
import { checked, type DomainRow, encodeDomain, type IndexKind } from './rows.ts';

/** Most counters that a crash can leave unused in a large domain. */
const BLOCK_MAX = 4_096;
/** A crash costs a small domain at most this share of its counters. */
const BLOCK_SHARE = 1 / 65_536;

export interface DomainOptions {
  readonly index: IndexKind;
  /** Counters are below it: the number of tokens the domain can have, at most 2^53 − 1. */
  readonly countersMax: number;
}

/** What the vault knows of a domain while it is open. */
export class DomainState {
  readonly id: string;
  readonly row: DomainRow;
  /** The next counter to give out. */
  next: number;
  /** As stored: no record has a counter from here on. */
  mark: number;
  /** Records there are, as stored. */
  live: number;

  constructor(id: string, row: DomainRow, running: { mark: number; live: number }) {
    this.id = id;
    this.row = row;
    this.next = running.mark;
    this.mark = running.mark;
    this.live = running.live;
  }

  /** The first of `count` counters in a row, given out for good: those of a call that fails are
   *  not used again. Throws `CallError('FORMAT_EXHAUSTED')` and then gives out none. */
  take(count: number): number {
    if (count > this.row.countersMax - this.next) throw new CallError('FORMAT_EXHAUSTED');
    const first = this.next;
    this.next += count;
    return first;
  }

  /** The mark that the next write has to store: at or above every counter given out, a block
   *  ahead so that most writes leave it alone. */
  markAhead(): number {
    if (this.next <= this.mark) return this.mark;
    const { countersMax } = this.row;
    const block = Math.min(BLOCK_MAX, Math.ceil(countersMax * BLOCK_SHARE));
    return Math.min(countersMax, this.next + block);
  }
}

/** The domains of a vault by id. */
export class Domains {
  readonly #byId = new Map<string, DomainState>();

  /** Asserts that the domain is there: whoever asks has its specification. */
  get(id: string): DomainState {
    const state = this.#byId.get(id);
    assert(state !== undefined, 'the vault does not know the domain');
    return state;
  }

  find(id: string): DomainState | undefined {
    return this.#byId.get(id);
  }

  all(): IterableIterator<DomainState> {
    return this.#byId.values();
  }

  add(state: DomainState): void {
    this.#byId.set(state.id, state);
  }

  /** Numbers are given once, from 1. */
  nextNumber(): number {
    let highest = 0;
    for (const { row } of this.#byId.values()) highest = Math.max(highest, row.number);
    return highest + 1;
  }
}

/** Key and checked value of a domain's row. */
export function domainRowOf(id: string, row: DomainRow): { key: Uint8Array; value: Uint8Array } {
  const key = textKey(PREFIX.domain, id);
  return { key, value: checked(key, encodeDomain(row)) };
}
