import { createHash } from 'node:crypto';

export const HASH_BYTES = 32;
/** RFC 6962 §2.1: the prefixes keep a leaf from posing as a node. */
export const LEAF_PREFIX = 0x00;
const LEAF = Uint8Array.of(LEAF_PREFIX);
const NODE = Uint8Array.of(0x01);

/** Hash of one entry, 32 bytes. */
export const leafHash = (entry: Uint8Array): Uint8Array =>
  createHash('sha256').update(LEAF).update(entry).digest();

/** Hash of two neighbouring subtrees, 32 bytes. */
export const nodeHash = (left: Uint8Array, right: Uint8Array): Uint8Array =>
  createHash('sha256').update(NODE).update(left).update(right).digest();

/** Root of the tree without leaves (RFC 6962 §2.1). */
export const EMPTY_ROOT: Uint8Array = createHash('sha256').digest();

/** Root of a perfect subtree: `bytes` holds a power of two of hashes. */
export function perfectRoot(bytes: Uint8Array): Uint8Array {
  let level = bytes;
  while (level.length > HASH_BYTES) {
    const above = new Uint8Array(level.length / 2);
    for (let at = 0; at < level.length; at += 2 * HASH_BYTES) {
      // A node's preimage is 0x01 and both children, which lie side by side.
      const pair = level.subarray(at, at + 2 * HASH_BYTES);
      above.set(createHash('sha256').update(NODE).update(pair).digest(), at / 2);
    }
    level = above;
  }
  return level;
}

/** Folds a run of perfect subtrees of equal height, and whatever is smaller on their right, into
 *  the root above both (RFC 6962 §2.1: the left part is the largest power of two). */
export function foldLeft(bytes: Uint8Array, right: Uint8Array | undefined): Uint8Array | undefined {
  let rest = bytes.length / HASH_BYTES;
  let root = right;
  for (let width = 1; rest > 0; width *= 2) {
    if (rest % (2 * width) === 0) continue;
    const start = (rest - width) * HASH_BYTES;
    const left = perfectRoot(bytes.subarray(start, rest * HASH_BYTES));
    root = root === undefined ? left : nodeHash(left, root);
    rest -= width;
  }
  return root;
}

/** Reads the root of a perfect subtree: entries [index × 2^level, (index + 1) × 2^level). */
export type ReadNode = (level: number, index: number) => Promise<Uint8Array>;

/** RFC 6962 §2.1.1 PATH(index, D[size]): from the leaf's sibling up. `index < size`. */
export async function inclusionProof(
  index: number,
  size: number,
  read: ReadNode,
): Promise<Uint8Array[]> {
  if (!isPlace(index) || !isPlace(size) || index >= size) throw new RangeError('no such leaf');
  const siblings: [number, number][] = [];
  let low = 0;
  let high = size;
  while (high - low > 1) {
    const middle = low + largestPowerBelow(high - low);
    if (index < middle) {
      siblings.push([middle, high]);
      high = middle;
    } else {
      siblings.push([low, middle]);
      low = middle;
    }
  }
  return rootsOf(siblings.reverse(), read);
}

/** RFC 6962 §2.1.2 PROOF(first, D[second]), `0 < first <= second`. A proof from size 0 would prove
 *  nothing, so it is refused. */
export async function consistencyProof(
  first: number,
  second: number,
  read: ReadNode,
): Promise<Uint8Array[]> {
  if (!isPlace(first) || !isPlace(second) || first < 1 || first > second) {
    throw new RangeError('no such pair of sizes');
  }
  const parts: [number, number][] = [];
  let low = 0;
  let high = second;
  while (first !== high) {
    const middle = low + largestPowerBelow(high - low);
    if (first <= middle) {
      parts.push([middle, high]);
      high = middle;
    } else {
      parts.push([low, middle]);
      low = middle;
    }
  }
  // The old tree itself is known to the verifier, so it is left out (SUBPROOF with b true).
  if (low !== 0) parts.push([low, high]);
  return rootsOf(parts.reverse(), read);
}

async function rootsOf(
  ranges: readonly (readonly [number, number])[],
  read: ReadNode,
): Promise<Uint8Array[]> {
  const roots: Uint8Array[] = [];
  for (const [low, high] of ranges) roots.push(await rangeRoot(low, high, read));
  return roots;
}

/** Root of entries [low, high), where `low` is a multiple of a power of two ≥ high - low. */
async function rangeRoot(low: number, high: number, read: ReadNode): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  let at = low;
  while (at < high) {
    let level = 0;
    while (at % 2 ** (level + 1) === 0 && at + 2 ** (level + 1) <= high) level++;
    parts.push(await read(level, at / 2 ** level));
    at += 2 ** level;
  }
  return parts.reduceRight((right, left) => nodeHash(left, right));
}

/** RFC 9162 §2.1.3.2. False for anything that does not prove it; never throws. */
export function verifyInclusion(
  index: number,
  size: number,
  leaf: Uint8Array,
  proof: readonly Uint8Array[],
  root: Uint8Array,
): boolean {
  if (!isPlace(index) || !isPlace(size) || index >= size) return false;
  if (leaf.length !== HASH_BYTES || !proof.every(isHash)) return false;
  let node = index;
  let last = size - 1;
  let hash = leaf;
  for (const sibling of proof) {
    if (last === 0) return false;
    if (node % 2 === 1 || node === last) {
      hash = nodeHash(sibling, hash);
      while (node % 2 === 0 && node !== 0) [node, last] = [node / 2, Math.floor(last / 2)];
    } else {
      hash = nodeHash(hash, sibling);
    }
    [node, last] = [Math.floor(node / 2), Math.floor(last / 2)];
  }
  return last === 0 && equalBytes(hash, root);
}

/** RFC 9162 §2.1.4.2. False for anything that does not prove it, from size 0 too; never throws. */
export function verifyConsistency(
  first: number,
  second: number,
  firstRoot: Uint8Array,
  secondRoot: Uint8Array,
  proof: readonly Uint8Array[],
): boolean {
  if (!isPlace(first) || !isPlace(second) || first < 1 || first > second) return false;
  if (first === second) return proof.length === 0 && equalBytes(firstRoot, secondRoot);
  if (!proof.every(isHash)) return false;
  const path = isPowerOfTwo(first) ? [firstRoot, ...proof] : proof;
  const start = path[0];
  if (start === undefined || proof.length === 0) return false;
  let node = first - 1;
  let last = second - 1;
  while (node % 2 === 1) [node, last] = [Math.floor(node / 2), Math.floor(last / 2)];
  let old = start;
  let now = start;
  for (const hash of path.slice(1)) {
    if (last === 0) return false;
    if (node % 2 === 1 || node === last) {
      old = nodeHash(hash, old);
      now = nodeHash(hash, now);
      while (node % 2 === 0 && node !== 0) [node, last] = [node / 2, Math.floor(last / 2)];
    } else {
      now = nodeHash(now, hash);
    }
    [node, last] = [Math.floor(node / 2), Math.floor(last / 2)];
  }
  return last === 0 && equalBytes(old, firstRoot) && equalBytes(now, secondRoot);
}

export const equalBytes = (a: Uint8Array, b: Uint8Array): boolean => Buffer.compare(a, b) === 0;

const isHash = (bytes: Uint8Array): boolean => bytes.length === HASH_BYTES;

const isPlace = (value: number): boolean => Number.isSafeInteger(value) && value >= 0;

/** Bit operators end at 2^31 and sizes do not, so these count. */
function largestPowerBelow(count: number): number {
  let power = 1;
  while (power * 2 < count) power *= 2;
  return power;
}

const isPowerOfTwo = (count: number): boolean => count === 2 ** Math.round(Math.log2(count));
