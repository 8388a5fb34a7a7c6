import assert from 'node:assert';
import { type Column, columnOf, EMPTY_COLUMN, rowCount } from '../../base/column.ts';
import type { ItemError } from '../../base/reason.ts';
import type { CompiledDomain, DomainKeys, PerItem } from '../../codec/domain.ts';
import { sealOpaque } from '../../codec/opaque.ts';
import {
  type Canonical,
  canonicalise,
  indexMessages,
  tokensOfCounters,
} from '../../codec/random.ts';
import type { BlockKey } from '../../keys/key.ts';
import { cmacMany } from '../../modes/cmac.ts';
import { sivSeal } from '../../modes/siv.ts';
import type {
  IndexJob,
  IndexResult,
  MintJob,
  MintResult,
  Places,
  Remarks,
  SealedBody,
} from '../job.ts';
import { aliasedIndexes } from './aliased.ts';
import { bodyNotices, distinctOf, type OpenDomain, type Shared } from './derived.ts';
import {
  errorsWithin,
  fixedColumn,
  joinCells,
  joinColumns,
  pickRows,
  placesWithin,
  rowsBetween,
  spreadRows,
  startsOf,
  takeFixed,
} from './gather.ts';
import { encodeRecords } from './record.ts';
import { erasedPlaces } from './subject-flags.ts';
import { indexSubjects, SUBJECT_BYTES, type Subjects } from './subjects.ts';

const INDEX_BYTES = 16;
const NO_BYTES = new Uint8Array(0);

/** The keys of a vaulted domain; rolesOf names them, so they are there. */
export function vaultKeys(keys: DomainKeys): {
  count: BlockKey;
  idx: BlockKey;
  mac: BlockKey;
  ctr: BlockKey;
} {
  const { count, idx, 'seal-mac': mac, 'seal-ctr': ctr } = keys;
  assert(count !== undefined && idx !== undefined && mac !== undefined && ctr !== undefined);
  return { count, idx, mac, ctr };
}

/** Associated data of a domain's records, before the counter: domain, kind, version. */
export const recordConstant = ({ spec }: CompiledDomain): Uint8Array =>
  Buffer.from(`lockstep record ${spec.id} ${spec.kind} v1`, 'utf8');

/** Counters as associated data: 8 bytes each, big-endian. */
export function counterBlocks(counters: Float64Array): Column {
  const bytes = new Uint8Array(counters.length * 8);
  const view = new DataView(bytes.buffer);
  for (let i = 0; i < counters.length; i++) {
    view.setUint32(i * 8, Math.floor(counters[i]! / 0x1_0000_0000));
    view.setUint32(i * 8 + 4, counters[i]! >>> 0);
  }
  return fixedColumn(bytes, 8);
}

/** Keyed indexes of the values of several calls to one domain. */
export function runIndex(
  shared: Shared,
  { compiled, keys, groups, flags }: OpenDomain,
  jobs: readonly IndexJob[],
): IndexResult[] {
  const rows = jobs.map((job) => rowCount(job.values));
  const starts = startsOf(rows);
  const perJob = indexSubjects(
    shared.subjectKey,
    jobs.map((job) => job.subject),
  );
  const context = joinCells(
    jobs.map((job) => job.context),
    rows,
  );
  // A record that subjects share is bound to none: one value has one token, whosever it is.
  const shares = compiled.spec.subjectsShared;
  const subjects = shares
    ? NO_BYTES
    : joinCells(
        perJob.map((own) => own.items),
        rows,
      );
  const values = joinColumns(jobs.map((job) => job.values));
  const canonical = canonicalise(compiled, values, context, subjects);
  const messages = indexMessages(canonical.normal, context, subjects);
  const indexes = cmacMany(vaultKeys(keys).idx, messages);
  const idem = idemOf(shared.idemKey, jobs);
  return jobs.map((job, i) => {
    const unnamed = compiled.spec.subjectRequired ? perJob[i]!.unnamed : [];
    const stop = job.delivery === 'ordered-stop';
    const opaque = placesWithin(canonical.opaque, starts[i]!, starts[i + 1]!);
    const erased = erasedPlaces(flags, perJob[i]!.items, opaque);
    const sorted = sortRows(canonical, starts[i]!, rows[i]!, unnamed, erased, stop);
    const own = indexes.subarray(starts[i]! * INDEX_BYTES, starts[i + 1]! * INDEX_BYTES);
    const place = { total: sorted.total, good: sorted.good, start: starts[i]! };
    const columns = { normal: canonical.normal, context };
    return {
      total: sorted.total,
      good: sorted.good,
      indexes: sorted.good === undefined ? own.slice() : takeFixed(own, INDEX_BYTES, sorted.good),
      subjects: perJob[i]!.rows(rows[i]!),
      stored: rowsBetween(canonical.stored, starts[i]!, starts[i + 1]!),
      errors: sorted.errors,
      distinct:
        jobs.length === 1
          ? canonical.distinct
          : distinctOf({ items: values, context, subjects }, starts[i]!, starts[i + 1]!),
      remarks: remarksOf(compiled, keys, job, perJob[i]!, sorted),
      aliased: shares
        ? undefined
        : aliasedIndexes(vaultKeys(keys).idx, groups, perJob[i]!, place, columns),
      idem: idem[i],
    };
  });
}

interface SortedRows {
  readonly total: number;
  readonly good: Places;
  readonly errors: readonly ItemError[];
  readonly opaque: readonly number[];
  readonly passed: readonly number[];
}

/** What becomes of each row of one call: a record, a remark or an error. */
function sortRows(
  canonical: Canonical,
  start: number,
  rows: number,
  unnamed: readonly number[],
  erased: readonly number[],
  stop: boolean,
): SortedRows {
  const refused = new Set([...unnamed, ...erased]);
  const errors = errorsWithin(canonical.errors, start, start + rows).filter(
    ({ index }) => !refused.has(index),
  );
  for (const index of unnamed) errors.push({ index, reason: 'SUBJECT_REQUIRED' });
  for (const index of erased) errors.push({ index, reason: 'ERASE_REFUSED' });
  errors.sort((a, b) => a.index - b.index);
  // Ordered stop names the first failed item, and what comes behind it is not looked at.
  const first = errors[0];
  const total = stop && first !== undefined ? first.index : rows;
  const kept = (places: readonly number[]): number[] =>
    placesWithin(places, start, start + rows).filter(
      (place) => place < total && !refused.has(place),
    );
  const opaque = kept(canonical.opaque);
  const passed = kept(canonical.passed);
  const shown = stop && first !== undefined ? [first] : errors;
  if (total === rows && errors.length + opaque.length + passed.length === 0) {
    return { total, good: undefined, errors, opaque, passed };
  }
  const bad = new Set([...errors.map(({ index }) => index), ...opaque, ...passed]);
  const good = Uint32Array.from(
    Array.from({ length: total }, (_, row) => row).filter((row) => !bad.has(row)),
  );
  return { total, good, errors: shown, opaque, passed };
}

/** The answers of rows that get no record. */
function remarksOf(
  compiled: CompiledDomain,
  keys: DomainKeys,
  job: IndexJob,
  subjects: Subjects,
  { opaque, passed }: SortedRows,
): Remarks | undefined {
  if (opaque.length + passed.length === 0) return undefined;
  const places = [...opaque, ...passed].sort((a, b) => a - b);
  const take = (cells: PerItem, rows: readonly number[]): PerItem =>
    cells instanceof Uint8Array ? cells : pickRows(cells, rows);
  const tokens = sealOpaque(
    keys,
    compiled,
    pickRows(job.values, opaque),
    take(job.context ?? NO_BYTES, opaque),
    take(subjects.items, opaque),
  );
  const own = new Map(opaque.map((place, i) => [place, i]));
  const column = joinColumns(
    places.map((place) => {
      const token = own.get(place);
      return token === undefined
        ? rowsBetween(job.values, place, place + 1)
        : rowsBetween(tokens, token, token + 1);
    }),
  );
  return { rows: Uint32Array.from(places), column, opaque, passed };
}

export function idemOf(
  key: BlockKey,
  jobs: readonly Pick<IndexJob, 'idem'>[],
): IndexResult['idem'][] {
  const asked = jobs.filter((job) => job.idem !== undefined);
  if (asked.length === 0) return jobs.map(() => undefined);
  const messages = columnOf(asked.flatMap(({ idem }) => [idem!.name, idem!.digest]));
  const tags = cmacMany(key, messages);
  let next = 0;
  return jobs.map((job) => {
    if (job.idem === undefined) return undefined;
    const at = next * 2 * INDEX_BYTES;
    next += 1;
    return {
      key: tags.slice(at, at + INDEX_BYTES),
      digest: tags.slice(at + INDEX_BYTES, at + 2 * INDEX_BYTES),
    };
  });
}

/** Tokens of counters, and the sealed records of the new ones, of several calls to one domain. */
export function runMint(
  shared: Shared,
  { compiled, keys }: OpenDomain,
  jobs: readonly MintJob[],
): MintResult[] {
  const { count, mac, ctr } = vaultKeys(keys);
  const starts = startsOf(jobs.map((job) => job.counters.length));
  const counters = new Float64Array(starts.at(-1)!);
  for (const [i, job] of jobs.entries()) counters.set(job.counters, starts[i]!);
  const shapes = joinColumns(
    jobs.map(({ stored, good, total }) =>
      good === undefined && rowCount(stored) === total
        ? stored
        : pickRows(stored, placesOf(good, total)),
    ),
  );
  const tokens = tokensOfCounters(count, compiled, counters, shapes);
  const fresh = jobs.map((job) => Float64Array.from(job.newRows, (row) => job.counters[row]!));
  const plain = jobs.map((job) => {
    const items = Array.from(job.newRows, (row) => (job.good === undefined ? row : job.good[row]!));
    return encodeRecords(items, job.stored, ownersOf(compiled, job), job.context);
  });
  const recordStarts = startsOf(fresh.map((own) => own.length));
  const sealed = sealRecords(mac, ctr, compiled, fresh, plain);
  return jobs.map((job, i) => {
    const own = rowsBetween(tokens, starts[i]!, starts[i + 1]!);
    const result: { -readonly [K in keyof MintResult]: MintResult[K] } = {
      tokens: spread(own, job),
      records: rowsBetween(sealed, recordStarts[i]!, recordStarts[i + 1]!),
      body: undefined,
    };
    if (job.seal)
      sealMintBody(shared, job, result.tokens, (body) => {
        result.body = body;
      });
    return result;
  });
}

function sealRecords(
  mac: BlockKey,
  ctr: BlockKey,
  compiled: CompiledDomain,
  counters: readonly Float64Array[],
  plain: readonly Column[],
): Column {
  const joined = joinColumns(plain);
  if (rowCount(joined) === 0) return joined;
  const all = Float64Array.from(counters.flatMap((own) => [...own]));
  return sivSeal(mac, ctr, [recordConstant(compiled), counterBlocks(all)], joined);
}

/** Whom new records are bound to, 16 bytes an item. */
const ownersOf = ({ spec }: CompiledDomain, { subjects }: MintJob): Uint8Array =>
  spec.subjectsShared ? new Uint8Array(subjects.length) : subjects;

const placesOf = (good: Places, total: number): ArrayLike<number> & Iterable<number> =>
  good ?? Array.from({ length: total }, (_, row) => row);

/** Good rows' tokens and remarked rows' answers at their places, the failed ones empty. */
function spread(tokens: Column, { good, total, remarks }: MintJob): Column {
  if (good === undefined) return tokens;
  if (remarks === undefined) return spreadRows(tokens, good, total);
  const out: Column[] = [];
  for (let row = 0, next = 0, other = 0; row < total; row++) {
    if (good[next] === row) out.push(rowsBetween(tokens, next, ++next));
    else if (remarks.rows[other] === row) out.push(rowsBetween(remarks.column, other, ++other));
    else out.push(EMPTY_ROW);
  }
  return out.length === 0 ? EMPTY_COLUMN : joinColumns(out);
}

const EMPTY_ROW: Column = { bytes: NO_BYTES, ends: new Uint32Array(1) };

function sealMintBody(
  shared: Shared,
  job: MintJob,
  tokens: Column,
  take: (body: SealedBody) => void,
): void {
  const subjects = job.subjects.subarray(0, job.total * SUBJECT_BYTES);
  shared.bodies.add(
    {
      tokens,
      subjects: subjects.some((byte) => byte !== 0) ? subjects : NO_BYTES,
      errors: job.errors,
      created: job.created,
      notices: bodyNotices(job.remarks?.opaque ?? [], job.remarks?.passed ?? []),
    },
    take,
  );
}
