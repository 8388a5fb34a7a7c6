import type { Column } from '../base/column.ts';
import type { Delivery, DomainSpec, View } from '../base/domain.ts';
import type { ItemError, Reason } from '../base/reason.ts';
import type { ChangedGroup } from '../vault/subject-groups.ts';
import type { FlaggedSubjects } from '../vault/tombstones.ts';
import type { Head, HeadFound, HeadWritten } from './head-object.ts';
import type { Packed } from './pack.ts';

/** One for all rows, one a row, or none; plain data, for it crosses a thread boundary. */
export type Cells = Uint8Array | Column | undefined;

/** Which rows of a batch are meant, ascending; undefined where all are. */
export type Places = Uint32Array | undefined;

/** Names a request for the idempotency store: both are hashed under the `idem` key. */
export interface IdemNames {
  /** caller ‖ method ‖ request id. */
  readonly name: Uint8Array;
  /** SHA-256 of what was asked. */
  readonly digest: Uint8Array;
}

interface BatchJob {
  readonly domain: string;
  readonly context: Cells;
  readonly subject: Cells;
  readonly delivery: Delivery;
}

/** Values → tokens of the kinds without a vault. */
export interface EncodeJob extends BatchJob {
  readonly op: 'encode';
  readonly values: Column;
  /** Seal a log body of it. Off only where nothing is logged (bench of the worker alone). */
  readonly seal: boolean;
}

/** Tokens → values of the kinds without a vault. */
export interface DecodeJob extends BatchJob {
  readonly op: 'decode';
  readonly tokens: Column;
  readonly view: View;
  readonly seal: boolean;
}

/** Values → keyed indexes, first of the two jobs of a vaulted kind. */
export interface IndexJob extends BatchJob {
  readonly op: 'index';
  readonly values: Column;
  readonly idem: IdemNames | undefined;
}

/** Rows that get no record but an answer all the same: opaque tokens, and values left as they
 *  came. `column` has a row each of `rows`. */
export interface Remarks {
  readonly rows: Uint32Array;
  readonly column: Column;
  readonly opaque: readonly number[];
  readonly passed: readonly number[];
}

/** What rows of merged subjects may be known under: an entry for each other id of the subject. */
export interface Aliased {
  /** Places among the good rows, ascending; a place comes once for each id. */
  readonly rows: Uint32Array;
  /** Keyed indexes of the values for these ids, 16 bytes each. */
  readonly indexes: Uint8Array;
  /** The ids, 16 bytes each. */
  readonly ids: Uint8Array;
}

/** Counters → tokens, and sealed records for those newly minted; second job of a vaulted kind. */
export interface MintJob {
  readonly op: 'mint';
  readonly domain: string;
  /** Rows of the answer; those neither in `good` nor in `remarks` are empty. */
  readonly total: number;
  readonly good: Places;
  /** One a good row, in order. */
  readonly counters: Float64Array;
  /** Places in `counters`, ascending, whose records are to be sealed. */
  readonly newRows: Uint32Array;
  /** What the records keep; gives tokens their separators. A row an item. */
  readonly stored: Column;
  readonly context: Cells;
  /** 16 bytes an item, zeros where unbound. */
  readonly subjects: Uint8Array;
  /** One an item, or none. */
  readonly created: Uint8Array;
  readonly errors: readonly ItemError[];
  readonly remarks: Remarks | undefined;
  readonly seal: boolean;
}

/** Vaulted tokens → counters. */
export interface LocateJob extends BatchJob {
  readonly op: 'locate';
  readonly tokens: Column;
}

/** What the rules of tokens say of a batch of records. It is applied where the records are opened:
 *  only a subject and context that fit are told, and no value that is held back leaves the worker.
 *  */
export interface Holds {
  /** Rows that are not to be shown, ascending, and why. TOKEN_UNLINKED is said without a record
   *  too: there is none any more. */
  readonly refused: readonly ItemError[];
  /** Rows, ascending, whose reveals are counted: those past the limit are TOKEN_ENDED. */
  readonly rows: Uint32Array;
  /** Whose count it is, row by row as `rows`: a place in `left`. */
  readonly slots: Uint32Array;
  /** Reveals that are left. */
  readonly left: Uint32Array;
}

/** Sealed records → values. A row without a record is TOKEN_NOT_FOUND. Rows neither good nor failed
 *  are opaque tokens. */
export interface RevealJob extends BatchJob {
  readonly op: 'reveal';
  /** `anyone`: records open whoever they belong to and whatever their context, and `subjects` tells
   *  whose they are. For exports alone. */
  readonly whose?: 'anyone' | undefined;
  readonly tokens: Column;
  readonly good: Places;
  /** One a good row, in order. */
  readonly counters: Float64Array;
  /** Likewise. */
  readonly records: Column;
  readonly holds?: Holds | undefined;
  readonly errors: readonly ItemError[];
  readonly view: View;
  readonly seal: boolean;
}

/** A log body of its own, for verbs whose answer is put together on the main thread. */
export interface SealJob {
  readonly op: 'seal';
  readonly tokens: Column;
  readonly targets: Column | undefined;
  readonly subject: Cells;
  /** Instead of `subject`: keyed indexes, 16 bytes for all rows or for each. */
  readonly subjectIndexes?: Uint8Array | undefined;
  readonly errors: readonly ItemError[];
  /** One a row, or none. */
  readonly created?: Uint8Array | undefined;
  readonly notices?: readonly { readonly reason: string; readonly indexes: readonly number[] }[];
}

/** Patients' ids → keyed indexes, for verbs that name a patient and no value; and the names of a
 *  request. */
export interface SubjectsJob {
  readonly op: 'subjects';
  /** A row an id; an empty one is nobody. */
  readonly subjects: Column;
  readonly idem: IdemNames | undefined;
}

/** Sealed records → the keyed indexes by which their other rows are found. No value leaves the
 *  worker. */
export interface ReindexJob {
  readonly op: 'reindex';
  readonly domain: string;
  readonly counters: Float64Array;
  /** A row a counter, empty where there is none. */
  readonly records: Column;
}

/** A sealed log body opened again: for a replay, never for a client. */
export interface OpenBodyJob {
  readonly op: 'open-body';
  readonly sealed: Uint8Array;
}

export type Job =
  | EncodeJob
  | DecodeJob
  | IndexJob
  | MintJob
  | LocateJob
  | RevealJob
  | SealJob
  | SubjectsJob
  | ReindexJob
  | OpenBodyJob;

/** A body as the log takes it. */
export interface SealedBody {
  readonly sealed: Uint8Array;
  /** SHA-256(salt ‖ body), for the entry. */
  readonly hash: Uint8Array;
  readonly salt: Uint8Array;
}

/** What an encode, decode or reveal answers: a column with empty rows where `errors` says why. */
export interface ColumnResult {
  readonly column: Column;
  readonly errors: readonly ItemError[];
  /** Distinct items worked on: what a quota counts. */
  readonly distinct: number;
  readonly opaque: readonly number[];
  readonly passed: readonly number[];
  /** Absent where the job asked for none, or ALL_OR_NOTHING failed. */
  readonly body: SealedBody | undefined;
  /** Where the records are `anyone`'s: their subjects, 16 bytes a row, zeros for none. */
  readonly subjects?: Uint8Array;
}

export interface IndexResult {
  /** Rows of the batch; fewer than asked under ORDERED_STOP. */
  readonly total: number;
  /** Rows that get a record. */
  readonly good: Places;
  /** 16 bytes a good row, in order. */
  readonly indexes: Uint8Array;
  /** 16 bytes an item. */
  readonly subjects: Uint8Array;
  /** A row an item. */
  readonly stored: Column;
  readonly errors: readonly ItemError[];
  readonly distinct: number;
  readonly remarks: Remarks | undefined;
  /** Set where a good row names a merged subject that its token is bound to. */
  readonly aliased: Aliased | undefined;
  /** 16 bytes each, where asked. */
  readonly idem: { readonly key: Uint8Array; readonly digest: Uint8Array } | undefined;
}

export interface MintResult {
  readonly tokens: Column;
  /** One a row of `newRows`. */
  readonly records: Column;
  readonly body: SealedBody | undefined;
}

export interface LocateResult {
  /** Rows whose tokens have counters. */
  readonly good: Places;
  /** One a good row, in order. */
  readonly counters: Float64Array;
  /** 16 bytes a good row where the domain's records are shared and the call names a subject; else
   *  none. */
  readonly subjects: Uint8Array;
  readonly errors: readonly ItemError[];
  readonly distinct: number;
}

export interface SubjectsResult {
  /** 16 bytes a row, zeros for nobody. */
  readonly indexes: Uint8Array;
  /** 16 bytes each, where asked. */
  readonly idem: IndexResult['idem'];
}

export interface ReindexResult {
  /** 1 where the record opened; elsewhere the other columns hold zeros. */
  readonly known: Uint8Array;
  /** Of the values, 16 bytes a row. */
  readonly indexes: Uint8Array;
  /** Of the subjects that the records are bound to, 16 bytes a row, zeros for none. */
  readonly subjects: Uint8Array;
}

export interface OpenBodyResult {
  readonly tokens: Column;
  /** Exchange: the tokens that it made. */
  readonly targets: Column | undefined;
  /** As in the entry. */
  readonly hash: Uint8Array;
  /** None, 16 bytes for all rows, or 16 a row. */
  readonly subjects: Uint8Array;
  readonly errors: readonly ItemError[];
  readonly created: Uint8Array;
  readonly notices: readonly { readonly reason: string; readonly indexes: readonly number[] }[];
  readonly salt: Uint8Array;
}

export interface ResultOf {
  encode: ColumnResult;
  decode: ColumnResult;
  index: IndexResult;
  mint: MintResult;
  locate: LocateResult;
  reveal: ColumnResult;
  seal: SealedBody;
  subjects: SubjectsResult;
  reindex: ReindexResult;
  'open-body': OpenBodyResult;
}

export type JobResult = ResultOf[Job['op']];

/** The module and installation as the worker needs them to start. */
export interface WorkerStart {
  readonly module:
    | {
        readonly kind: 'pkcs11';
        readonly library: string;
        readonly token: string;
        readonly pinSource: string;
        readonly rootBackup?: 'none' | 'wrapped';
      }
    /** Tests and benches only. One seed makes the same roots again, so that data can be reopened.
     *  */
    | { readonly kind: 'insecure-memory'; readonly seed?: Uint8Array };
  readonly root: string;
  readonly checkpointKey: string;
  /** The catalogue as it stands on disk; undefined makes a new installation. */
  readonly catalogue: string | undefined;
  /** Bench only: added to every module call, to stand for a network HSM. */
  readonly moduleDelayMs: number;
}

/** The catalogue as it must be kept, after a change. */
export interface CatalogueState {
  readonly text: string;
  /** SHA-256, hex. */
  readonly hash: string;
  readonly generation: number;
  readonly installation: string;
  readonly domains: readonly DomainSpec[];
  readonly keyVersions: Readonly<Record<string, number>>;
}

/** Rare calls, one at a time. */
export type Control =
  | { readonly control: 'put-domain'; readonly spec: DomainSpec }
  | { readonly control: 'reload'; readonly catalogue: string }
  | { readonly control: 'sign'; readonly message: Uint8Array }
  | { readonly control: 'read-head' }
  | { readonly control: 'write-head'; readonly head: Head }
  /** Groups of merged subjects that have changed, or all there are (`whole`); durable before they
   *  are told here. */
  | {
      readonly control: 'aliases';
      readonly groups: readonly ChangedGroup[];
      readonly whole: boolean;
    }
  /** What was erased or stopped of subjects in a domain without records; likewise. */
  | ({ readonly control: 'subject-flags' } & FlaggedSubjects);

export interface ControlResult {
  'put-domain': CatalogueState;
  reload: CatalogueState;
  sign: Uint8Array;
  'read-head': HeadFound;
  'write-head': HeadWritten;
  aliases: Uint8Array;
  'subject-flags': Uint8Array;
}

export interface Ready {
  readonly catalogue: CatalogueState;
  /** Raw Ed25519, 32 bytes. */
  readonly publicKey: Uint8Array;
  readonly module: string;
}

export type ToWorker =
  /** `jobs` is a packed `Job[]`. */
  | { readonly kind: 'jobs'; readonly seq: number; readonly jobs: Packed }
  | { readonly kind: 'control'; readonly seq: number; readonly control: Control }
  | { readonly kind: 'close' };

/** Why a job failed as a whole. `detail` is a CKR name or the name of an assertion, for the log. */
export interface JobFailure {
  readonly failed: Reason;
  readonly detail: string;
}

export type FromWorker =
  | { readonly kind: 'ready'; readonly ready: Ready }
  | { readonly kind: 'refused'; readonly failure: JobFailure }
  | {
      readonly kind: 'done';
      readonly seq: number;
      /** A packed `(JobResult | JobFailure)[]`. */
      readonly results: Packed;
      /** Time at work on the message, for the lane to tell a slow module by. */
      readonly busyMs: number;
      /** Calls into the module so far, for the metrics. */
      readonly moduleCalls: number;
    }
  | {
      readonly kind: 'control';
      readonly seq: number;
      readonly result: ControlResult[keyof ControlResult] | JobFailure;
    };

export const isFailure = (result: object): result is JobFailure => 'failed' in result;
