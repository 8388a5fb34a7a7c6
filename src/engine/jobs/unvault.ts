import { type Column, ColumnWriter, rowCount, rowStart } from '../../base/column.ts';
import type { ItemError } from '../../base/reason.ts';
import { dedupe } from '../../codec/dedupe.ts';
import type { PerItem } from '../../codec/domain.ts';
import { openOpaque } from '../../codec/opaque.ts';
import { countersOfTokens } from '../../codec/random.ts';
import type { Encoded } from '../../codec/rows.ts';
import { applyView } from '../../codec/view.ts';
import { sivOpen } from '../../modes/siv.ts';
import type { ColumnResult, LocateJob, LocateResult, Places, RevealJob } from '../job.ts';
import { openAliased } from './aliased.ts';
import { bodySubjects, deliver, type OpenDomain, type Shared, withRefused } from './derived.ts';
import {
  errorsWithin,
  joinColumns,
  pickRows,
  rowsBetween,
  spreadRows,
  startsOf,
  takeFixed,
} from './gather.ts';
import { Held } from './held.ts';
import { recordParts, valueStart } from './record.ts';
import { withoutFlagged } from './subject-flags.ts';
import { indexSubjects, SUBJECT_BYTES, type Subjects } from './subjects.ts';
import { counterBlocks, recordConstant, vaultKeys } from './vaulted.ts';

/** Counters of the tokens of several calls to one domain. */
export function runLocate(
  { subjectKey }: Shared,
  { compiled, keys }: OpenDomain,
  jobs: readonly LocateJob[],
): LocateResult[] {
  const starts = startsOf(jobs.map((job) => rowCount(job.tokens)));
  const tokens = joinColumns(jobs.map((job) => job.tokens));
  const located = countersOfTokens(vaultKeys(keys).count, compiled, tokens);
  // Only records that are shared are looked up by their subjects; others tell them when opened.
  const cells = jobs.map((job) => (compiled.spec.subjectsShared ? job.subject : undefined));
  const subjects = indexSubjects(subjectKey, cells);
  return jobs.map((job, i) => {
    const from = starts[i]!;
    const to = starts[i + 1]!;
    const errors = errorsWithin(located.errors, from, to);
    const counters = located.counters.slice(from, to);
    const all = counters.every((counter) => !Number.isNaN(counter));
    const good: Places = all
      ? undefined
      : Uint32Array.from([...counters.keys()].filter((row) => !Number.isNaN(counters[row])));
    return {
      good,
      counters: good === undefined ? counters : Float64Array.from(good, (row) => counters[row]!),
      subjects: goodSubjects(subjects[i]!, good, to - from),
      errors,
      distinct: dedupe(job.tokens).count,
    };
  });
}

function goodSubjects(subjects: Subjects, good: Places, total: number): Uint8Array {
  const { items } = subjects;
  if (items instanceof Uint8Array && items.length === 0) return items;
  const rows = subjects.rows(total);
  return good === undefined ? rows : takeFixed(rows, SUBJECT_BYTES, good);
}

/** Values of sealed records, of several calls to one domain and view. */
export function runReveal(
  shared: Shared,
  domain: OpenDomain,
  jobs: readonly RevealJob[],
): ColumnResult[] {
  const { mac, ctr } = vaultKeys(domain.keys);
  const starts = startsOf(jobs.map((job) => rowCount(job.records)));
  const counters = new Float64Array(starts.at(-1)!);
  for (const [i, job] of jobs.entries()) counters.set(job.counters, starts[i]!);
  const perJob = indexSubjects(
    shared.subjectKey,
    jobs.map((job) => job.subject),
  );
  const records = joinColumns(jobs.map((job) => job.records));
  const associated = [recordConstant(domain.compiled), counterBlocks(counters)];
  const opened = sivOpen(mac, ctr, associated, records);
  return jobs.map((job, i) => {
    const from = starts[i]!;
    const own = {
      plain: rowsBetween(opened.plain, from, starts[i + 1]!),
      ok: opened.ok.subarray(from, starts[i + 1]!),
    };
    return revealOne(shared, domain, job, own, perJob[i]!);
  });
}

type Opened = ReturnType<typeof sivOpen>;

/** Subjects that records are bound to, 16 bytes a row, zeros for none or where one did not open. */
function ownersOf(records: Column): Uint8Array {
  const owners = new Uint8Array(rowCount(records) * SUBJECT_BYTES);
  for (let row = 0; row < rowCount(records); row++) {
    const at = recordParts(records, row)?.subject;
    if (at === undefined) continue;
    owners.set(records.bytes.subarray(at, at + SUBJECT_BYTES), row * SUBJECT_BYTES);
  }
  return owners;
}

function revealOne(
  shared: Shared,
  domain: OpenDomain,
  job: RevealJob,
  opened: Opened,
  subjects: Subjects,
): ColumnResult {
  const total = rowCount(job.tokens);
  const { column, errors, opaque } = assemble(domain, job, opened, subjects);
  const shown = {
    column: applyView(domain.compiled, column, job.view),
    errors,
    opaque,
    passed: [],
  };
  const unnamed = domain.compiled.spec.subjectRequired ? subjects.unnamed : [];
  const answer = deliver(withRefused(shown, unnamed, 'SUBJECT_REQUIRED'), job.delivery);
  const result: { -readonly [K in keyof ColumnResult]: ColumnResult[K] } = {
    ...answer,
    distinct: total,
    body: undefined,
  };
  if (job.whose === 'anyone') result.subjects = ownersOf(opened.plain);
  const failed = job.delivery === 'all-or-nothing' && answer.errors.length > 0;
  if (job.seal && !failed) {
    const rows = rowCount(answer.column);
    const body = {
      tokens: rowsBetween(job.tokens, 0, rows),
      subjects: bodySubjects(subjects, rows),
      errors: answer.errors,
      created: new Uint8Array(0),
      notices: [],
    };
    shared.bodies.add(body, (sealed) => {
      result.body = sealed;
    });
  }
  return result;
}

/** Opened records at their tokens' places. No record is TOKEN_NOT_FOUND, and so is one of another
 *  subject or context; one that does not open is RECORD_CORRUPT. */
function assemble(
  domain: OpenDomain,
  job: RevealJob,
  opened: Opened,
  subjects: Subjects,
): { column: Column; errors: ItemError[]; opaque: number[] } {
  const total = rowCount(job.tokens);
  const subjectRows = subjects.rows(total);
  const failed = new Set(job.errors.map(({ index }) => index));
  const errors: ItemError[] = [...job.errors];
  const opaque: number[] = [];
  const out = new ColumnWriter(total, opened.plain.bytes.length);
  const sealedRows = opaqueValues(domain, job, subjects, failed);
  const held = job.holds && new Held(job.holds);
  for (let row = 0, next = 0; row < total; row++) {
    if (job.good === undefined || job.good[next] === row) {
      const record = next++;
      const start = rowStart(job.records, record) === job.records.ends[record]! ? -1 : 0;
      if (start === 0 && opened.ok[record] === 0)
        errors.push({ index: row, reason: 'RECORD_CORRUPT' });
      else {
        const at =
          start < 0
            ? -1
            : job.whose === 'anyone'
              ? (recordParts(opened.plain, record)?.value ?? -1)
              : valueStart(opened.plain, record, subjectRows, job.context, row, domain.groups);
        const unknown = (start < 0 && held?.missing(row)) || 'TOKEN_NOT_FOUND';
        const reason = at < 0 ? unknown : held?.open(row);
        if (reason !== undefined) errors.push({ index: row, reason });
        else out.append(opened.plain.bytes, at, opened.plain.ends[record]!);
      }
    } else if (!failed.has(row)) {
      const value = sealedRows.get(row);
      if (value === undefined) errors.push({ index: row, reason: 'TOKEN_NOT_FOUND' });
      else if (value === STOPPED) errors.push({ index: row, reason: 'TOKEN_RESTRICTED' });
      else {
        out.append(value);
        opaque.push(row);
      }
    }
    out.endRow();
  }
  return { column: out.finish(), errors: errors.sort((a, b) => a.index - b.index), opaque };
}

/** Stands for the value of a subject that was restricted. */
const STOPPED = new Uint8Array(0);

/** Values of opaque tokens by row; those that do not open are absent. */
function opaqueValues(
  { compiled, keys, groups, flags }: OpenDomain,
  job: RevealJob,
  subjects: Subjects,
  failed: ReadonlySet<number>,
): Map<number, Uint8Array> {
  if (job.good === undefined) return new Map();
  const good = new Set(job.good);
  const rows = Array.from(job.tokens.ends, (_, row) => row).filter(
    (row) => !good.has(row) && !failed.has(row),
  );
  if (rows.length === 0) return new Map();
  const take = (cells: PerItem, places: ArrayLike<number> & Iterable<number>): PerItem =>
    cells instanceof Uint8Array ? cells : pickRows(cells, places);
  const tokens = pickRows(job.tokens, rows);
  const context = take(job.context ?? new Uint8Array(0), rows);
  const own = take(subjects.items, rows);
  const open = (places: Uint32Array, owners: PerItem): Encoded => {
    const own = pickRows(tokens, places);
    const opened = openOpaque(keys, compiled, own, take(context, places), owners);
    // They have no record: what was erased is told by the subject.
    return withoutFlagged(flags, opaqueRows(opened, places.length), owners);
  };
  const first = open(Uint32Array.from(rows.keys()), own);
  const { column, errors } = openAliased(groups, own, first, open);
  const shut = new Map(errors.map(({ index, reason }) => [index, reason]));
  return new Map(
    rows.flatMap((row, i): [number, Uint8Array][] => {
      if (shut.get(i) === 'TOKEN_RESTRICTED') return [[row, STOPPED]];
      if (shut.has(i)) return [];
      return [[row, column.bytes.slice(rowStart(column, i), column.ends[i]!)]];
    }),
  );
}

/** A row for each token, with the reasons of those that did not open. */
function opaqueRows(opened: ReturnType<typeof openOpaque>, total: number): Encoded {
  const errors = opened.reasons.flatMap((reason, index): ItemError[] =>
    reason === undefined ? [] : [{ index, reason }],
  );
  const column = spreadRows(opened.column, opened.good, total);
  return { column, errors, distinct: total, opaque: [], passed: [] };
}
