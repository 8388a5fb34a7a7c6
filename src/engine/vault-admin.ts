import { statfs } from 'node:fs/promises';
import { CallError } from '../base/call-error.ts';
import type { Caller } from '../base/caller.ts';
import { authorise } from '../policy/view.ts';
import { startBackup } from './backup/backup.ts';
import { loadRestored } from './backup/finish-restore.ts';
import type { Receipt } from './calls.ts';
import { certificateOf } from './certificate-of.ts';
import { startCompaction } from './compaction.ts';
import { deepCheck } from './deep-check.ts';
import type { JobControl } from './job-book.ts';
import { countDifferences } from './log-count.ts';
import type { Parts } from './parts.ts';
import { commitLeaf, plainEntry } from './receipts.ts';
import { startOnce } from './start-once.ts';
import type { BackupRequest, JobView, VaultView } from './vault-calls.ts';
import { requireLog, vaultStateOf } from './writable.ts';

/** The one thing that these jobs concern. */
const VAULT = 'vault';
const CHECK_STATE = 'check';

/** What the last check found, as it is stored. */
interface LastCheck {
  readonly checkedMs: number;
  readonly faults: number;
}

/** The vault as officers see and keep it. Each verb is a right on the whole installation, asked for
 *  under the caller's organisation. */
export class VaultAdmin {
  readonly #parts: Parts;

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  async state(caller: Caller): Promise<VaultView> {
    const parts = this.#parts;
    this.#authorise(caller);
    const { checkedMs, faults } = await this.#lastCheck();
    const restored = await loadRestored(parts);
    const { bavail, bsize } = await statfs(parts.folders.data);
    let liveTokens = 0;
    for (const { spec, vaulted } of parts.domains.all()) {
      if (vaulted) liveTokens += parts.vault.liveCount(spec.id);
    }
    return {
      id: parts.keeper.state.installation,
      state: vaultStateOf(parts),
      epoch: parts.vault.continuity.epoch,
      liveTokens,
      logSize: parts.log.size,
      restoredFrom: restored?.backup ?? '',
      erasuresReplayed: restored?.erasures ?? 0,
      checkedMs,
      faults,
      freeBytes: bavail * bsize,
    };
  }

  async backUp(
    caller: Caller,
    request: BackupRequest,
  ): Promise<{ readonly job: JobView; readonly receipt: Receipt }> {
    this.#authorise(caller);
    requireLog(this.#parts);
    return startBackup(this.#parts, caller, request);
  }

  async check(caller: Caller, deep: boolean, requestId: string): Promise<JobView> {
    const parts = this.#parts;
    this.#authorise(caller);
    requireLog(parts);
    const call = { caller, method: 'CheckVault', requestId, message: { deep } };
    const log = () => this.#log(caller, 'CheckVault', { deep: deep ? 1 : 0 });
    const { job } = await startOnce(parts, call, log, (request) =>
      parts.jobs.start('check', VAULT, (control) => this.#check(control, deep), request),
    );
    return job;
  }

  /** Findings are counted by problem into the results. */
  async #check({ progress, result, signal }: JobControl, deep: boolean): Promise<void> {
    const { vault, clock } = this.#parts;
    const counts = new Map<string, number>();
    let faults = 0;
    const onRows = (rows: number): void => {
      signal.throwIfAborted();
      progress(rows, 0);
    };
    const found = (problem: string): void => {
      signal.throwIfAborted();
      faults += 1;
      counts.set(problem, (counts.get(problem) ?? 0) + 1);
    };
    for await (const { problem } of vault.fsck({ progress: onRows })) found(problem);
    for (const _ of await countDifferences(this.#parts)) found('log-differs');
    if (deep) for await (const problem of deepCheck(this.#parts, onRows)) found(problem);
    for (const [problem, count] of counts) result(problem, String(count));
    result('faults', String(faults));
    const last: LastCheck = { checkedMs: clock.nowMs(), faults };
    await vault.saveState(CHECK_STATE, Buffer.from(JSON.stringify(last), 'utf8'));
  }

  async #lastCheck(): Promise<LastCheck> {
    const stored = await this.#parts.vault.loadState(CHECK_STATE);
    if (stored === undefined) return { checkedMs: 0, faults: 0 };
    return JSON.parse(Buffer.from(stored).toString('utf8')) as LastCheck;
  }

  async compact(caller: Caller): Promise<{ readonly job: JobView; readonly receipt: Receipt }> {
    this.#authorise(caller);
    requireLog(this.#parts);
    const receipt = await this.#log(caller, 'CompactVault', {});
    return { job: startCompaction(this.#parts), receipt };
  }

  async certificate(
    caller: Caller,
    leafIndex: number,
  ): Promise<{ readonly certificate: string; readonly compacted: boolean }> {
    this.#authorise(caller);
    return certificateOf(this.#parts, leafIndex);
  }

  async job(caller: Caller, id: string): Promise<JobView> {
    this.#authorise(caller);
    const job = this.#parts.jobs.get(id);
    if (job === undefined) throw new CallError('RESOURCE_NOT_FOUND');
    return job;
  }

  async jobs(
    caller: Caller,
    target: string,
    after: string,
    limit: number,
  ): Promise<readonly JobView[]> {
    this.#authorise(caller);
    return this.#parts.jobs.list(target, after, limit);
  }

  async *watch(caller: Caller, id: string): AsyncGenerator<JobView> {
    this.#authorise(caller);
    yield* this.#parts.jobs.watch(id);
  }

  async cancel(caller: Caller, id: string): Promise<JobView> {
    this.#authorise(caller);
    return this.#parts.jobs.cancel(id);
  }

  #log(
    caller: Caller,
    verb: string,
    extra: Readonly<Record<string, string | number>>,
  ): Promise<Receipt> {
    const more = { done: 1, failed: 0, extra };
    return commitLeaf(this.#parts, {
      entry: plainEntry(this.#parts, caller, verb, '', more),
      body: undefined,
    });
  }

  /** The vault is no domain: what counts is the right on all domains of the organisation. */
  #authorise(caller: Caller): void {
    const domain = { id: `${caller.organisation}/-`, kind: 'fpe', format: '' } as const;
    authorise(this.#parts.policy, {
      caller,
      action: 'ManageVault',
      domain,
      purpose: '',
      items: 0,
    });
  }
}
