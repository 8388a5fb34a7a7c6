import type { BlockKey } from '../keys/key.ts';
import { decryptWithin, encryptWithin, walkLimit, walkShape } from '../modes/cycle-walk.ts';
import type { NumeralRows } from '../modes/ff1.ts';
import type { PerItem } from './domain.ts';
import type { Language } from './format/ranked.ts';
import { takeItems } from './rows.ts';

/** FF1 on the ranks, in place: rank i is permuted within [0, sizes of its language). `shapes` says
 *  which language of `languages` each rank belongs to. Returns the most passes any took. */
export function permuteRanks(
  key: BlockKey,
  languages: readonly Language[],
  ranks: Float64Array,
  shapes: Uint8Array | null,
  tweaks: PerItem,
  way: 'encrypt' | 'decrypt',
): number {
  let passes = 0;
  if (ranks.length === 0) return passes;
  if (shapes === null || languages.length === 1) {
    return permuteOne(key, languages[0]!.size, ranks, tweaks, way);
  }
  for (const [shape, language] of languages.entries()) {
    const rows = placesOf(shapes, shape);
    if (rows.length === 0) continue;
    const some = Float64Array.from(rows, (row) => ranks[row]!);
    passes = Math.max(passes, permuteOne(key, language.size, some, takeItems(tweaks, rows), way));
    for (let i = 0; i < rows.length; i++) ranks[rows[i]!] = some[i]!;
  }
  return passes;
}

function permuteOne(
  key: BlockKey,
  size: number,
  ranks: Float64Array,
  tweaks: PerItem,
  way: 'encrypt' | 'decrypt',
): number {
  const { radix, length, limit } = walkOf(size);
  const rows = numeralsOf(ranks, radix, length);
  const passes = (way === 'encrypt' ? encryptWithin : decryptWithin)(key, rows, limit, tweaks);
  const { numerals } = rows;
  for (let row = 0, at = 0; row < ranks.length; row++) {
    let value = 0;
    for (let i = 0; i < length; i++) value = value * radix + numerals[at++]!;
    ranks[row] = value;
  }
  return passes;
}

/** Numbers below 2^53 as numerals, the most significant first, `length` each. */
export function numeralsOf(values: Float64Array, radix: number, length: number): NumeralRows {
  const numerals = new Uint16Array(values.length * length);
  const ends = new Uint32Array(values.length);
  for (let row = 0; row < values.length; row++) {
    let rest = values[row]!;
    const start = row * length;
    for (let i = start + length - 1; i >= start && rest > 0; i--) {
      const next = Math.floor(rest / radix);
      numerals[i] = rest - next * radix;
      rest = next;
    }
    ends[row] = start + length;
  }
  return { radix, numerals, ends };
}

interface Walk {
  readonly radix: number;
  readonly length: number;
  readonly limit: Uint16Array;
}

/** Kept by the thread: one entry a language. */
const walks = new Map<number, Walk>();

function walkOf(size: number): Walk {
  const known = walks.get(size);
  if (known !== undefined) return known;
  const shape = walkShape(BigInt(size));
  const made = { ...shape, limit: walkLimit(BigInt(size), shape) };
  walks.set(size, made);
  return made;
}

function placesOf(shapes: Uint8Array, shape: number): Uint32Array {
  const rows: number[] = [];
  for (let row = 0; row < shapes.length; row++) if (shapes[row] === shape) rows.push(row);
  return Uint32Array.from(rows);
}
