import assert from 'node:assert';
import { PURPOSE_PARENTS } from './purpose-tree.ts';

const CODES: readonly string[] = Object.keys(PURPOSE_PARENTS);

/** Per code: itself first, then the codes above it, nearest first. */
const CHAINS: ReadonlyMap<string, readonly string[]> = chainsOf(PURPOSE_PARENTS);

/** Place of each code, from 1; 0 is kept for "no purpose". Not stable between versions. */
const PLACES: ReadonlyMap<string, number> = new Map(CODES.map((code, i) => [code, i + 1]));

/** Places are below this. */
export const PURPOSE_PLACES = 64;
assert(CODES.length < PURPOSE_PLACES, 'the purpose tree outgrew its places');

/** Whether the tree knows the code. Exact: lower case and blanks are not mended. */
export const isPurpose = (code: string): boolean => CHAINS.has(code);

/** Every code, parents before their children. */
export const purposes = (): readonly string[] => CODES;

/** The codes above `code`, nearest first; empty at the top and for an unknown code. */
export const ancestors = (code: string): readonly string[] => CHAINS.get(code)?.slice(1) ?? [];

/** `code` itself and the codes above it: what a rule may name to reach a call for `code` (FHIR
 *  matches purposes by subsumption). Empty for an unknown code. */
export const subsumers = (code: string): readonly string[] => CHAINS.get(code) ?? [];

/** A small number for the code: 0 for '', -1 where unknown. For cache keys only. */
export const purposePlace = (code: string): number => (code === '' ? 0 : (PLACES.get(code) ?? -1));

function chainsOf(parents: Readonly<Record<string, string>>): Map<string, readonly string[]> {
  const chains = new Map<string, readonly string[]>();
  for (const [code, parent] of Object.entries(parents)) {
    const above = parent === '' ? [] : chains.get(parent);
    assert(above !== undefined, 'a parent stands before its children in the purpose tree');
    chains.set(code, [code, ...above]);
  }
  return chains;
}
