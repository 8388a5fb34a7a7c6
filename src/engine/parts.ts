import type { AuditLog } from '../audit/log.ts';
import type { Clock } from '../base/clock.ts';
import type { Logger } from '../base/logger.ts';
import type { Metrics } from '../base/metrics.ts';
import type { Policy } from '../policy/cedar.ts';
import type { QuotaBook } from '../policy/quota.ts';
import { QUOTA_LIMITS, type QuotaLimits } from '../policy/quota-limits.ts';
import type { Space } from '../storage/space.ts';
import type { Vault } from '../vault/vault.ts';
import type { CatalogueKeeper } from './catalogue-keeper.ts';
import type { Committer } from './committer.ts';
import type { Compaction } from './compaction.ts';
import type { DomainTable } from './domain-table.ts';
import type { FillWatch } from './fill.ts';
import type { HeadKeeper } from './head.ts';
import type { JobBook } from './job-book.ts';
import type { KeyLane } from './key-lane.ts';

/** What an installation may set (lockstep.toml, `limits`). */
export interface EngineLimits {
  readonly quota: QuotaLimits;
  /** Jobs that may wait for the key worker; above it a call is OVERLOADED, not queued past its
   *  deadline. */
  readonly jobsWaitingMax: number;
  /** A module call that takes longer cannot be ended in a thread: the process must go. */
  readonly moduleCallMsMax: number;
  /** Below this much free space nothing is written to the vault; below a quarter of it nothing is
   *  answered that needs an entry in the log. 0 sets no mark. */
  readonly spaceLowBytes: number;
  /** Kept in reserve for opening the vault on a full disk; 0 for none. */
  readonly ballastBytes: number;
}

export const ENGINE_LIMITS: EngineLimits = {
  quota: QUOTA_LIMITS,
  jobsWaitingMax: 4_096,
  moduleCallMsMax: 60_000,
  spaceLowBytes: 64 * 1024 * 1024,
  ballastBytes: 16 * 1024 * 1024,
};

/** The concrete parts that one engine works with; put together in open.ts and nowhere else. */
export interface Parts {
  readonly clock: Clock;
  readonly limits: EngineLimits;
  readonly logger: Logger;
  readonly metrics: Metrics;
  readonly policy: Policy;
  readonly quota: QuotaBook;
  readonly domains: DomainTable;
  readonly lane: KeyLane;
  readonly vault: Vault;
  readonly log: AuditLog;
  readonly committer: Committer;
  readonly space: Space;
  /** Says when the tokens of a domain run out. */
  readonly fill: FillWatch;
  /** Bulk grants of the leaves below this index are in the quota. */
  readonly grants: { readTo: number };
  readonly jobs: JobBook;
  readonly compaction: Compaction;
  readonly keeper: CatalogueKeeper;
  /** Where vault and log stand, kept in the module. */
  readonly head: HeadKeeper;
  readonly identity: {
    /** Of the log. */
    readonly origin: string;
    /** Of the key that signs its checkpoints: raw Ed25519, 32 bytes. */
    readonly publicKey: Uint8Array;
    /** Vendor and version of the module, for people. */
    readonly module: string;
  };
  /** Where the installation lies, and where its backups go. */
  readonly folders: { readonly data: string; readonly backups: string };
}
