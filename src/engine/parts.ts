import type { AuditLog } from '../audit/log.ts';
import type { Clock } from '../base/clock.ts';
import type { Logger } from '../base/logger.ts';
import type { Metrics } from '../base/metrics.ts';
import type { Policy } from '../policy/cedar.ts';
import type { QuotaBook } from '../policy/quota.ts';
import { QUOTA_LIMITS, type QuotaLimits } from '../policy/quota-limits.ts';
import type { Vault } from '../vault/vault.ts';
import type { Committer } from './committer.ts';
import type { DomainTable } from './domain-table.ts';
import type { KeyLane } from './key-lane.ts';

/** What an installation may set (lockstep.toml, `limits`). */
export interface EngineLimits {
  readonly quota: QuotaLimits;
  /** Jobs that may wait for the key worker; above it a call is OVERLOADED, not queued past its
   *  deadline. */
  readonly jobsWaitingMax: number;
  /** A module call that takes longer cannot be ended in a thread: the process must go. */
  readonly moduleCallMsMax: number;
}

export const ENGINE_LIMITS: EngineLimits = {
  quota: QUOTA_LIMITS,
  jobsWaitingMax: 4_096,
  moduleCallMsMax: 60_000,
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
  /** Bulk grants of the leaves below this index are in the quota. */
  readonly grants: { readTo: number };
}
