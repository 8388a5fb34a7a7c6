import { rowStart } from '../base/column.ts';
import type { RecordBatch } from '../vault/record-batches.ts';
import type { Parts } from './parts.ts';

/** What opening every record can find beyond what the rows tell. */
export type DeepProblem =
  /** A record that does not open under its domain's keys and its counter. */
  | 'record-unreadable'
  /** The value of a static token leads to another token, or to none. */
  | 'index-wrong';

const INDEX_BYTES = 16;
/** Nobody waits for these jobs: they are as long as they are. */
const UNHURRIED = { deadlineMs: Number.POSITIVE_INFINITY, cancelled: () => false };

/** Opens every record of the vault in the module, as of one moment and while calls go on. */
export async function* deepCheck(
  parts: Parts,
  progress: (records: number) => void,
): AsyncGenerator<DeepProblem> {
  const copy = await parts.vault.copies.take();
  let seen = 0;
  try {
    for await (const batch of copy.records()) {
      yield* checkBatch(parts, batch);
      seen += batch.counters.length;
      progress(seen);
    }
  } finally {
    await copy.close();
  }
}

async function* checkBatch(
  parts: Parts,
  { domain, counters, records }: RecordBatch,
): AsyncGenerator<DeepProblem> {
  const { vault, lane } = parts;
  const job = { op: 'reindex', domain, counters, records } as const;
  const { indexes, known } = await lane.run(job, UNHURRIED);
  for (const opened of known) if (opened === 0) yield 'record-unreadable';
  if (parts.domains.get(domain)?.spec.kind !== 'static') return;
  const found = await vault.find(domain, indexes.subarray(0, counters.length * INDEX_BYTES));
  const suspects = [...counters.keys()].filter(
    (row) => known[row] === 1 && found[row] !== counters[row],
  );
  if (suspects.length === 0) return;
  // What was erased since the moment of the copy is no finding.
  const there = await vault.read(
    domain,
    Float64Array.from(suspects, (row) => counters[row]!),
  );
  for (const i of suspects.keys()) {
    if (there.ends[i]! > rowStart(there, i)) yield 'index-wrong';
  }
}
