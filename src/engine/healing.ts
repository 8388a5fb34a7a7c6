import { AuditError } from '../audit/audit-error.ts';
import { decodeEntry } from '../audit/entry.ts';
import { CallError } from '../base/call-error.ts';
import type { Healed } from '../vault/heal.ts';
import { tellGroups } from './merged-groups.ts';
import type { Parts } from './parts.ts';
import { countEntry, readOutbox, recoverOutbox } from './recovery.ts';

/** How often it looks whether something is fenced. */
const LOOK_MS = 100;
/** Between two tries. */
const DELAY_MS = { first: 100, most: 5_000 };
/** How long new calls wait at most for those under way to end; then they go on, and a later try
 *  waits anew. */
const QUIET_MS_MAX = 5_000;
/** What opening a store writes at most, twice LevelDB's write buffer (facts.md F4); and what a log
 *  needs to take the leaves that it owes. */
const OPEN_BYTES = { vault: 8 * 1024 * 1024, log: 1024 * 1024 };

type Outcome = Healed | 'log';

/** Brings a fenced vault and a fenced log back, without a restart: one try at a time, with longer
 *  and longer pauses. Calls wait at the door during a try, since none may read rows before it and
 *  write by them after it; between tries reads are answered where they can be. */
export class Healing {
  readonly #parts: Parts;
  /** Calls that are being answered. */
  readonly #underWay: ReadonlySet<Promise<unknown>>;
  readonly #timer: NodeJS.Timeout;
  #trying: Promise<void> | undefined;
  #door: Promise<void> | undefined;
  #sinceMs: number | undefined;
  #nextMs = 0;
  #delayMs = DELAY_MS.first;
  /** Entries from here on may tell of commits that the outbox holds too; undefined while vault and
   *  log agree. */
  #doubtFrom: number | undefined;
  #lost = false;

  constructor(parts: Parts, underWay: ReadonlySet<Promise<unknown>>) {
    this.#parts = parts;
    this.#underWay = underWay;
    this.#timer = setInterval(() => this.#look(), LOOK_MS).unref();
  }

  /** To be awaited, until it is undefined, before a call begins. */
  get door(): Promise<void> | undefined {
    return this.#door;
  }

  /** Resolves when no try is under way, and there is none after. */
  async close(): Promise<void> {
    clearInterval(this.#timer);
    await this.#trying;
  }

  #look(): void {
    const { vault, log, logger } = this.#parts;
    if (this.#trying !== undefined || this.#lost || this.#parts.head.lost) return;
    if (!vault.fenced && !log.fenced && this.#doubtFrom === undefined) return;
    if (this.#sinceMs === undefined) {
      this.#sinceMs = performance.now();
      const cause = vault.refusal ?? log.refusal;
      logger.warn('fenced', { vault: vault.fenced, log: log.fenced }, cause);
    }
    if (performance.now() < this.#nextMs) return;
    this.#trying = this.#tryOnce().finally(() => {
      this.#trying = undefined;
    });
  }

  async #tryOnce(): Promise<void> {
    const { logger, metrics } = this.#parts;
    let outcome: Outcome;
    try {
      outcome = await this.#attempt();
    } catch (cause) {
      // Entries that were acknowledged are gone or others: that is for an officer.
      outcome = cause instanceof AuditError ? 'lost' : 'log';
      if (outcome === 'lost') logger.error('log-lost', {}, cause);
    }
    metrics.healTried(outcome);
    if (outcome === 'healed') {
      logger.info('healed', { ms: Math.round(performance.now() - (this.#sinceMs ?? 0)) });
      this.#sinceMs = undefined;
      this.#nextMs = 0;
      this.#delayMs = DELAY_MS.first;
      return;
    }
    if (outcome === 'lost') {
      this.#lost = true;
      logger.error('healing-ended', { state: outcome });
      return;
    }
    this.#nextMs = performance.now() + this.#delayMs;
    this.#delayMs = Math.min(DELAY_MS.most, 2 * this.#delayMs);
  }

  async #attempt(): Promise<Outcome> {
    const { vault, committer, space } = this.#parts;
    // Looked at before: a store that is closed and does not open for want of space reads nothing.
    if (!(await this.#room(vault.fenced ? OPEN_BYTES.vault : OPEN_BYTES.log))) return 'full';
    const door = Promise.withResolvers<void>();
    this.#door = door.promise;
    try {
      if (!(await this.#quiet())) return 'busy';
      const release = await committer.hold();
      try {
        const outcome = await this.#heal();
        if (outcome === 'full') await space.dropBallast();
        if (outcome === 'healed') space.returnBallast();
        return outcome;
      } finally {
        release();
      }
    } finally {
      this.#door = undefined;
      door.resolve();
    }
  }

  /** Whether the disk has the space that it takes, if need be out of the reserve. */
  async #room(bytes: number): Promise<boolean> {
    const { space } = this.#parts;
    await space.look();
    if (space.freeBytes >= bytes) return true;
    return (await space.dropBallast()) && space.freeBytes >= bytes;
  }

  /** True once no call is under way. */
  async #quiet(): Promise<boolean> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<false>((resolve) => {
      timer = setTimeout(() => resolve(false), QUIET_MS_MAX).unref();
    });
    const ended = Promise.allSettled(this.#underWay).then(() => true);
    try {
      return await Promise.race([ended, late]);
    } finally {
      clearTimeout(timer);
    }
  }

  async #heal(): Promise<Outcome> {
    const { vault, log, lane } = this.#parts;
    const { size } = log;
    this.#doubtFrom = Math.min(this.#doubtFrom ?? size, size);
    if (log.fenced && (await log.reopen()) > 0) await this.#count(size);
    if (vault.fenced) {
      const healed = await vault.heal();
      if (healed !== 'healed') return healed;
      // A merge or an erasure may have survived that its caller was not told of.
      for await (const flagged of vault.tombstones.all()) {
        await lane.control({ control: 'subject-flags', ...flagged });
      }
      await tellGroups(this.#parts, undefined);
    }
    await this.#settle(this.#doubtFrom);
    this.#doubtFrom = undefined;
    return 'healed';
  }

  /** Entries that survived although nobody was told so stand, and what they used is used. */
  async #count(from: number): Promise<void> {
    for await (const { entry } of this.#parts.log.entriesFrom(from)) {
      countEntry(this.#parts, decodeEntry(entry));
    }
  }

  /** Leaves that were committed and are not in the log go into it, as at a start; none goes in
   *  twice, since each tells its commit number. */
  async #settle(from: number): Promise<void> {
    const { log, vault } = this.#parts;
    if (log.fenced) throw new CallError('LOG_UNAVAILABLE');
    const known = new Map<number, number>();
    for await (const { index, entry } of log.entriesFrom(from)) {
      const { commit } = decodeEntry(entry);
      if (commit !== undefined && commit > 0) known.set(commit, index);
    }
    const waiting = await readOutbox(this.#parts, known);
    if (waiting.length > 0) await recoverOutbox(this.#parts, waiting);
    if (vault.fenced) throw new CallError('STORE_UNAVAILABLE');
  }
}
