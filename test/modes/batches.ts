import { type Column, columnOf } from '../../src/base/column.ts';
import type { BlockKey } from '../../src/keys/key.ts';
import type { NumeralRows } from '../../src/modes/ff1.ts';

export const hex = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text, 'hex'));

export const toHex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

export function numeralRows(radix: number, rows: readonly (readonly number[])[]): NumeralRows {
  const ends = new Uint32Array(rows.length);
  let end = 0;
  for (const [i, row] of rows.entries()) {
    end += row.length;
    ends[i] = end;
  }
  return { radix, numerals: Uint16Array.from(rows.flat()), ends };
}

export function rowsOf({ numerals, ends }: NumeralRows): number[][] {
  return Array.from(ends, (end, i) => [...numerals.subarray(i === 0 ? 0 : ends[i - 1], end)]);
}

/** Rows as bytes, copied. */
export function bytesOf(column: Column): Uint8Array[] {
  return Array.from(column.ends, (end, i) =>
    column.bytes.slice(i === 0 ? 0 : column.ends[i - 1], end),
  );
}

/** `count` rows of one length, every byte different from its neighbours'. */
export function sameRows(count: number, length: number): Column {
  const bytes = Uint8Array.from({ length: count * length }, (_, i) => (i * 31 + (i >> 8)) & 0xff);
  return { bytes, ends: Uint32Array.from({ length: count }, (_, i) => (i + 1) * length) };
}

/** A column that does not start where its buffer starts, nor fill it. */
export function shifted(rows: readonly Uint8Array[]): Column {
  const { bytes, ends } = columnOf(rows);
  const wide = new Uint8Array(bytes.length + 11).fill(0xa5);
  wide.set(bytes, 3);
  return { bytes: wide.subarray(3), ends };
}

/** Counts what a batch asks of a key. */
export class CountingKey implements BlockKey {
  readonly id: string;
  readonly blocksMax: number;
  calls = 0;
  blocks = 0;
  readonly #inner: BlockKey;

  constructor(inner: BlockKey, blocksMax = inner.blocksMax) {
    this.#inner = inner;
    this.id = inner.id;
    this.blocksMax = blocksMax;
  }

  encryptBlocks(blocks: Uint8Array): void {
    this.calls++;
    this.blocks += blocks.length / 16;
    if (blocks.length > 16 * this.blocksMax) throw new Error('more blocks than blocksMax');
    this.#inner.encryptBlocks(blocks);
  }

  /** Calls since the last time it was asked. */
  take(): number {
    const calls = this.calls;
    this.calls = 0;
    this.blocks = 0;
    return calls;
  }
}
