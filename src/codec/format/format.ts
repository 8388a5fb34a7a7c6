import type { ColumnWriter } from '../../base/column.ts';
import type { Safety } from '../../base/domain.ts';
import type { Reason } from '../../base/reason.ts';
import type { RadixFormat } from './radix.ts';
import type { RankedFormat } from './ranked.ts';

/** A format is a language of values: who belongs to it, their normal form, and, where it is
 *  finite and orderly, the numbers that FF1 permutes. Three families:
 *  - `radix`: strings over one alphabet; they go through FF1 digit for digit, so their tokens
 *    equal those of any other FF1 library under the same key and tweak;
 *  - `ranked`: fixed shapes with rules (SSN areas, MBI classes); member ↔ number below 2^53;
 *  - `opaque`: text, names and dates; no permutation, only sealed or random tokens. */
export type Format = RadixFormat | RankedFormat | OpaqueFormat;

/** What every format says about itself. */
export interface FormatBase {
  /** As a domain names it, e.g. `digits:9`. */
  readonly name: string;
  /** Members after normal form; `UNBOUNDED` where nobody can enumerate them. It sets quotas, so
   *  where people's values crowd together (dates) it is the crowd's size. */
  readonly size: bigint;
  /** Longest value in bytes; beyond it VALUE_TOO_LONG whatever `onInvalid` says. */
  readonly bytesMax: number;
  /** Names, dates: a deterministic kind needs a recorded reason (design.md, Tokens). */
  readonly lowEntropy: boolean;
  /** MRN: equal digits at two hospitals are two people, so the domain names the assigner. */
  readonly assignerRequired: boolean;
  /** What an officer gets who does not choose; `never-real` for identifiers of real people. */
  readonly defaultSafety: Safety;
  /** Members a vaulted token can take in mode X; 0n where the format has no such range. */
  readonly neverRealSize: bigint;
  /** One line of advice for `lockstep format test`: which kind suits. */
  readonly advice: string;
  /** Writes the masked view of a member (its bytes as they came); the caller ends the row. */
  mask(out: ColumnWriter, bytes: Uint8Array, start: number, end: number): void;
}

/** Text, names, dates: checked and sealed, never permuted. */
export interface OpaqueFormat extends FormatBase {
  readonly family: 'opaque';
  /** Verdict on a row that is not empty, not too long and free of U+FFFD. */
  judge(bytes: Uint8Array, start: number, end: number): Fault;
  /** Writes the normal form of a row that `judge` passed; the caller ends the row. */
  normalise(out: ColumnWriter, bytes: Uint8Array, start: number, end: number): void;
}

/** More than anybody enumerates; stands for "not countable" in sizes and quotas. */
export const UNBOUNDED = 2n ** 128n;

/** SP 800-38G r1 (second draft) §5: FF1 over fewer members is refused. */
export const FPE_SIZE_MIN = 1_000_000n;

/** Why a row does not belong, as a small number, so that a column of verdicts is bytes. */
export const FAULT = {
  none: 0,
  empty: 1,
  tooLong: 2,
  malformed: 3,
  check: 4,
  placeholder: 5,
} as const;
export type Fault = (typeof FAULT)[keyof typeof FAULT];

const REASONS: readonly Reason[] = [
  'INTERNAL',
  'VALUE_EMPTY',
  'VALUE_TOO_LONG',
  'VALUE_MALFORMED',
  'VALUE_CHECK_FAILED',
  'VALUE_PLACEHOLDER',
];

/** The wire's reason for a fault other than `none`. */
export const reasonOf = (fault: number): Reason => REASONS[fault] ?? 'INTERNAL';

/** Which rows of a read column belong: `good` lists their places (null: all of them do), and
 *  `faults` says by row why the others do not (null: none fails). */
export interface Sorted {
  readonly good: Uint32Array | null;
  readonly faults: Uint8Array | null;
}

/** Gathers faults while a column is read; nothing is allocated until the first. */
export class Sorter {
  readonly #rows: number;
  #faults: Uint8Array | null = null;
  #failed = 0;

  constructor(rows: number) {
    this.#rows = rows;
  }

  fail(row: number, fault: number): void {
    this.#faults ??= new Uint8Array(this.#rows);
    this.#faults[row] = fault;
    this.#failed++;
  }

  finish(): Sorted {
    if (this.#faults === null) return { good: null, faults: null };
    const good = new Uint32Array(this.#rows - this.#failed);
    let at = 0;
    for (let row = 0; row < this.#rows; row++) if (this.#faults[row] === 0) good[at++] = row;
    return { good, faults: this.#faults };
  }
}

/** U+FFFD marks text that some earlier reader already damaged: never tokenized, never passed. */
export function hasReplacement(bytes: Uint8Array, start: number, end: number): boolean {
  for (let i = start; i + 2 < end; i++) {
    if (bytes[i] === 0xef && bytes[i + 1] === 0xbf && bytes[i + 2] === 0xbd) return true;
  }
  return false;
}
