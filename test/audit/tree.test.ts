import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { TileBuilder } from '../../src/audit/tiles.ts';
import {
  consistencyProof,
  EMPTY_ROOT,
  inclusionProof,
  leafHash,
  verifyConsistency,
  verifyInclusion,
} from '../../src/audit/tree.ts';
import { jsonFiles, vectorFolder } from './vectors.ts';

const bytes = (text: string): Uint8Array => Buffer.from(text, 'base64');

interface InclusionCase {
  leafIdx: number;
  treeSize: number;
  root: string;
  leafHash: string;
  proof: string[] | null;
  wantErr: boolean;
}

interface ConsistencyCase {
  size1: number;
  size2: number;
  root1: string;
  root2: string;
  proof: string[] | null;
  wantErr: boolean;
}

const merkle = vectorFolder('merkle');

describe.skipIf(merkle === undefined)('transparency-dev/merkle testdata', () => {
  const cases = merkle === undefined ? [] : jsonFiles(merkle);
  test('there are 49 of each', () => {
    expect(cases.filter(([name]) => name.startsWith('inclusion'))).toHaveLength(49);
    expect(cases.filter(([name]) => name.startsWith('consistency'))).toHaveLength(49);
  });
  for (const [name, json] of cases) {
    test(name, () => {
      if (name.startsWith('inclusion')) {
        const c = json as InclusionCase;
        const proof = (c.proof ?? []).map(bytes);
        const holds = verifyInclusion(
          c.leafIdx,
          c.treeSize,
          bytes(c.leafHash),
          proof,
          bytes(c.root),
        );
        expect(holds).toBe(!c.wantErr);
      } else {
        const c = json as ConsistencyCase;
        const proof = (c.proof ?? []).map(bytes);
        const roots = [bytes(c.root1), bytes(c.root2)] as const;
        expect(verifyConsistency(c.size1, c.size2, ...roots, proof)).toBe(!c.wantErr);
      }
    });
  }
});

/** RFC 6962 §2.1 word for word, over the leaves themselves: the oracle. */
function naiveRoot(leaves: readonly Uint8Array[]): Uint8Array {
  if (leaves.length === 0) return createHash('sha256').digest();
  if (leaves.length === 1) {
    return createHash('sha256')
      .update(Buffer.concat([Buffer.from([0]), leaves[0]!]))
      .digest();
  }
  let k = 1;
  while (k * 2 < leaves.length) k *= 2;
  const halves = [naiveRoot(leaves.slice(0, k)), naiveRoot(leaves.slice(k))];
  return createHash('sha256')
    .update(Buffer.concat([Buffer.from([1]), ...halves]))
    .digest();
}

/** RFC 6962 §2.1.1 PATH, likewise. */
function naivePath(m: number, leaves: readonly Uint8Array[]): Uint8Array[] {
  if (leaves.length === 1) return [];
  let k = 1;
  while (k * 2 < leaves.length) k *= 2;
  return m < k
    ? [...naivePath(m, leaves.slice(0, k)), naiveRoot(leaves.slice(k))]
    : [...naivePath(m - k, leaves.slice(k)), naiveRoot(leaves.slice(0, k))];
}

/** RFC 6962 §2.1.2 SUBPROOF, likewise. */
function naiveProof(m: number, leaves: readonly Uint8Array[], whole: boolean): Uint8Array[] {
  if (m === leaves.length) return whole ? [] : [naiveRoot(leaves)];
  let k = 1;
  while (k * 2 < leaves.length) k *= 2;
  return m <= k
    ? [...naiveProof(m, leaves.slice(0, k), whole), naiveRoot(leaves.slice(k))]
    : [...naiveProof(m - k, leaves.slice(k), false), naiveRoot(leaves.slice(0, k))];
}

const leavesOf = (count: number, seed: number): Uint8Array[] =>
  Array.from({ length: count }, (_, i) => Buffer.from(`${seed}/${i}`));

const readerOf = (leaves: readonly Uint8Array[]) => async (level: number, index: number) =>
  naiveRoot(leaves.slice(index * 2 ** level, (index + 1) * 2 ** level));

const sameBytes = (found: readonly Uint8Array[], wanted: readonly Uint8Array[]): void =>
  expect(found.map((hash) => Buffer.from(hash).toString('hex'))).toEqual(
    wanted.map((hash) => Buffer.from(hash).toString('hex')),
  );

describe('the tree against the recursive definition', () => {
  const sizes = fc.integer({ min: 1, max: 300 });

  test('inclusion proofs are the definition and hold; any other place or bit fails', () =>
    fc.assert(
      fc.asyncProperty(sizes, fc.nat(), fc.nat(), async (size, at, noise) => {
        const leaves = leavesOf(size, noise);
        const index = at % size;
        const proof = await inclusionProof(index, size, readerOf(leaves));
        sameBytes(proof, naivePath(index, leaves));
        const root = naiveRoot(leaves);
        const leaf = leafHash(leaves[index]!);
        expect(verifyInclusion(index, size, leaf, proof, root)).toBe(true);
        expect(verifyInclusion(noise % size, size, leaf, proof, root)).toBe(noise % size === index);
        const bad = proof.map((hash) => Buffer.from(hash));
        const hash = bad[noise % Math.max(1, bad.length)];
        if (hash === undefined) return;
        hash[noise % 32]! ^= 1 << (noise % 8);
        expect(verifyInclusion(index, size, leaf, bad, root)).toBe(false);
      }),
      { numRuns: 100 },
    ));

  test('consistency proofs are the definition and hold; another old root fails', () =>
    fc.assert(
      fc.asyncProperty(sizes, fc.nat(), async (second, at) => {
        const leaves = leavesOf(second, at);
        const first = 1 + (at % second);
        const proof = await consistencyProof(first, second, readerOf(leaves));
        sameBytes(proof, naiveProof(first, leaves, true));
        const old = naiveRoot(leaves.slice(0, first));
        expect(verifyConsistency(first, second, old, naiveRoot(leaves), proof)).toBe(true);
        const forked = naiveRoot(leavesOf(first, at + 1));
        expect(verifyConsistency(first, second, forked, naiveRoot(leaves), proof)).toBe(false);
      }),
      { numRuns: 100 },
    ));

  test('a proof from size 0, or of a leaf that is not there, is an error', async () => {
    await expect(consistencyProof(0, 3, readerOf(leavesOf(3, 0)))).rejects.toThrow(RangeError);
    await expect(inclusionProof(3, 3, readerOf(leavesOf(3, 0)))).rejects.toThrow(RangeError);
  });

  test('the builder has the root of every size, and takes up again anywhere', () => {
    const leaves = leavesOf(70_000, 1);
    const builder = new TileBuilder(() => {});
    expect(builder.root()).toBeUndefined();
    expect(EMPTY_ROOT).toEqual(naiveRoot([]));
    // 65,536 fills a tile of level 1; the sizes beside it are where an error would hide.
    const checked = new Set([
      1, 2, 3, 255, 256, 257, 511, 512, 777, 65_535, 65_536, 65_537, 70_000,
    ]);
    for (const [i, leaf] of leaves.entries()) {
      builder.push(leafHash(leaf));
      if (!checked.has(i + 1)) continue;
      const wanted = new Uint8Array(naiveRoot(leaves.slice(0, i + 1)));
      expect(new Uint8Array(builder.root()!)).toEqual(wanted);
      const again = new TileBuilder(() => {});
      again.resume(
        i + 1,
        [0, 1, 2].map((level) => builder.partial(level)),
      );
      expect(new Uint8Array(again.root()!)).toEqual(wanted);
    }
  });
});
