import type { Caller } from '../base/caller.ts';
import type { Column } from '../base/column.ts';
import type { Plain } from '../base/plain.ts';
import type { ItemError, Reason } from '../base/reason.ts';
import type {
  BatchBase,
  CallBase,
  CallRules,
  Notice,
  PerCall,
  Receipt,
  TokenState,
} from './calls.ts';

/** 1:n tokens of a dynamic domain. */
export interface TokenizeMultipleCall extends BatchBase {
  readonly values: Plain;
  /** New tokens a value; 0 lists. */
  readonly count: number;
  readonly rules?: CallRules | undefined;
}

export interface MultipleAnswer {
  readonly tokens: Column;
  /** How many of `tokens` are each item's; as many as items. */
  readonly counts: Uint32Array;
  readonly errors: readonly ItemError[];
  readonly receipt: Receipt;
  readonly keyVersion: number;
  readonly notices: readonly Notice[];
}

/** What is to be restricted or erased. */
export type TargetItems =
  | { readonly by: 'tokens'; readonly tokens: Column }
  | { readonly by: 'values'; readonly values: Plain }
  /** All of the subject of the call; with domain '' in all domains of the caller's organisation. */
  | { readonly by: 'subject' };

export interface TargetCall extends CallBase {
  readonly items: TargetItems;
  readonly delivery: BatchBase['delivery'];
  readonly context: PerCall;
  /** `none` or `one`. */
  readonly subject: PerCall;
  readonly requestId: string;
}

export interface RestrictCall extends TargetCall {
  readonly lift: boolean;
}

export interface EraseCall extends TargetCall {
  readonly mode: 'delete' | 'unlink';
}

export interface TargetAnswer {
  /** Tokens concerned, item by item; one entry for a subject. */
  readonly counts: Uint32Array;
  readonly errors: readonly ItemError[];
  readonly receipt: Receipt;
}

export interface EraseAnswer extends TargetAnswer {
  /** Of the first stage: a C2SP signed note. */
  readonly certificate: string;
}

/** A page of a patient's tokens. `domain` '' means all of the caller's organisation. */
export interface SubjectTokensCall extends CallBase {
  readonly subject: Uint8Array;
  readonly limit: number;
  /** `next` of the page before; '' for the first. */
  readonly after: string;
}

export interface SubjectTokensAnswer {
  /** Row by row. */
  readonly domains: readonly string[];
  readonly tokens: Column;
  readonly states: readonly TokenState[];
  /** '' on the last page. */
  readonly next: string;
  readonly receipt: Receipt;
}

export interface MergeCall {
  readonly caller: Caller;
  readonly survivor: Uint8Array;
  readonly prior: Uint8Array;
  readonly note: string;
  readonly requestId: string;
  readonly deadlineMs: number;
}

export interface MergeAnswer {
  readonly merge: string;
  readonly moved: number;
  readonly receipt: Receipt;
}

/** One batch of pairs that keep their tokens. */
export interface ImportCall extends CallBase {
  readonly values: Plain;
  readonly tokens: Column;
  readonly subject: PerCall;
}

export interface ImportAnswer {
  readonly errors: readonly ItemError[];
  readonly receipt: Receipt;
}

export interface ExportCall extends CallBase {
  /** `row` of the last batch received; '' from the start. */
  readonly after: string;
}

export interface ExportBatch {
  readonly values: Plain;
  readonly tokens: Column;
  readonly row: string;
  readonly receipt: Receipt;
}

export type VaultState = 'serving' | 'low-space' | 'fenced' | 'restoring';

export interface VaultView {
  readonly id: string;
  readonly state: VaultState;
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

export type JobState = 'running' | 'done' | 'failed' | 'cancelled';

/** Work that outlives its call. */
export interface JobView {
  /** ULID. */
  readonly id: string;
  readonly kind: 'backup' | 'check' | 'compaction';
  readonly target: string;
  readonly state: JobState;
  readonly done: number;
  /** 0 while unknown. */
  readonly total: number;
  readonly createdMs: number;
  /** 0 while it runs. */
  readonly endedMs: number;
  /** Set where it failed. */
  readonly reason: Reason | undefined;
  readonly result: Readonly<Record<string, string>>;
}

export interface BackupRequest {
  /** A name, not a path. */
  readonly file: string;
  readonly recipients: readonly string[];
  readonly classic: boolean;
  readonly requestId: string;
}

/** The verbs on records as such and on the vault as a whole. Each rejects with `CallError`. */
export interface VaultVerbs {
  tokenizeMultiple(call: TokenizeMultipleCall): Promise<MultipleAnswer>;
  restrict(call: RestrictCall): Promise<TargetAnswer>;
  erase(call: EraseCall): Promise<EraseAnswer>;
  listSubjectTokens(call: SubjectTokensCall): Promise<SubjectTokensAnswer>;
  mergeSubjects(call: MergeCall): Promise<MergeAnswer>;
  unmergeSubjects(
    caller: Caller,
    merge: string,
    note: string,
    requestId: string,
  ): Promise<Omit<MergeAnswer, 'merge'>>;
  importTokens(call: ImportCall): Promise<ImportAnswer>;
  /** Batches of at most 1,000 pairs, ascending by row; each has its leaf before it is given. */
  exportTokens(call: ExportCall): AsyncGenerator<ExportBatch>;
  getVault(caller: Caller): Promise<VaultView>;
  backUpVault(
    caller: Caller,
    request: BackupRequest,
  ): Promise<{ readonly job: JobView; readonly receipt: Receipt }>;
  checkVault(caller: Caller, deep: boolean, requestId: string): Promise<JobView>;
  compactVault(caller: Caller): Promise<{ readonly job: JobView; readonly receipt: Receipt }>;
  erasureCertificate(
    caller: Caller,
    leafIndex: number,
  ): Promise<{ readonly certificate: string; readonly compacted: boolean }>;
  getJob(caller: Caller, id: string): Promise<JobView>;
  /** Newest first, after the job `after` ('' for the start). */
  listJobs(
    caller: Caller,
    target: string,
    after: string,
    limit: number,
  ): Promise<readonly JobView[]>;
  /** At each change, at most once a second, until the job has ended. */
  watchJob(caller: Caller, id: string): AsyncGenerator<JobView>;
  cancelJob(caller: Caller, id: string): Promise<JobView>;
}
