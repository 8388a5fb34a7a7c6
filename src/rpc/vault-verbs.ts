import type { TokenState } from '../engine/calls.ts';
import type { BackupRequest, JobState, VaultState } from '../engine/vault-calls.ts';
import type { CallOptions, Connection } from './client.ts';
import { type Job, JobService } from './gen/lockstep/v1/job_service_pb.ts';
import { VaultService } from './gen/lockstep/v1/vault_service_pb.ts';
import { JOB_STATE_NUMBER, STATE_NUMBER, VAULT_STATE_NUMBER, wordOf } from './names.ts';
import { msOf } from './rules.ts';
import { leafOf } from './token-verbs.ts';

export interface ShownVault {
  readonly id: string;
  readonly state: VaultState | '';
  readonly epoch: number;
  readonly liveTokens: number;
  readonly logSize: number;
  /** '' for none. */
  readonly restoredFrom: string;
  readonly erasuresReplayed: number;
  /** 0 for never. */
  readonly checkedMs: number;
  readonly faults: number;
  readonly freeBytes: number;
}

export interface ShownJob {
  readonly id: string;
  readonly kind: string;
  readonly target: string;
  readonly state: JobState | '';
  readonly done: number;
  /** 0 while unknown. */
  readonly total: number;
  readonly createdMs: number;
  /** 0 while it runs. */
  readonly endedMs: number;
  /** '' where it did not fail. */
  readonly reason: string;
  readonly result: Readonly<Record<string, string>>;
}

/** Rows of one page of a patient's tokens. */
export interface SubjectRow {
  readonly domain: string;
  readonly token: string;
  readonly state: TokenState | '';
}

export interface SubjectQuery {
  readonly subject: string;
  /** '' for all of the caller's organisation. */
  readonly domain: string;
  readonly purpose: string;
}

export interface Certificate {
  readonly certificate: string;
  readonly compacted: boolean;
}

export interface VaultVerbs {
  getVault(options?: CallOptions): Promise<ShownVault>;
  backUpVault(request: BackupRequest, options?: CallOptions): Promise<ShownJob>;
  checkVault(deep: boolean, requestId: string, options?: CallOptions): Promise<ShownJob>;
  compactVault(options?: CallOptions): Promise<ShownJob>;
  erasureCertificate(leafIndex: number, options?: CallOptions): Promise<Certificate>;
  /** Page by page; each page is a leaf of its own. */
  listSubjectTokens(
    query: SubjectQuery,
    options?: CallOptions,
  ): AsyncGenerator<readonly SubjectRow[]>;
  mergeSubjects(
    merge: {
      readonly survivor: string;
      readonly prior: string;
      readonly note: string;
      readonly requestId: string;
    },
    options?: CallOptions,
  ): Promise<{ readonly merge: string; readonly moved: number; readonly leafIndex: number }>;
  unmergeSubjects(
    merge: { readonly merge: string; readonly note: string; readonly requestId: string },
    options?: CallOptions,
  ): Promise<{ readonly moved: number; readonly leafIndex: number }>;
}

export interface JobVerbs {
  getJob(id: string, options?: CallOptions): Promise<ShownJob>;
  /** Newest first, page by page; `target` '' for all. */
  listJobs(target: string, options?: CallOptions): AsyncGenerator<readonly ShownJob[]>;
  /** Ends when the job has ended. */
  watchJob(id: string, options?: CallOptions): AsyncGenerator<ShownJob>;
  cancelJob(id: string, options?: CallOptions): Promise<ShownJob>;
}

export function vaultVerbs(connection: Connection): VaultVerbs {
  const vault = connection.stub(VaultService);
  return {
    async getVault(options) {
      const { vault: it } = await vault.getVault({}, options);
      return {
        id: it?.id ?? '',
        state: wordOf(VAULT_STATE_NUMBER, it?.state ?? 0) ?? '',
        epoch: Number(it?.epoch ?? 0n),
        liveTokens: Number(it?.liveTokens ?? 0n),
        logSize: Number(it?.logSize ?? 0n),
        restoredFrom: it?.restoredFrom ?? '',
        erasuresReplayed: Number(it?.erasuresReplayed ?? 0n),
        checkedMs: msOf(it?.checkTime),
        faults: Number(it?.faults ?? 0n),
        freeBytes: Number(it?.freeBytes ?? 0n),
      };
    },
    async backUpVault({ recipients, ...request }, options) {
      const message = { ...request, recipients: [...recipients] };
      return shownJob((await vault.backUpVault(message, options)).job);
    },
    async checkVault(deep, requestId, options) {
      return shownJob((await vault.checkVault({ deep, requestId }, options)).job);
    },
    async compactVault(options) {
      return shownJob((await vault.compactVault({}, options)).job);
    },
    async erasureCertificate(leafIndex, options) {
      const request = { leafIndex: BigInt(leafIndex) };
      const { certificate, compacted } = await vault.getErasureCertificate(request, options);
      return { certificate, compacted };
    },
    async *listSubjectTokens(query, options) {
      let pageToken = '';
      do {
        const page = await vault.listSubjectTokens({ ...query, pageToken }, options);
        yield page.tokens.map((token, i) => ({
          domain: page.domains[i] ?? '',
          token,
          state: wordOf(STATE_NUMBER, page.states[i] ?? 0) ?? '',
        }));
        pageToken = page.nextPageToken;
      } while (pageToken !== '');
    },
    async mergeSubjects(merge, options) {
      const answer = await vault.mergeSubjects(merge, options);
      return { merge: answer.merge, moved: Number(answer.moved), leafIndex: leafOf(answer) };
    },
    async unmergeSubjects(merge, options) {
      const answer = await vault.unmergeSubjects(merge, options);
      return { moved: Number(answer.moved), leafIndex: leafOf(answer) };
    },
  };
}

export function jobVerbs(connection: Connection): JobVerbs {
  const jobs = connection.stub(JobService);
  return {
    async getJob(job, options) {
      return shownJob((await jobs.getJob({ job }, options)).job);
    },
    async *listJobs(target, options) {
      let pageToken = '';
      do {
        const page = await jobs.listJobs({ target, pageToken }, options);
        yield page.jobs.map(shownJob);
        pageToken = page.nextPageToken;
      } while (pageToken !== '');
    },
    async *watchJob(job, options) {
      for await (const answer of jobs.watchJob({ job }, options)) yield shownJob(answer.job);
    },
    async cancelJob(job, options) {
      return shownJob((await jobs.cancelJob({ job }, options)).job);
    },
  };
}

function shownJob(job: Job | undefined): ShownJob {
  return {
    id: job?.id ?? '',
    kind: job?.kind ?? '',
    target: job?.target ?? '',
    state: wordOf(JOB_STATE_NUMBER, job?.state ?? 0) ?? '',
    done: Number(job?.done ?? 0n),
    total: Number(job?.total ?? 0n),
    createdMs: msOf(job?.createTime),
    endedMs: msOf(job?.endTime),
    reason: job?.error?.reason ?? '',
    result: job?.result ?? {},
  };
}
