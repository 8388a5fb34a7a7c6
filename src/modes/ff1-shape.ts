import { BLOCK_BYTES } from './blocks.ts';

/** What SP 800-38G §5.1 computes from radix and length alone (Algorithm 7, steps 1 to 5). */
export interface Shape {
  readonly radix: number;
  /** n: numerals of the row. */
  readonly length: number;
  /** Numerals of the left half, and of the right. */
  readonly u: number;
  readonly v: number;
  /** Bytes of a half as a number (step 3), and of the round's output (step 4). */
  readonly b: number;
  readonly d: number;
  /** Blocks of Q from the one that holds the round number on; those before hold tweak alone. */
  readonly roundBlocks: number;
  /** radix^u and radix^v. */
  readonly modulusU: bigint;
  readonly modulusV: bigint;
  /** Which arithmetic the halves take. */
  readonly width: Width;
}

/** `narrow`: radix^v ≤ 2^20. `middle`: ≤ 2^32. `wide`: ≤ 2^52. These three are float64 numbers,
 *  with b ≤ 3, 4 and 7, so that round number and half lie in one block. `big`: BigInt. */
export type Width = 'narrow' | 'middle' | 'wide' | 'big';

const KNOWN_MAX = 4096;
const known = new Map<number, Shape>();

/** Radix 2 to 65,536, length 2 to 512: the caller has checked them. Shapes are kept. */
export function shapeOf(radix: number, length: number): Shape {
  const id = radix * 1024 + length;
  const old = known.get(id);
  if (old !== undefined) return old;
  if (known.size >= KNOWN_MAX) known.clear();
  const made = newShape(radix, length);
  known.set(id, made);
  return made;
}

function newShape(radix: number, length: number): Shape {
  const u = Math.floor(length / 2); // Step 1.
  const v = length - u;
  const modulusU = BigInt(radix) ** BigInt(u);
  const modulusV = BigInt(radix) ** BigInt(v);
  // Step 3: ⌈v·log2(radix)⌉ is the bit length of radix^v - 1; a float logarithm may round wrongly.
  const bits = (modulusV - 1n).toString(2).length;
  const b = Math.ceil(bits / 8);
  const d = 4 * Math.ceil(b / 4) + 4; // Step 4.
  const roundBlocks = Math.ceil((b + 1) / BLOCK_BYTES);
  const width = widthOf(modulusV);
  return { radix, length, u, v, b, d, roundBlocks, modulusU, modulusV, width };
}

function widthOf(modulus: bigint): Width {
  if (modulus <= 1n << 20n) return 'narrow';
  if (modulus <= 1n << 32n) return 'middle';
  return modulus <= 1n << 52n ? 'wide' : 'big';
}
