import { Worker } from 'node:worker_threads';
import { CallError } from '../base/call-error.ts';
import { rowCount } from '../base/column.ts';
import type { Metrics } from '../base/metrics.ts';
import type {
  Control,
  ControlResult,
  FromWorker,
  Job,
  JobFailure,
  JobResult,
  Ready,
  ResultOf,
  ToWorker,
  WorkerStart,
} from './job.ts';
import { isFailure } from './job.ts';
import { pack, unpack } from './pack.ts';
import type { EngineLimits } from './parts.ts';

/** Rows one message carries at most before it goes: one lockstep call takes 8,192 blocks. */
const ROWS_MAX = 8_192;
/** A job of so many rows is worth a message of its own. */
const ROWS_AT_ONCE = 64;
/** Two messages under way keep the worker busy while the main thread reads the last answer. */
const IN_FLIGHT_MAX = 2;
/** A module whose calls take longer on average is a slow one: then it pays to wait until all the
 *  calls that were just answered have come again, and to send one full message at a time. */
const SLOW_CALL_MS = 0.5;

interface Waiting {
  readonly job: Job;
  readonly rows: number;
  readonly deadlineMs: number;
  readonly cancelled: () => boolean;
  readonly resolve: (result: JobResult) => void;
  readonly reject: (error: CallError) => void;
}

/** Jobs on their way to the worker and back, in one message. */
interface InFlight {
  readonly jobs: readonly Waiting[];
  readonly begunMs: number;
}

export interface KeyLaneOptions {
  readonly start: WorkerStart;
  readonly limits: Pick<EngineLimits, 'jobsWaitingMax' | 'moduleCallMsMax'>;
  readonly metrics: Pick<Metrics, 'keyJob'>;
  /** The module did not answer in time; whoever runs the process ends it. */
  readonly onHang: () => void;
  /** The worker died; calls fail with MODULE_UNAVAILABLE from now on. */
  readonly onDeath: (cause: unknown) => void;
}

/** The main thread's end of the key worker. Jobs go at once when the worker is idle; while it
 *  works they gather, so that concurrent small calls cross the module in one lockstep batch
 *  without a timer. Every call keeps its own answer and deadline. */
export class KeyLane {
  readonly #metrics: Pick<Metrics, 'keyJob'>;
  /** Calls into the module so far. */
  #moduleCalls = 0;
  readonly #worker: Worker;
  readonly #onHang: () => void;
  readonly #limits: KeyLaneOptions['limits'];
  readonly #waiting: Waiting[] = [];
  readonly #inFlight = new Map<number, InFlight>();
  readonly #controls = new Map<
    number,
    { resolve: (result: never) => void; reject: (error: CallError) => void }
  >();
  #seq = 0;
  #slow = false;
  #pumping: NodeJS.Immediate | undefined;
  #dead: CallError | undefined;
  #closing = false;
  #hang: NodeJS.Timeout | undefined;

  private constructor(worker: Worker, options: KeyLaneOptions) {
    this.#worker = worker;
    this.#onHang = options.onHang;
    this.#limits = options.limits;
    this.#metrics = options.metrics;
    worker.on('message', (message: FromWorker) => this.#take(message));
    // Whether it threw or just went, calls fail at once and the process hears of it, once.
    const gone = (cause: unknown): void => {
      const news = this.#dead === undefined && !this.#closing;
      this.#die(cause);
      if (news) options.onDeath(cause);
    };
    worker.on('error', gone);
    worker.on('exit', () => gone(undefined));
  }

  /** Starts the thread and opens the module. Rejects with MODULE_UNAVAILABLE or the reason the
   *  worker gave; the thread is gone then. */
  static async start(options: KeyLaneOptions): Promise<{ lane: KeyLane; ready: Ready }> {
    const worker = new Worker(new URL('./key-worker.ts', import.meta.url), {
      workerData: options.start,
      name: 'key-worker',
    });
    const ready = await new Promise<Ready>((resolve, reject) => {
      worker.once('error', (cause) =>
        reject(new CallError('MODULE_UNAVAILABLE', { cause, metadata: {} })),
      );
      worker.once('message', (message: FromWorker) => {
        if (message.kind === 'ready') resolve(message.ready);
        else if (message.kind === 'refused') reject(failureError(message.failure));
      });
      worker.once('exit', () => reject(new CallError('MODULE_UNAVAILABLE')));
    }).catch(async (error: unknown) => {
      await worker.terminate();
      throw error;
    });
    worker.removeAllListeners('error').removeAllListeners('exit');
    return { lane: new KeyLane(worker, options), ready };
  }

  /** The worker is gone. */
  get dead(): boolean {
    return this.#dead !== undefined;
  }

  get queued(): number {
    return this.#waiting.length;
  }

  /** Runs one job. Rejects with `CallError`: MODULE_UNAVAILABLE, DEADLINE_PASSED, CALL_CANCELLED,
   *  OVERLOADED, or what the worker found. */
  run<T extends Job>(
    job: T,
    call: { readonly deadlineMs: number; readonly cancelled: () => boolean },
  ): Promise<ResultOf[T['op']]> {
    if (this.#dead !== undefined) return Promise.reject(this.#dead);
    if (this.#waiting.length >= this.#limits.jobsWaitingMax) {
      return Promise.reject(new CallError('OVERLOADED', { retryDelayMs: 1_000 }));
    }
    return new Promise((resolve, reject) => {
      this.#waiting.push({
        job,
        rows: rowsOf(job),
        deadlineMs: call.deadlineMs,
        cancelled: call.cancelled,
        resolve: resolve as (result: JobResult) => void,
        reject,
      });
      this.#pumpSoon();
    });
  }

  control<T extends Control>(control: T): Promise<ControlResult[T['control']]> {
    if (this.#dead !== undefined) return Promise.reject(this.#dead);
    const seq = ++this.#seq;
    return new Promise((resolve, reject) => {
      this.#controls.set(seq, { resolve, reject });
      this.#pump(); // It does not overtake the jobs of this turn.
      this.#post({ kind: 'control', seq, control });
      this.#watch();
    });
  }

  /** Ends the thread after what it is doing. */
  async close(): Promise<void> {
    this.#closing = true;
    if (this.#dead === undefined) {
      const gone = new Promise((resolve) => this.#worker.once('exit', resolve));
      this.#pump(); // What waits for the end of this turn is still to be done.
      this.#post({ kind: 'close' });
      await gone;
    }
    clearTimeout(this.#hang);
  }

  #post(message: ToWorker, given: ArrayBuffer[] = []): void {
    this.#worker.postMessage(message, given);
  }

  /** A large job goes at once. Small ones, and all with a slow module, go after this turn of the
   *  loop: calls come in crowds, and a message costs more than a job of one value. */
  #pumpSoon(): void {
    const last = this.#waiting.at(-1);
    if (!this.#slow && last !== undefined && last.rows >= ROWS_AT_ONCE) this.#pump();
    else {
      this.#pumping ??= setImmediate(() => {
        this.#pumping = undefined;
        this.#pump();
      });
    }
  }

  #pump(): void {
    const inFlightMax = this.#slow ? 1 : IN_FLIGHT_MAX;
    while (this.#inFlight.size < inFlightMax && this.#waiting.length > 0) {
      const taken = this.#takeWaiting();
      if (taken.length === 0) continue;
      const seq = ++this.#seq;
      this.#inFlight.set(seq, { jobs: taken, begunMs: performance.now() });
      const jobs = pack(taken.map((waiting) => waiting.job));
      this.#post({ kind: 'jobs', seq, jobs }, [jobs.buffer]);
    }
    this.#watch();
  }

  /** The next message's jobs: in order, up to ROWS_MAX rows, without those nobody waits for. */
  #takeWaiting(): Waiting[] {
    const now = Date.now();
    const taken: Waiting[] = [];
    let rows = 0;
    let used = 0;
    for (const waiting of this.#waiting) {
      if (taken.length > 0 && rows + waiting.rows > ROWS_MAX) break;
      used += 1;
      // A passed deadline also cancels, and is what the caller must hear of: it may try again.
      if (waiting.deadlineMs <= now) waiting.reject(new CallError('DEADLINE_PASSED'));
      else if (waiting.cancelled()) waiting.reject(new CallError('CALL_CANCELLED'));
      else {
        taken.push(waiting);
        rows += waiting.rows;
      }
    }
    this.#waiting.splice(0, used);
    return taken;
  }

  #watch(): void {
    if (this.#inFlight.size + this.#controls.size === 0) {
      clearTimeout(this.#hang);
      this.#hang = undefined;
    } else this.#hang ??= setTimeout(this.#onHang, this.#limits.moduleCallMsMax).unref();
  }

  #take(message: FromWorker): void {
    if (message.kind === 'done') {
      const answered = this.#inFlight.get(message.seq);
      this.#inFlight.delete(message.seq);
      clearTimeout(this.#hang);
      this.#hang = undefined;
      const moduleCalls = message.moduleCalls - this.#moduleCalls;
      this.#moduleCalls = message.moduleCalls;
      this.#slow = message.busyMs > SLOW_CALL_MS * Math.max(1, moduleCalls);
      // The worker gets its next message before the answers are read: it need not wait for us.
      if (this.#slow) this.#pumpSoon();
      else this.#pump();
      if (answered !== undefined) this.#settle(answered, message, moduleCalls);
    } else if (message.kind === 'control') {
      const control = this.#controls.get(message.seq);
      this.#controls.delete(message.seq);
      clearTimeout(this.#hang);
      this.#hang = undefined;
      this.#watch();
      if (isFailure(message.result)) control?.reject(failureError(message.result));
      else control?.resolve(message.result as never);
    }
  }

  #settle(
    answered: InFlight,
    message: FromWorker & { readonly kind: 'done' },
    messageCalls: number,
  ): void {
    const seconds = (performance.now() - answered.begunMs) / 1_000;
    const results = unpack<(JobResult | JobFailure)[]>(message.results);
    let moduleCalls = messageCalls;
    for (const [i, { job, resolve, reject }] of answered.jobs.entries()) {
      const result = results[i]!;
      const ok = !isFailure(result);
      // The module's calls are those of the whole message: they are counted with its first job.
      this.#metrics.keyJob({ kind: job.op, ok, seconds, moduleCalls });
      moduleCalls = 0;
      if (ok) resolve(result);
      else reject(failureError(result));
    }
  }

  #die(cause: unknown): void {
    if (this.#dead !== undefined) return;
    this.#dead = new CallError('MODULE_UNAVAILABLE', { cause, retryDelayMs: 5_000 });
    clearTimeout(this.#hang);
    for (const { jobs } of this.#inFlight.values()) {
      for (const job of jobs) job.reject(this.#dead);
    }
    for (const waiting of this.#waiting) waiting.reject(this.#dead);
    for (const control of this.#controls.values()) control.reject(this.#dead);
    this.#inFlight.clear();
    this.#waiting.length = 0;
    this.#controls.clear();
  }
}

function rowsOf(job: Job): number {
  if ('values' in job) return rowCount(job.values);
  if ('tokens' in job) return rowCount(job.tokens);
  return job.op === 'mint' ? job.counters.length : 1;
}

const failureError = (failure: JobFailure): CallError =>
  new CallError(failure.failed, {
    cause: failure.detail,
    ...(failure.failed === 'MODULE_UNAVAILABLE' ? { retryDelayMs: 1_000 } : {}),
  });
