import { type Column, ColumnWriter, rowStart } from '../base/column.ts';
import { organisationOf } from '../policy/ask.ts';
import type { Edit } from '../vault/call-write.ts';
import { SHARERS_MAX } from '../vault/sharers.ts';
import { isNobody, SUBJECT_BYTES } from '../vault/subject-rows.ts';
import type { ServedDomain } from './domain-table.ts';
import { hold } from './hold.ts';
import type { IndexResult, LocateResult } from './job.ts';
import type { Parts } from './parts.ts';

/* Records of a domain with `subjectsShared` are bound to nobody; beside them stands the set of the
 * subjects they were made for. */

/** What a call adds to the sets of its records. */
export interface Sharing {
  readonly edit: Edit | undefined;
  /** Rows of the batch whose record has no room for their subject, ascending. */
  readonly full: readonly number[];
  /** True where a record was erased since its counter was found: the call must claim anew. */
  readonly gone: boolean;
  /** Once the commit has ended, or will not come. */
  readonly release: () => void;
}

const nothing = (): void => {};
export const NOT_SHARED: Sharing = { edit: undefined, full: [], gone: false, release: nothing };

/** Rows whose subject is to be in the set of their record. */
interface Wanted {
  /** Places among the good rows, ascending. */
  readonly places: readonly number[];
  readonly counters: Float64Array;
  /** 16 bytes each. */
  readonly subjects: Uint8Array;
}

/** Sets of records that are minted now need no read; of the others only those that lack a subject
 *  are taken exclusively, until `release`; `held` where the caller has done so. */
export async function shareRecords(
  parts: Parts,
  { spec }: ServedDomain,
  indexed: IndexResult,
  counters: Float64Array,
  minted: Float64Array,
  held = false,
): Promise<Sharing> {
  const { vault } = parts;
  const named = namedRows(indexed, counters);
  if (named.length === 0) return NOT_SHARED;
  const fresh = new Set(minted);
  const wantedOf = (places: readonly number[]): Wanted => wanted(indexed, counters, places);
  const known = wantedOf(named.filter((place) => !fresh.has(counters[place]!)));
  const lacking = missing(known, await vault.sharers.has(spec.id, known.counters, known.subjects));
  const sizes = new Map<number, number>();
  let release = nothing;
  let adding = named.filter((place) => fresh.has(counters[place]!));
  if (lacking.length > 0) {
    if (!held) release = await hold(vault, [spec.id]);
    try {
      const asked = wantedOf(lacking);
      const there = await vault.sharers.has(spec.id, asked.counters, asked.subjects);
      const left = wantedOf(missing(asked, there));
      const records = await vault.read(spec.id, left.counters);
      if (!records.ends.every((end, row) => end > rowStart(records, row))) {
        return { ...NOT_SHARED, gone: true, release };
      }
      const distinct = Float64Array.from(new Set(left.counters));
      const sets = await vault.sharers.of(spec.id, distinct);
      for (const [i, set] of sets.entries()) sizes.set(distinct[i]!, set.length / SUBJECT_BYTES);
      adding = [...adding, ...left.places].sort((a, b) => a - b);
    } catch (error) {
      release();
      throw error;
    }
  }
  const full = withoutRoom(wantedOf(adding), sizes);
  const kept = wantedOf(adding.filter((place) => !full.has(place)));
  const edit = vault.sharers.additions(spec.id, kept.counters, kept.subjects);
  const rows = [...full].map((place) => rowAt(indexed, place)).sort((a, b) => a - b);
  return { edit: edit.changes.length > 0 ? edit : undefined, full: rows, gone: false, release };
}

const rowAt = ({ good }: IndexResult, place: number): number =>
  good === undefined ? place : good[place]!;

function namedRows(indexed: IndexResult, counters: Float64Array): number[] {
  const named: number[] = [];
  for (let place = 0; place < counters.length; place++) {
    if (!isNobody(indexed.subjects, rowAt(indexed, place) * SUBJECT_BYTES)) named.push(place);
  }
  return named;
}

function wanted(indexed: IndexResult, counters: Float64Array, places: readonly number[]): Wanted {
  const subjects = new Uint8Array(places.length * SUBJECT_BYTES);
  for (const [i, place] of places.entries()) {
    const at = rowAt(indexed, place) * SUBJECT_BYTES;
    subjects.set(indexed.subjects.subarray(at, at + SUBJECT_BYTES), i * SUBJECT_BYTES);
  }
  return { places, counters: Float64Array.from(places, (place) => counters[place]!), subjects };
}

const missing = ({ places }: Wanted, there: Uint8Array): number[] =>
  places.filter((_, i) => there[i] === 0);

/** Places of rows whose subject comes too late. Subjects are only told apart where there may be too
 *  many of them. */
function withoutRoom(rows: Wanted, sizes: ReadonlyMap<number, number>): Set<number> {
  const perRecord = new Map<number, number[]>();
  for (let i = 0; i < rows.places.length; i++) {
    const own = perRecord.get(rows.counters[i]!);
    if (own === undefined) perRecord.set(rows.counters[i]!, [i]);
    else own.push(i);
  }
  const full = new Set<number>();
  for (const [counter, own] of perRecord) {
    const room = SHARERS_MAX - (sizes.get(counter) ?? 0);
    if (own.length <= room) continue;
    const distinct = new Set<string>();
    for (const i of own) {
      const at = i * SUBJECT_BYTES;
      const subject = Buffer.from(rows.subjects.subarray(at, at + SUBJECT_BYTES)).toString('hex');
      if (distinct.has(subject)) continue;
      if (distinct.size < room) distinct.add(subject);
      else full.add(rows.places[i]!);
    }
  }
  return full;
}

/** Row by row: 1 where the subject, or another id of the same patient, is in the set of the record;
 *  also where it names nobody. */
export async function sharedWith(
  parts: Parts,
  { spec }: ServedDomain,
  counters: Float64Array,
  subjects: Uint8Array,
): Promise<Uint8Array> {
  const { sharers, aliases } = parts.vault;
  const flags = await sharers.has(spec.id, counters, subjects);
  const groups = aliases.groupsIn(organisationOf(spec.id));
  if (groups === undefined || !flags.includes(0)) return flags;
  const rows: number[] = [];
  const ids: Uint8Array[] = [];
  for (let row = 0; row < flags.length; row++) {
    if (flags[row] === 1) continue;
    for (const id of groups.find(subjects, row * SUBJECT_BYTES) ?? []) {
      rows.push(row);
      ids.push(id);
    }
  }
  const asked = Float64Array.from(rows, (row) => counters[row]!);
  const others = await sharers.has(spec.id, asked, Buffer.concat(ids));
  for (const [i, row] of rows.entries()) if (others[i] === 1) flags[row] = 1;
  return flags;
}

/** Blanks the records of tokens that are not the named subject's: to it they are unknown. */
export async function keepShared(
  parts: Parts,
  domain: ServedDomain,
  { counters, subjects }: LocateResult,
  records: Column,
): Promise<Column> {
  if (subjects.length === 0) return records;
  const flags = await sharedWith(parts, domain, counters, subjects);
  if (!flags.includes(0)) return records;
  const out = new ColumnWriter(flags.length, records.bytes.length);
  for (let row = 0; row < flags.length; row++) {
    if (flags[row] === 1) out.append(records.bytes, rowStart(records, row), records.ends[row]!);
    out.endRow();
  }
  return out.finish();
}

/** Likewise for values that are looked up: a counter becomes NaN, not found. */
export async function keepSharedCounters(
  parts: Parts,
  domain: ServedDomain,
  indexed: IndexResult,
  counters: Float64Array,
): Promise<Float64Array> {
  if (!domain.spec.subjectsShared) return counters;
  const named = namedRows(indexed, counters).filter((place) => counters[place]! >= 0);
  if (named.length === 0) return counters;
  const asked = wanted(indexed, counters, named);
  const flags = await sharedWith(parts, domain, asked.counters, asked.subjects);
  const kept = counters.slice();
  for (const [i, place] of named.entries()) if (flags[i] === 0) kept[place] = Number.NaN;
  return kept;
}
