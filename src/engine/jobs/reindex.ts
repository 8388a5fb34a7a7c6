import { ColumnWriter, rowCount, rowStart } from '../../base/column.ts';
import { canonicalise, indexMessages } from '../../codec/random.ts';
import type { BlockKey } from '../../keys/key.ts';
import { cmacMany } from '../../modes/cmac.ts';
import { sivOpen } from '../../modes/siv.ts';
import type { ReindexJob, ReindexResult, SubjectsJob, SubjectsResult } from '../job.ts';
import type { OpenDomain } from './derived.ts';
import { joinColumns, startsOf } from './gather.ts';
import { recordParts } from './record.ts';
import { indexSubjects, SUBJECT_BYTES } from './subjects.ts';
import { counterBlocks, idemOf, recordConstant, vaultKeys } from './vaulted.ts';

const INDEX_BYTES = 16;

/** Keyed indexes of patients' ids, of several calls. */
export function runSubjects(
  subjectKey: BlockKey,
  idemKey: BlockKey,
  jobs: readonly SubjectsJob[],
): SubjectsResult[] {
  const perJob = indexSubjects(
    subjectKey,
    jobs.map((job) => job.subjects),
  );
  const idem = idemOf(idemKey, jobs);
  return jobs.map((job, i) => ({
    indexes: perJob[i]!.rows(rowCount(job.subjects)),
    idem: idem[i],
  }));
}

/** What sealed records say of their other rows, of several calls to one domain. */
export function runReindex(
  { compiled, keys }: OpenDomain,
  jobs: readonly ReindexJob[],
): ReindexResult[] {
  const { mac, ctr, idx } = vaultKeys(keys);
  const starts = startsOf(jobs.map((job) => job.counters.length));
  const total = starts.at(-1)!;
  const counters = new Float64Array(total);
  for (const [i, job] of jobs.entries()) counters.set(job.counters, starts[i]!);
  const records = joinColumns(jobs.map((job) => job.records));
  const associated = [recordConstant(compiled), counterBlocks(counters)];
  const { plain, ok } = sivOpen(mac, ctr, associated, records);
  const subjects = new Uint8Array(total * SUBJECT_BYTES);
  const values = new ColumnWriter(total, plain.bytes.length);
  const contexts = new ColumnWriter(total, total);
  const bound = new ColumnWriter(total, subjects.length);
  const known = new Uint8Array(total);
  for (let row = 0; row < total; row++) {
    const parts = ok[row] === 1 ? recordParts(plain, row) : undefined;
    if (parts !== undefined) {
      known[row] = 1;
      const { subject, context, value, end } = parts;
      subjects.set(plain.bytes.subarray(subject, subject + SUBJECT_BYTES), row * SUBJECT_BYTES);
      if (parts.bound) bound.append(plain.bytes, subject, subject + SUBJECT_BYTES);
      contexts.append(plain.bytes, context, value);
      values.append(plain.bytes, value, end);
    }
    bound.endRow();
    contexts.endRow();
    values.endRow();
  }
  const columns = { values: values.finish(), contexts: contexts.finish(), bound: bound.finish() };
  const canonical = canonicalise(compiled, columns.values, columns.contexts, columns.bound);
  const messages = indexMessages(canonical.normal, columns.contexts, columns.bound);
  const indexes = cmacMany(idx, messages);
  for (let row = 0; row < total; row++) {
    // A value that the format no longer takes has another index today than when it was stored.
    const { normal } = canonical;
    if (normal.ends[row] === rowStart(normal, row)) known[row] = 0;
    if (known[row] === 1) continue;
    indexes.fill(0, row * INDEX_BYTES, (row + 1) * INDEX_BYTES);
    subjects.fill(0, row * SUBJECT_BYTES, (row + 1) * SUBJECT_BYTES);
  }
  return jobs.map((_, i) => {
    const from = starts[i]!;
    const to = starts[i + 1]!;
    const own = (bytes: Uint8Array): Uint8Array =>
      bytes.slice(from * INDEX_BYTES, to * INDEX_BYTES);
    return { known: known.slice(from, to), indexes: own(indexes), subjects: own(subjects) };
  });
}
