import type { ShownJob } from '../rpc/vault-verbs.ts';
import type { Verbs } from '../rpc/verbs.ts';
import { retrying } from './connection.ts';
import { EXIT, type Frame, type Io, printJson, printTable, write } from './frame.ts';
import { openProgress, type Progress } from './progress.ts';

export interface JobOptions {
  readonly json?: boolean;
  /** False: the command ends once the job runs. */
  readonly wait?: boolean;
}

/** Follows a job to its end, with progress, and prints it. Ctrl-C ends the watching, not the job.
 *  The exit code is 1 where the job failed, was cancelled, or found faults. */
export async function followJob(
  frame: Frame,
  verbs: Verbs,
  begun: ShownJob,
  options: JobOptions,
): Promise<number> {
  if (options.wait === false) {
    await printJob(frame.io, begun, options);
    return EXIT.ok;
  }
  try {
    // Where a server goes away or a connection ends, the watch goes on from the job as it is then.
    const job = await retrying(() => watch(frame, verbs, begun), frame.signal);
    await printJob(frame.io, job, options);
    return exitOf(job);
  } catch (cause) {
    if (frame.signal.aborted) {
      const again = `lockstep job watch ${begun.id}`;
      await write(frame.io.stderr, `lockstep: the job goes on; see \`${again}\`\n`);
    }
    throw cause;
  }
}

async function watch(frame: Frame, verbs: Verbs, begun: ShownJob): Promise<ShownJob> {
  let last = begun;
  let progress: Progress | undefined;
  try {
    for await (const job of verbs.watchJob(begun.id, { signal: frame.signal })) {
      last = job;
      if (progress === undefined && (job.total > 0 || job.done > 0)) {
        progress = openProgress(frame.io, job.total > 0 ? job.total : undefined);
      }
      progress?.at(job.done, job.done);
    }
  } finally {
    progress?.stop();
  }
  frame.signal.throwIfAborted();
  return last;
}

/** A check that found something is done, and yet says no. */
export function exitOf({ state, result }: ShownJob): number {
  if (state === 'running') return EXIT.ok;
  const faults = Number(result['faults'] ?? 0);
  return state === 'done' && faults === 0 ? EXIT.ok : EXIT.failed;
}

export async function printJob(io: Io, job: ShownJob, options: JobOptions): Promise<void> {
  if (options.json === true) await printJson(io, jsonOf(job));
  else await printTable(io, rowsOf(job));
}

const timeOf = (ms: number): string => new Date(ms).toISOString();

/** Times as texts; what is not there is left out. */
export function jsonOf(job: ShownJob): Readonly<Record<string, unknown>> {
  const { createdMs, endedMs, reason, ...rest } = job;
  return {
    ...rest,
    created: timeOf(createdMs),
    ...(endedMs === 0 ? {} : { ended: timeOf(endedMs) }),
    ...(reason === '' ? {} : { reason }),
  };
}

export const doneOf = ({ done, total }: ShownJob): string =>
  total === 0 ? String(done) : `${done} of ${total}`;

function rowsOf(job: ShownJob): string[][] {
  return [
    ['job', job.id],
    ['kind', job.kind],
    ['state', job.reason === '' ? job.state : `${job.state}: ${job.reason}`],
    ['done', doneOf(job)],
    ['begun', timeOf(job.createdMs)],
    ...(job.endedMs === 0 ? [] : [['ended', timeOf(job.endedMs)]]),
    ...Object.entries(job.result),
  ];
}
