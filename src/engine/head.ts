import { randomBytes } from 'node:crypto';
import { CallError } from '../base/call-error.ts';
import type { Logger } from '../base/logger.ts';
import type { Marks } from '../vault/committer.ts';
import { type Head, type Mark, markName } from './head-object.ts';
import type { KeyLane } from './key-lane.ts';
import type { Parts } from './parts.ts';

/** Counters that a rollback or a restore can leave unused in a domain. */
const BLOCK_MAX = 1_048_576;
const BLOCK_SHARE = 1 / 256;
/** How far the head may be behind vault and log. */
const WRITE_MS = 10_000;
const NO_MARK: Mark = { below: 0, unordered: false };

/** The way to the module. */
export type HeadLane = Pick<KeyLane, 'control'>;

/** Where things stand now, for the head. */
export interface HeadSources {
  /** Highest commit number of the vault. */
  readonly commit: () => number;
  /** The log's published checkpoint. */
  readonly log: () => { readonly size: number; readonly root: Uint8Array };
  /** Generation of the catalogue. */
  readonly catalogue: () => number;
}

/** Keeps the head in the module: written at open, in blocks ahead of the counters, every ten
 *  seconds while something changes, and at close. Finds out that another process has taken the
 *  vault over, and is lost then, for good. */
export class HeadKeeper implements Marks {
  /** The newest that the module had at open; undefined where it had none. */
  readonly found: Head | undefined;
  /** Whether the module keeps one, so that its absence says something. */
  readonly kept: boolean;
  readonly #lane: HeadLane;
  readonly #logger: Logger;
  readonly #onLost: () => void;
  /** Durable in the module. */
  #marks: ReadonlyMap<string, Mark>;
  /** To be durable with the next write. */
  readonly #wanted: Map<string, Mark>;
  readonly #names = new Map<string, string>();
  #epoch: number;
  #owner: Uint8Array;
  /** Undefined until `begin`: till then nothing but marks may change in the head, for the rest of
   *  it is what a rollback is told by. */
  #sources: HeadSources | undefined;
  #written = { commit: -1, size: -1, catalogue: -1 };
  #running: Promise<void> = Promise.resolve();
  #queued: Promise<void> | undefined;
  #timer: NodeJS.Timeout | undefined;
  #lost = false;

  private constructor(
    options: { readonly lane: HeadLane; readonly logger: Logger; readonly onLost: () => void },
    found: Head | undefined,
    kept: boolean,
  ) {
    this.#lane = options.lane;
    this.#logger = options.logger;
    this.#onLost = options.onLost;
    this.found = found;
    this.kept = kept;
    this.#marks = found?.marks ?? new Map();
    this.#wanted = new Map(this.#marks);
    this.#epoch = found?.epoch ?? 0;
    this.#owner = found?.owner ?? new Uint8Array(16);
  }

  /** Reads what the module has. Rejects with `CallError`. `onLost` is told once. */
  static async open(options: {
    readonly lane: HeadLane;
    readonly logger: Logger;
    readonly onLost: () => void;
  }): Promise<HeadKeeper> {
    const { head, kept, forged } = await options.lane.control({ control: 'read-head' });
    if (forged > 0) options.logger.warn('head-forged', { objects: forged });
    return new HeadKeeper(options, head, kept);
  }

  get lost(): boolean {
    return this.#lost;
  }

  /** Counters of the domain that may be in use, as the module has it; undefined where it knows of
   *  none. */
  markOf(domain: string): Mark | undefined {
    return this.#marks.get(this.#nameOf(domain));
  }

  reserve(
    domain: string,
    upTo: number,
    most: number,
    unordered: boolean,
  ): Promise<void> | undefined {
    const name = this.#nameOf(domain);
    const mark = this.#marks.get(name) ?? NO_MARK;
    if (upTo <= mark.below && (mark.unordered || !unordered)) return undefined;
    const wanted = this.#wanted.get(name) ?? NO_MARK;
    const block = Math.min(BLOCK_MAX, Math.ceil(most * BLOCK_SHARE));
    this.#wanted.set(name, {
      below: Math.max(wanted.below, upTo <= mark.below ? 0 : Math.min(most, upTo + block)),
      unordered: wanted.unordered || unordered,
    });
    return this.#write();
  }

  /** Takes the vault: from now on the head speaks of `sources`, under an epoch of its own, above
   *  `epoch`. `take` makes that epoch durable in the vault, first. Rejects with `CallError`. */
  async begin(
    epoch: number,
    sources: HeadSources,
    take: (epoch: number) => Promise<void>,
  ): Promise<void> {
    const next = Math.max(epoch, this.#epoch) + 1;
    await take(next);
    await this.#running;
    this.#epoch = next;
    this.#owner = randomBytes(16);
    this.#sources = sources;
    await this.#write();
    this.#timer = setInterval(() => this.#tick(), WRITE_MS).unref();
  }

  /** Resolves when the head is as things are now. Rejects with `CallError`. */
  flush(): Promise<void> {
    return this.#write();
  }

  /** The last word: `counters` are the next ones of each domain, which marks come down to. Nothing
   *  may be under way. */
  async end(counters: ReadonlyMap<string, number>): Promise<void> {
    this.stop();
    await this.#running;
    for (const [domain, next] of counters) {
      const name = this.#nameOf(domain);
      const mark = this.#wanted.get(name);
      if (mark !== undefined) this.#wanted.set(name, { ...mark, below: next });
    }
    await this.#write();
  }

  /** Writes no more by itself. */
  stop(): void {
    clearInterval(this.#timer);
  }

  #tick(): void {
    const now = this.#stand();
    const { commit, size, catalogue } = this.#written;
    if (this.#lost) return;
    if (now.commit === commit && now.size === size && now.catalogue === catalogue) return;
    this.#write().catch((cause: unknown) => {
      // The next turn tries again; meanwhile an older copy than this would not be seen.
      if (!this.#lost) this.#logger.warn('head-write-failed', {}, cause);
    });
  }

  /** One at a time; who comes while one is under way shares the next. */
  #write(): Promise<void> {
    if (this.#queued !== undefined) return this.#queued;
    const queued = this.#running.then(() => {
      this.#queued = undefined;
      return this.#writeNow();
    });
    this.#queued = queued;
    this.#running = queued.catch(() => {});
    return queued;
  }

  async #writeNow(): Promise<void> {
    if (this.#lost) throw new CallError('STORE_UNAVAILABLE');
    const marks = new Map(this.#wanted);
    const stand = this.#stand();
    const head = { ...stand, marks, epoch: this.#epoch, owner: this.#owner };
    const { taken } = await this.#lane.control({ control: 'write-head', head });
    if (taken) {
      this.#lose();
      throw new CallError('STORE_UNAVAILABLE');
    }
    this.#marks = marks;
    this.#written = stand;
  }

  #stand(): Pick<Head, 'commit' | 'size' | 'root' | 'catalogue'> {
    if (this.#sources === undefined) {
      const { commit = 0, size = 0, root = new Uint8Array(32), catalogue = 0 } = this.found ?? {};
      return { commit, size, root, catalogue };
    }
    const { size, root } = this.#sources.log();
    return { commit: this.#sources.commit(), size, root, catalogue: this.#sources.catalogue() };
  }

  #lose(): void {
    this.#lost = true;
    this.stop();
    this.#logger.error('fenced-off');
    this.#onLost();
  }

  #nameOf(domain: string): string {
    let name = this.#names.get(domain);
    if (name === undefined) {
      name = markName(domain);
      this.#names.set(domain, name);
    }
    return name;
  }
}

/** Closes the head after the vault and before the log: it then says how the next start will find
 *  things. One that is left behind does no harm, so nothing fails for it. */
export function headOf({ head, vault, log, logger }: Parts): { close(): Promise<void> } {
  const whole = !vault.fenced && !log.fenced;
  return {
    async close() {
      head.stop();
      if (!whole || head.lost) return;
      try {
        await log.flush();
        await head.end(vault.continuity.counters());
      } catch (cause) {
        logger.warn('head-write-failed', {}, cause);
      }
    },
  };
}
