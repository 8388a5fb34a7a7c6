import type { Column } from './column.ts';

const MARK = '[plain]';

/** A batch of patient data in flight, as it came off the wire: one object a call, not one a
 *  value. The bytes stay out of JSON, logs and inspection; `grep 'reveal('` finds each reader. */
export class Plain {
  readonly #column: Column;
  /** Values in the batch. */
  readonly length: number;

  /** Rows are UTF-8, already checked. */
  constructor(column: Column) {
    this.#column = column;
    this.length = column.ends.length;
  }

  reveal(): Column {
    return this.#column;
  }

  toJSON(): string {
    return MARK;
  }

  toString(): string {
    return MARK;
  }

  [Symbol.for('nodejs.util.inspect.custom')](): string {
    return MARK;
  }
}
