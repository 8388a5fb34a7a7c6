import { CallError } from '../base/call-error.ts';
import type { Clock } from '../base/clock.ts';
import type { Logger } from '../base/logger.ts';
import type { Reason } from '../base/reason.ts';
import type { Vault } from '../vault/vault.ts';
import { ulid } from './ulid.ts';
import type { JobState, JobView } from './vault-calls.ts';

const STATE = 'jobs';
const KEPT_MS = 30 * 86_400_000;
const KEPT_MAX = 1_000;
/** A watcher hears this often, and of the end at once. */
const WATCH_MS = 1_000;

/** The call that started a job, so that its repetition finds the job. Hashes, hex. */
export interface JobRequest {
  /** Of caller, method and request id. */
  readonly key: string;
  /** Of the message. */
  readonly digest: string;
  /** Of the call. */
  readonly leafIndex: number;
  readonly leafHash: string;
}

/** A request is known this long. */
const REQUEST_KEPT_MS = 86_400_000;

/** What the work of a job is given. */
export interface JobControl {
  /** Units done and in all, 0 while unknown. Cheap: call it as often as you like. */
  progress(done: number, total: number): void;
  /** A small result; the last one of a name counts. Never a value, token or subject. */
  result(name: string, text: string): void;
  /** Fires when the job is cancelled and when the engine ends: clean up, then throw. */
  readonly signal: AbortSignal;
}

interface Running {
  readonly stop: AbortController;
  readonly ended: Promise<void>;
}

/** Work that outlives its call: running jobs and those of the last 30 days, at most 1,000. They are
 *  stored when they begin and when they end, not as they go on, so that after a crash a job that
 *  ran shows as failed. Work is not taken up again by itself. */
export class JobBook {
  readonly #vault: Pick<Vault, 'saveState'>;
  readonly #clock: Clock;
  readonly #logger: Logger;
  /** In the order in which they began. */
  readonly #jobs = new Map<string, JobView>();
  /** By job, where its call named itself. */
  readonly #requests = new Map<string, JobRequest>();
  readonly #running = new Map<string, Running>();
  readonly #watchers = new Map<string, Set<() => void>>();
  #saved: Promise<void> = Promise.resolve();
  #closed = false;

  private constructor(vault: Pick<Vault, 'saveState'>, clock: Clock, logger: Logger) {
    this.#vault = vault;
    this.#clock = clock;
    this.#logger = logger;
  }

  /** Reads the jobs of earlier runs. Rejects with `CallError`. */
  static async open(
    vault: Pick<Vault, 'saveState' | 'loadState'>,
    clock: Clock,
    logger: Logger,
  ): Promise<JobBook> {
    const book = new JobBook(vault, clock, logger);
    const stored = await vault.loadState(STATE);
    const rows = stored === undefined ? [] : decode(stored);
    for (const { request, ...job } of rows) {
      book.#jobs.set(job.id, job.state === 'running' ? lost(job, clock.nowMs()) : job);
      if (request !== undefined) book.#requests.set(job.id, request);
    }
    return book;
  }

  /** Starts the work at once, unless one of this kind and target runs: then that one is given.
   *  Whatever the work throws ends the job; a CallError says why, anything else is INTERNAL. Throws
   *  DRAINING once the book is closed. */
  start(
    kind: JobView['kind'],
    target: string,
    work: (control: JobControl) => Promise<void>,
    request?: JobRequest,
  ): JobView {
    if (this.#closed) throw new CallError('DRAINING');
    for (const id of this.#running.keys()) {
      const job = this.#jobs.get(id)!;
      if (job.kind === kind && job.target === target) return job;
    }
    const createdMs = this.#clock.nowMs();
    const id = ulid(createdMs);
    const job = { id, kind, target, createdMs, ...UNBEGUN };
    this.#jobs.set(id, job);
    if (request !== undefined) this.#requests.set(id, request);
    const stop = new AbortController();
    this.#running.set(id, { stop, ended: this.#run(job, stop.signal, work) });
    this.#forget();
    this.#save();
    return job;
  }

  /** The job that this request started in the last 24 h. Throws REQUEST_ID_REUSED where the request
   *  was for another message. */
  startedBy(
    key: string,
    digest: string,
  ): { readonly job: JobView; readonly request: JobRequest } | undefined {
    const oldestMs = this.#clock.nowMs() - REQUEST_KEPT_MS;
    for (const [id, request] of this.#requests) {
      const job = this.#jobs.get(id);
      if (request.key !== key || job === undefined || job.createdMs < oldestMs) continue;
      if (request.digest !== digest) throw new CallError('REQUEST_ID_REUSED');
      return { job, request };
    }
    return undefined;
  }

  /** undefined for none. */
  get(id: string): JobView | undefined {
    return this.#jobs.get(id);
  }

  /** Newest first, of this target ('' for all), behind the job `after` ('' for the start). */
  list(target: string, after: string, limit: number): readonly JobView[] {
    const found: JobView[] = [];
    // ULIDs sort by time, so a page goes on right even where its last job is forgotten.
    for (const job of [...this.#jobs.values()].sort((a, b) => (a.id < b.id ? 1 : -1))) {
      if (after !== '' && job.id >= after) continue;
      if (found.length >= limit) break;
      if (target === '' || job.target === target) found.push(job);
    }
    return found;
  }

  /** As it is now, then each second, changed or not, and at its end. Throws RESOURCE_NOT_FOUND. */
  async *watch(id: string): AsyncGenerator<JobView> {
    for (;;) {
      const job = this.#jobs.get(id);
      if (job === undefined) throw new CallError('RESOURCE_NOT_FOUND');
      yield job;
      if (job.state !== 'running') return;
      // It may have ended while its watcher was busy with what it heard last.
      if (this.#running.has(id)) await this.#later(id);
    }
  }

  /** Asks the job to stop; it shows as cancelled once it has. One that has ended stays as it is.
   *  Throws RESOURCE_NOT_FOUND. */
  cancel(id: string): JobView {
    const job = this.#jobs.get(id);
    if (job === undefined) throw new CallError('RESOURCE_NOT_FOUND');
    this.#running.get(id)?.stop.abort(CANCELLED);
    return job;
  }

  /** Resolves when what began or ended so far is stored, or could not be. */
  async stored(): Promise<void> {
    await this.#saved;
  }

  /** Stops the jobs that run, waits for them, and starts none any more. Before the vault closes. */
  async close(): Promise<void> {
    this.#closed = true;
    const running = [...this.#running.values()];
    for (const { stop } of running) stop.abort(DRAINED);
    await Promise.all(running.map(({ ended }) => ended));
    await this.#saved;
  }

  async #run(
    { id, kind }: JobView,
    signal: AbortSignal,
    work: (control: JobControl) => Promise<void>,
  ): Promise<void> {
    await Promise.resolve(); // Its starter gets the job before it can have ended.
    const control: JobControl = {
      progress: (done, total) => this.#change(id, { done, total }),
      result: (name, text) =>
        this.#change(id, { result: { ...this.#jobs.get(id)?.result, [name]: text } }),
      signal,
    };
    try {
      signal.throwIfAborted();
      await work(control);
      this.#end(id, 'done', undefined);
    } catch (cause) {
      if (signal.reason === CANCELLED) this.#end(id, 'cancelled', undefined);
      else {
        const reason = signal.reason === DRAINED ? 'DRAINING' : reasonOf(cause);
        this.#logger.error('job-failed', { state: kind, reason }, cause);
        this.#end(id, 'failed', reason);
      }
    }
  }

  #end(id: string, state: JobState, reason: Reason | undefined): void {
    this.#running.delete(id);
    this.#change(id, { state, reason, endedMs: this.#clock.nowMs() });
    for (const wake of [...(this.#watchers.get(id) ?? [])]) wake();
    this.#forget();
    this.#save();
  }

  #change(id: string, changed: Partial<JobView>): void {
    const job = this.#jobs.get(id);
    if (job === undefined) return;
    this.#jobs.set(id, { ...job, ...changed });
  }

  /** Resolves when the job has ended, or a second is over. */
  #later(id: string): Promise<void> {
    return new Promise((resolve) => {
      const done = (): void => {
        clearTimeout(timer);
        watchers.delete(done);
        if (watchers.size === 0) this.#watchers.delete(id);
        resolve();
      };
      const timer = setTimeout(done, WATCH_MS);
      const watchers = this.#watchers.get(id) ?? new Set();
      this.#watchers.set(id, watchers.add(done));
    });
  }

  #forget(): void {
    const oldestMs = this.#clock.nowMs() - KEPT_MS;
    for (const { id, createdMs } of this.#jobs.values()) {
      if (createdMs >= oldestMs && this.#jobs.size <= KEPT_MAX) return;
      if (this.#running.has(id)) continue;
      this.#jobs.delete(id);
      this.#requests.delete(id);
    }
  }

  #rows(): JobRow[] {
    return [...this.#jobs.values()].map((job) => {
      const request = this.#requests.get(job.id);
      return request === undefined ? job : { ...job, request };
    });
  }

  /** In a row, each with what is there when its turn comes. A vault that takes nothing loses the
   *  record of a job, not the job. */
  #save(): void {
    this.#saved = this.#saved
      .then(() => this.#vault.saveState(STATE, encode(this.#rows())))
      .catch((cause: unknown) => this.#logger.warn('jobs-not-stored', {}, cause));
  }
}

const CANCELLED = new Error('cancelled');
const DRAINED = new Error('the engine ends');

const UNBEGUN = {
  state: 'running',
  done: 0,
  total: 0,
  endedMs: 0,
  reason: undefined,
  result: {},
} as const;

const reasonOf = (cause: unknown): Reason =>
  cause instanceof CallError ? cause.reason : 'INTERNAL';

/** It ran when the process ended. */
const lost = (job: JobView, endedMs: number): JobView => ({
  ...job,
  state: 'failed',
  reason: 'STORE_UNAVAILABLE',
  endedMs,
});

/** As it is stored. */
type JobRow = JobView & { readonly request?: JobRequest };

const encode = (rows: readonly JobRow[]): Uint8Array => Buffer.from(JSON.stringify(rows), 'utf8');

/** The row proves itself, so whatever does not parse is of another version. */
function decode(bytes: Uint8Array): readonly JobRow[] {
  const rows: unknown = JSON.parse(Buffer.from(bytes).toString('utf8'));
  if (!Array.isArray(rows)) throw new CallError('RECORD_CORRUPT');
  // JSON leaves out what is undefined.
  return rows.map((row: JobRow) => ({ ...row, reason: row.reason ?? undefined }));
}
