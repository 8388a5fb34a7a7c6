import { organisationOf } from '../policy/ask.ts';
import { INDEX_BYTES } from '../vault/layout.ts';
import { SUBJECT_BYTES } from '../vault/subject-rows.ts';
import type { ServedDomain } from './domain-table.ts';
import { hold } from './hold.ts';
import type { IndexResult } from './job.ts';
import type { Parts } from './parts.ts';

/* A value of a merged subject may have its token under another id of the patient. Only rows of
 * merged subjects come here: `aliased` names them. */

const nothing = (): void => {};

/** Keeps calls that would mint for one patient apart, until it is released: else two ids could each
 *  get a token for one value at the same time. */
export async function holdPatients(
  parts: Parts,
  { spec }: ServedDomain,
  { aliased }: IndexResult,
): Promise<() => void> {
  if (aliased === undefined || spec.kind !== 'static') return nothing;
  const names = new Set<string>();
  const organisation = organisationOf(spec.id);
  const groups = parts.vault.aliases.groupsIn(organisation);
  for (let at = 0; at < aliased.ids.length; at += SUBJECT_BYTES) {
    // Members ascend, so whichever id a call names, the patient has one name here.
    const first =
      groups?.find(aliased.ids, at)?.[0] ?? aliased.ids.subarray(at, at + SUBJECT_BYTES);
    names.add(`${spec.id} ${Buffer.from(first).toString('hex')}`);
  }
  return hold(parts.vault, [...names]);
}

/** The batch with the indexes under which it is known. */
export interface Resolved {
  readonly indexed: IndexResult;
  /** Places among the good rows that another id's index was taken for: they have a token. */
  readonly borrowed: readonly number[];
}

/** Takes another id's index for rows of a static domain that have no token under their own and one
 *  under that. Where several ids have one, that of the lowest id. */
export async function resolveAliases(
  parts: Parts,
  { spec }: ServedDomain,
  indexed: IndexResult,
): Promise<Resolved> {
  const { aliased } = indexed;
  if (aliased === undefined || spec.kind !== 'static') return { indexed, borrowed: [] };
  const places = [...new Set(aliased.rows)];
  const own = new Uint8Array(places.length * INDEX_BYTES);
  for (const [i, place] of places.entries()) {
    const at = place * INDEX_BYTES;
    own.set(indexed.indexes.subarray(at, at + INDEX_BYTES), i * INDEX_BYTES);
  }
  const { vault } = parts;
  const ownCounters = await vault.find(spec.id, own);
  const unknown = new Set(places.filter((_, i) => Number.isNaN(ownCounters[i])));
  if (unknown.size === 0) return { indexed, borrowed: [] };
  const counters = await vault.find(spec.id, aliased.indexes);
  const indexes = indexed.indexes.slice();
  const borrowed: number[] = [];
  const names = new Map(places.map((place, i) => [place, nameAt(own, i)]));
  const first = new Map<string, number>();
  for (const place of unknown) {
    const name = names.get(place)!;
    if (!first.has(name)) first.set(name, place);
  }
  for (const [i, place] of aliased.rows.entries()) {
    if (!unknown.has(place)) continue;
    // Two ids may name one new value in one batch, too: the first row mints, the other follows.
    const ahead = (first.get(nameAt(aliased.indexes, i)) ?? place) < place;
    if (Number.isNaN(counters[i]) && !ahead) continue;
    unknown.delete(place);
    if (first.get(names.get(place)!) === place) first.delete(names.get(place)!);
    const at = i * INDEX_BYTES;
    indexes.set(aliased.indexes.subarray(at, at + INDEX_BYTES), place * INDEX_BYTES);
    borrowed.push(place);
  }
  return { indexed: borrowed.length === 0 ? indexed : { ...indexed, indexes }, borrowed };
}

const nameAt = (indexes: Uint8Array, row: number): string =>
  Buffer.from(indexes.subarray(row * INDEX_BYTES, (row + 1) * INDEX_BYTES)).toString('hex');

/** By place among the good rows: the other indexes that its tokens may be listed under, in a domain
 *  where a value has several. */
export function otherIndexes({ aliased }: IndexResult): (place: number) => readonly Uint8Array[] {
  const others = new Map<number, Uint8Array[]>();
  for (const [i, place] of aliased?.rows.entries() ?? []) {
    const index = aliased!.indexes.subarray(i * INDEX_BYTES, (i + 1) * INDEX_BYTES);
    const own = others.get(place);
    if (own === undefined) others.set(place, [index]);
    else own.push(index);
  }
  return (place) => others.get(place) ?? [];
}
