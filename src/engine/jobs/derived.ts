import { type Column, EMPTY_COLUMN, rowCount } from '../../base/column.ts';
import type { Delivery } from '../../base/domain.ts';
import type { ItemError, Reason } from '../../base/reason.ts';
import { dedupe } from '../../codec/dedupe.ts';
import type { CompiledDomain, DomainKeys, PerItem } from '../../codec/domain.ts';
import { decodeFpe, encodeFpe, fpeTweaks } from '../../codec/fpe.ts';
import { encodeOneWay } from '../../codec/one-way.ts';
import type { Encoded } from '../../codec/rows.ts';
import { decodeSiv, encodeSiv } from '../../codec/siv.ts';
import { encodeTransform } from '../../codec/transform.ts';
import { applyView } from '../../codec/view.ts';
import type { BlockKey } from '../../keys/key.ts';
import type { ColumnResult, DecodeJob, EncodeJob } from '../job.ts';
import { type Groups, openAliased } from './aliased.ts';
import type { Bodies } from './bodies.ts';
import {
  errorsWithin,
  joinCells,
  joinColumns,
  pickRows,
  placesWithin,
  rowsBetween,
  startsOf,
} from './gather.ts';
import { type SubjectFlags, withoutErased, withoutFlagged } from './subject-flags.ts';
import { indexSubjects, type Subjects } from './subjects.ts';

/** A domain with its keys, as the worker holds it. */
export interface OpenDomain {
  readonly compiled: CompiledDomain;
  readonly keys: DomainKeys;
  /** Merged subjects of its organisation. */
  readonly groups: Groups;
  /** Its subjects that were erased or stopped, where it keeps no records. */
  readonly flags: SubjectFlags;
}

/** What jobs need beside their domain. */
export interface Shared {
  readonly subjectKey: BlockKey;
  readonly idemKey: BlockKey;
  readonly bodies: Bodies;
}

/** Calls to one domain, encoded as one batch; answers in the order of the jobs. */
export function runEncode(
  shared: Shared,
  domain: OpenDomain,
  jobs: readonly EncodeJob[],
): ColumnResult[] {
  const joined = join(shared, jobs, (job) => job.values);
  const encoded = encode(domain, joined);
  return settle(shared, domain, jobs, joined, encoded, () => undefined);
}

/** Calls to one domain and view, decoded as one batch. */
export function runDecode(
  shared: Shared,
  domain: OpenDomain,
  jobs: readonly DecodeJob[],
): ColumnResult[] {
  const joined = join(shared, jobs, (job) => job.tokens);
  const decoded = decodeForPatients(domain, joined);
  // Which of an unknown, a foreign and a touched token it was is not told (contract.md a).
  const shown = applyView(domain.compiled, decoded.column, jobs[0]!.view);
  return settle(shared, domain, jobs, joined, { ...decoded, column: shown }, (job) => job.tokens);
}

interface Joined {
  readonly items: Column;
  readonly starts: readonly number[];
  readonly context: PerItem;
  readonly subjects: PerItem;
  readonly perJob: readonly Subjects[];
}

function join<T extends EncodeJob | DecodeJob>(
  shared: Shared,
  jobs: readonly T[],
  columnOfJob: (job: T) => Column,
): Joined {
  const columns = jobs.map(columnOfJob);
  const rows = columns.map(rowCount);
  const perJob = indexSubjects(
    shared.subjectKey,
    jobs.map((job) => job.subject),
  );
  return {
    items: joinColumns(columns),
    starts: startsOf(rows),
    context: joinCells(
      jobs.map((job) => job.context),
      rows,
    ),
    subjects: joinCells(
      perJob.map((subjects) => subjects.items),
      rows,
    ),
    perJob,
  };
}

function encode({ compiled, keys, flags }: OpenDomain, joined: Joined): Encoded {
  const { items, context, subjects } = joined;
  switch (compiled.spec.kind) {
    case 'fpe':
      return encodeFpe(keys, compiled, items, fpeTweaks(context, subjects));
    case 'siv':
      return withoutErased(flags, encodeSiv(keys, compiled, items, context, subjects), subjects);
    case 'one-way':
      return encodeOneWay(keys, compiled, items, context, subjects);
    default:
      return encodeTransform(compiled, items);
  }
}

function decode({ compiled, keys, flags }: OpenDomain, joined: Joined): Encoded {
  const { items, context, subjects } = joined;
  return compiled.spec.kind === 'fpe'
    ? decodeFpe(keys, compiled, items, fpeTweaks(context, subjects))
    : withoutFlagged(flags, decodeSiv(keys, compiled, items, context, subjects), subjects);
}

/** A bound SIV token opens for each id of its patient. An FPE token cannot tell whose it is: the
 *  subject only tweaks it. */
function decodeForPatients(domain: OpenDomain, joined: Joined): Encoded {
  const decoded = decode(domain, joined);
  if (domain.compiled.spec.kind !== 'siv') return decoded;
  const { items, context } = joined;
  const open = (rows: Uint32Array, subjects: Column): Encoded =>
    decode(domain, {
      ...joined,
      items: pickRows(items, rows),
      context: context instanceof Uint8Array ? context : pickRows(context, rows),
      subjects,
    });
  return openAliased(domain.groups, joined.subjects, decoded, open);
}

/** Each call's own part of the joined answer: its rows, its errors, its delivery, its body. */
function settle<T extends EncodeJob | DecodeJob>(
  shared: Shared,
  domain: OpenDomain,
  jobs: readonly T[],
  joined: Joined,
  encoded: Encoded,
  tokensOf: (job: T) => Column | undefined,
): ColumnResult[] {
  return jobs.map((job, i) => {
    const from = joined.starts[i]!;
    const to = joined.starts[i + 1]!;
    const own = part(encoded, from, to, jobs.length === 1);
    const refused = domain.compiled.spec.subjectRequired ? joined.perJob[i]!.unnamed : [];
    const answer = deliver(withRefused(own, refused, 'SUBJECT_REQUIRED'), job.delivery);
    const distinct = jobs.length === 1 ? encoded.distinct : ownDistinct(joined, encoded, from, to);
    const result: { -readonly [K in keyof ColumnResult]: ColumnResult[K] } = {
      ...answer,
      distinct,
      body: undefined,
    };
    const failed = job.delivery === 'all-or-nothing' && answer.errors.length > 0;
    if (job.seal && !failed) {
      const { column, errors, opaque, passed } = answer;
      const tokens = tokensOf(job);
      const body = {
        tokens: tokens === undefined ? column : rowsBetween(tokens, 0, rowCount(column)),
        subjects: bodySubjects(joined.perJob[i]!, rowCount(column)),
        errors,
        created: new Uint8Array(0),
        notices: bodyNotices(opaque, passed),
      };
      shared.bodies.add(body, (sealed) => {
        result.body = sealed;
      });
    }
    return result;
  });
}

export function bodyNotices(
  opaque: readonly number[],
  passed: readonly number[],
): { reason: string; indexes: readonly number[] }[] {
  const notices = [];
  if (opaque.length > 0) notices.push({ reason: 'VALUE_OPAQUE', indexes: opaque });
  if (passed.length > 0) notices.push({ reason: 'VALUE_PASSED', indexes: passed });
  return notices;
}

/** One index for the whole call stays one; a column becomes 16 bytes a row. */
export const bodySubjects = (subjects: Subjects, rows: number): Uint8Array =>
  subjects.items instanceof Uint8Array ? subjects.items : subjects.rows(rows);

/** What one of several joined calls is charged. */
function ownDistinct(joined: Joined, encoded: Encoded, from: number, to: number): number {
  // Where all joined items differ, so do those of each call; and one item repeats none.
  const apart = to - from === 1 || encoded.distinct === rowCount(joined.items);
  return apart ? to - from : distinctOf(joined, from, to);
}

/** Equal items of a call are charged once; calls that were joined are counted one by one. */
export function distinctOf(
  { items, context, subjects }: Pick<Joined, 'items' | 'context' | 'subjects'>,
  from: number,
  to: number,
): number {
  const own = (cells: PerItem): PerItem =>
    cells instanceof Uint8Array ? cells : rowsBetween(cells, from, to);
  return dedupe(rowsBetween(items, from, to), own(context), own(subjects)).count;
}

export interface Answer {
  readonly column: Column;
  readonly errors: readonly ItemError[];
  readonly opaque: readonly number[];
  readonly passed: readonly number[];
}

function part(encoded: Encoded, from: number, to: number, whole: boolean): Answer {
  if (whole) return encoded;
  return {
    column: rowsBetween(encoded.column, from, to),
    errors: errorsWithin(encoded.errors, from, to),
    opaque: placesWithin(encoded.opaque, from, to),
    passed: placesWithin(encoded.passed, from, to),
  };
}

/** Rows that the engine refuses whatever the codec made of them. */
export function withRefused(answer: Answer, rows: readonly number[], reason: Reason): Answer {
  if (rows.length === 0) return answer;
  const refused = new Set(rows);
  const keep = (place: number): boolean => !refused.has(place);
  const errors = answer.errors.filter(({ index }) => keep(index));
  for (const index of rows) errors.push({ index, reason });
  errors.sort((a, b) => a.index - b.index);
  return {
    column: blankRows(answer.column, refused),
    errors,
    opaque: answer.opaque.filter(keep),
    passed: answer.passed.filter(keep),
  };
}

function blankRows(column: Column, rows: ReadonlySet<number>): Column {
  const parts = Array.from({ length: rowCount(column) }, (_, row) =>
    rows.has(row) ? EMPTY_ROW : rowsBetween(column, row, row + 1),
  );
  return parts.length === 0 ? EMPTY_COLUMN : joinColumns(parts);
}

const EMPTY_ROW: Column = { bytes: new Uint8Array(0), ends: new Uint32Array(1) };

/** ORDERED_STOP ends the columns before the first failed item; the others keep every row. */
export function deliver(answer: Answer, delivery: Delivery): Answer {
  const first = answer.errors[0];
  if (delivery !== 'ordered-stop' || first === undefined) return answer;
  const before = (place: number): boolean => place < first.index;
  return {
    column: rowsBetween(answer.column, 0, Math.min(first.index, rowCount(answer.column))),
    errors: [first],
    opaque: answer.opaque.filter(before),
    passed: answer.passed.filter(before),
  };
}
