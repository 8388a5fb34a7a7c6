import assert from 'node:assert';
import { CallError } from '../base/call-error.ts';
import { PREFIX, textKey } from './layout.ts';
import {
  checked,
  type DomainRow,
  encodeDomain,
  type IndexKind,
  RUNNING_START,
  type RunningRow,
} from './rows.ts';

/** Most counters that a crash can leave unused in a large domain. */
const BLOCK_MAX = 4_096;
/** A crash costs a small domain at most this share of its counters. */
const BLOCK_SHARE = 1 / 65_536;

export interface DomainOptions {
  readonly index: IndexKind;
  /** Counters are below it: the number of tokens the domain can have, at most 2^53 − 1. */
  readonly countersMax: number;
  /** Counters are drawn, not counted: for fewer than 1,000,000 of them. False where not said. */
  readonly drawn?: boolean;
}

/** What the vault knows of a domain while it is open. */
export class DomainState {
  readonly id: string;
  readonly row: DomainRow;
  /** The next counter to give out. */
  next: number;
  /** As stored. */
  running: RunningRow;

  constructor(id: string, row: DomainRow, running: RunningRow = RUNNING_START) {
    this.id = id;
    this.row = row;
    this.next = running.mark;
    this.running = running;
  }

  /** The first of `count` counters in a row, given out for good: those of a call that fails are
   *  not used again. Throws `CallError`, FORMAT_EXHAUSTED or MINTING_CLOSED, and then gives out
   *  none. */
  take(count: number): number {
    this.refuseIfClosed();
    if (this.running.closed) throw new CallError('MINTING_CLOSED');
    if (count > this.row.countersMax - this.next) throw new CallError('FORMAT_EXHAUSTED');
    const first = this.next;
    this.next += count;
    return first;
  }

  /** Throws `CallError('MINTING_CLOSED')`. */
  refuseIfClosed(): void {
    if (this.running.closed) throw new CallError('MINTING_CLOSED');
  }

  /** How many of `count` counters from `next` on, a multiple of `unit`, are given out for good. */
  takeUpTo(count: number, unit: number): number {
    const left = this.running.closed ? 0 : this.row.countersMax - this.next;
    const most = Math.max(0, Math.min(count, left));
    const taken = most - (most % unit);
    this.next += taken;
    return taken;
  }

  /** The mark that the next write has to store: at or above every counter given out, a block
   *  ahead so that most writes leave it alone. */
  markAhead(): number {
    if (this.next <= this.running.mark) return this.running.mark;
    const { countersMax } = this.row;
    const block = Math.min(BLOCK_MAX, Math.ceil(countersMax * BLOCK_SHARE));
    return Math.min(countersMax, this.next + block);
  }
}

/** What a write adds to a domain's running numbers. */
export interface Delta {
  readonly domain: DomainState;
  readonly live?: number;
  readonly ruled?: number;
  readonly placed?: number;
  readonly erased?: number;
  /** Minting ends for good. */
  readonly closed?: boolean;
}

/** Running numbers with deltas added and the mark ahead of all counters given out. */
export function addDeltas(domain: DomainState, deltas: readonly Delta[]): RunningRow {
  let { live, ruled, placed, erased, closed } = domain.running;
  for (const delta of deltas) {
    live += delta.live ?? 0;
    ruled += delta.ruled ?? 0;
    placed += delta.placed ?? 0;
    erased += delta.erased ?? 0;
    closed ||= delta.closed ?? false;
  }
  assert(live >= 0 && ruled >= 0, 'no more rows go than there are');
  return { mark: domain.markAhead(), live, ruled, placed, erased, closed };
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
