import type { Reason } from '../../base/reason.ts';
import type { Holds } from '../job.ts';

/** Says row by row, ascending, what the rules of its token leave of a record that was opened. */
export class Held {
  readonly #holds: Holds;
  readonly #left: Uint32Array;
  #refused = 0;
  #counted = 0;

  constructor(holds: Holds) {
    this.#holds = holds;
    this.#left = holds.left.slice();
  }

  /** Of a row whose subject and context fit: undefined lets it pass and uses up one reveal. */
  open(row: number): Reason | undefined {
    const reason = this.#reasonOf(row);
    const { rows, slots } = this.#holds;
    while (this.#counted < rows.length && rows[this.#counted]! < row) this.#counted++;
    if (reason !== undefined || rows[this.#counted] !== row) return reason;
    const slot = slots[this.#counted]!;
    if (this.#left[slot] === 0) return 'TOKEN_ENDED';
    this.#left[slot]! -= 1;
    return undefined;
  }

  /** Of a row without a record. */
  missing(row: number): Reason {
    return this.#reasonOf(row) === 'TOKEN_UNLINKED' ? 'TOKEN_UNLINKED' : 'TOKEN_NOT_FOUND';
  }

  #reasonOf(row: number): Reason | undefined {
    const { refused } = this.#holds;
    while (this.#refused < refused.length && refused[this.#refused]!.index < row) this.#refused++;
    const next = refused[this.#refused];
    return next?.index === row ? next.reason : undefined;
  }
}
