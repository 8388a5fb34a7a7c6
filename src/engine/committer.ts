import type { Appended, AuditLog } from '../audit/log.ts';
import { CallError } from '../base/call-error.ts';
import type { Metrics } from '../base/metrics.ts';
import type { VaultWrite } from '../vault/committer.ts';
import type { Vault } from '../vault/vault.ts';

/** What one call wants durable before its reply. */
export interface Commit {
  /** Encoded. */
  readonly entry: Uint8Array;
  /** Sealed; empty for verbs without items. */
  readonly body: Uint8Array;
  /** Records, indexes and the leaf's outbox row; undefined for calls that write no vault. */
  readonly write?: VaultWrite | undefined;
}

export interface Committed {
  readonly leafIndex: number;
  /** RFC 6962, 32 bytes. */
  readonly leafHash: Uint8Array;
}

interface Pending {
  readonly commit: Commit;
  readonly resolve: (committed: Committed) => void;
  readonly reject: (error: CallError) => void;
}

/** Calls that share one fsync of the log at most. */
const GROUP_MAX = 512;
/** Bodies that one append of the log holds in memory at most. */
const GROUP_BYTES_MAX = 8 * 1024 * 1024;

/** Makes calls durable in the order of design "Vault": (1) the vault's atomic batch with the outbox
 *  row, fsynced; (2) the log, fsynced; (3) the reply. Each stage gathers what comes while its last
 *  write is under way, so that concurrent calls share fsyncs and an idle engine adds no delay. A
 *  call that fails in (2) has its outbox row, which is appended at the next open. */
export class Committer {
  readonly #vault: Vault;
  readonly #log: AuditLog;
  readonly #metrics: Metrics;
  #waiting: Pending[] = [];
  #running: Promise<void> | undefined;
  #held: Promise<void> | undefined;
  readonly #underWay = new Set<Promise<unknown>>();

  constructor(vault: Vault, log: AuditLog, metrics: Metrics) {
    this.#vault = vault;
    this.#log = log;
    this.#metrics = metrics;
  }

  /** Resolves once durable. Rejects with `CallError`: STORE_UNAVAILABLE, STORE_FULL,
   *  OUTCOME_UNKNOWN, LOG_UNAVAILABLE. */
  async commit(commit: Commit): Promise<Committed> {
    while (this.#held !== undefined) await this.#held;
    const { write } = commit;
    if (write === undefined) return this.#append(commit);
    const committed = this.#commit(commit, write);
    this.#underWay.add(committed);
    try {
      return await committed;
    } finally {
      this.#underWay.delete(committed);
    }
  }

  async #commit(commit: Commit, write: VaultWrite): Promise<Committed> {
    const begun = performance.now();
    await this.#vault.commit([write]);
    this.#metrics.fsync('vault', (performance.now() - begun) / 1_000);
    this.#metrics.vaultCommit(write.records);
    const committed = await this.#append(commit);
    this.#vault.settle([{ commit: write.commit, leafIndex: committed.leafIndex }]);
    return committed;
  }

  /** Lets commits under way end and keeps further ones waiting until the answer is called. One at a
   *  time. */
  async hold(): Promise<() => void> {
    const held = Promise.withResolvers<void>();
    this.#held = held.promise;
    await Promise.allSettled(this.#underWay);
    await this.idle();
    return () => {
      this.#held = undefined;
      held.resolve();
    };
  }

  /** Resolves when no append is under way. */
  async idle(): Promise<void> {
    await this.#running;
  }

  #append(commit: Commit): Promise<Committed> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ commit, resolve, reject });
      this.#running ??= this.#drain();
    });
  }

  async #drain(): Promise<void> {
    // Calls whose worker answer came in one message arrive in this turn: they share the group.
    await new Promise((resolve) => setImmediate(resolve));
    while (this.#waiting.length > 0) {
      const group = this.#take();
      const begun = performance.now();
      try {
        const appended = await this.#log.append(group.map((pending) => pending.commit));
        this.#metrics.fsync('log', (performance.now() - begun) / 1_000);
        answer(group, appended);
      } catch (cause) {
        const error =
          cause instanceof CallError ? cause : new CallError('LOG_UNAVAILABLE', { cause });
        for (const pending of group) pending.reject(error);
      }
    }
    this.#running = undefined;
  }

  #take(): Pending[] {
    let count = 0;
    let bytes = 0;
    while (count < GROUP_MAX && count < this.#waiting.length) {
      bytes += this.#waiting[count]!.commit.body.length;
      if (count > 0 && bytes > GROUP_BYTES_MAX) break;
      count += 1;
    }
    return this.#waiting.splice(0, count);
  }
}

function answer(group: readonly Pending[], { firstIndex, leafHashes }: Appended): void {
  for (const [i, pending] of group.entries()) {
    pending.resolve({
      leafIndex: firstIndex + i,
      leafHash: leafHashes.subarray(i * 32, i * 32 + 32),
    });
  }
}
