import { readdirSync, readFileSync } from 'node:fs';

/** Time on a processor by kind of thread, in microseconds. */
export interface CpuTime {
  readonly main: number;
  readonly keyWorker: number;
  /** V8's helpers (garbage, compilation) and libuv's pool (files, fsync). */
  readonly helpers: number;
}

const NONE: CpuTime = { main: 0, keyWorker: 0, helpers: 0 };

/** What the threads of a process have used so far, as Linux counts it: unlike throughput it hardly
 *  depends on what else the machine does. All zeros where there is no /proc. */
export function cpuTimeOf(pid: number): CpuTime {
  let tasks: string[];
  try {
    tasks = readdirSync(`/proc/${pid}/task`);
  } catch {
    return NONE;
  }
  const used = { main: 0, keyWorker: 0, helpers: 0 };
  for (const task of tasks) {
    try {
      const name = readFileSync(`/proc/${pid}/task/${task}/comm`, 'utf8').trim();
      const nanos = Number(
        readFileSync(`/proc/${pid}/task/${task}/schedstat`, 'utf8').split(' ')[0],
      );
      if (Number(task) === pid) used.main += nanos / 1e3;
      else if (name === 'key-worker') used.keyWorker += nanos / 1e3;
      else used.helpers += nanos / 1e3;
    } catch {
      // The thread ended between the two reads.
    }
  }
  return used;
}

export const cpuBetween = (before: CpuTime, after: CpuTime): CpuTime => ({
  main: after.main - before.main,
  keyWorker: after.keyWorker - before.keyWorker,
  helpers: after.helpers - before.helpers,
});
