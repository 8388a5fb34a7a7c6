import { randomFillSync } from 'node:crypto';
import { open, rm, stat, statfs } from 'node:fs/promises';
import { join } from 'node:path';

export interface SpaceOptions {
  /** Holds what fills the disk, and the ballast. */
  readonly folder: string;
  /** Below this much free space nothing is written that can wait; 0 sets no mark. */
  readonly lowBytes: number;
  /** Space kept in reserve for a store that has to be opened on a full disk (facts.md F4); 0 for
   *  none. */
  readonly ballastBytes: number;
  /** Between two looks; default 500. */
  readonly everyMs?: number;
  /** After a look that changed `level`. */
  readonly onChange?: (level: SpaceLevel) => void;
  /** Free bytes of the disk, for tests; default as statfs says for whoever is not root. */
  readonly read?: (folder: string) => Promise<number>;
}

/** `low`: what is left is for reading, whose entries go to the log alone. `critical`: not even for
 *  that. */
export type SpaceLevel = 'enough' | 'low' | 'critical';

export const BALLAST_FILE = 'ballast';
/** A mark that was passed is left behind only this much higher, so that the state does not flutter
 *  with each file that comes and goes. */
const HYSTERESIS = 1.25;
/** The second mark, as a share of the first. */
const CRITICAL = 1 / 4;
const WRITE_BYTES = 1024 * 1024;

/** Watches the space of a disk and keeps some in reserve. What it knows is as old as its last look:
 *  a disk that fills up in between is felt by a write that fails. */
export class Space {
  readonly #options: SpaceOptions;
  #level: SpaceLevel = 'enough';
  #freeBytes = Number.POSITIVE_INFINITY;
  /** False while the ballast is not there. */
  #whole = true;
  /** True while it is not to be made again. */
  #lent = false;
  #timer: NodeJS.Timeout | undefined;
  #looking: Promise<void> | undefined;

  private constructor(options: SpaceOptions) {
    this.#options = options;
  }

  /** Makes the ballast where there is room for it, and looks once. */
  static async open(options: SpaceOptions): Promise<Space> {
    const space = new Space(options);
    await space.#openBallast();
    await space.look();
    return space;
  }

  get level(): SpaceLevel {
    return this.#level;
  }

  /** As of the last look; the ballast is not among them. */
  get freeBytes(): number {
    return this.#freeBytes;
  }

  /** Looks from now on by itself. */
  start(): void {
    const { everyMs = 500 } = this.#options;
    this.#timer ??= setInterval(() => void this.look(), everyMs).unref();
  }

  /** Resolves when no look is under way. */
  async close(): Promise<void> {
    clearInterval(this.#timer);
    await this.#looking;
  }

  /** Never rejects: a disk that does not say how full it is leaves all as it was. */
  look(): Promise<void> {
    this.#looking ??= this.#look().finally(() => {
      this.#looking = undefined;
    });
    return this.#looking;
  }

  async #look(): Promise<void> {
    const free = await this.#read();
    if (free === undefined) return;
    this.#freeBytes = free;
    if (!this.#whole && !this.#lent && this.#fits(free)) {
      this.#whole = await this.#makeBallast();
      this.#freeBytes = (await this.#read()) ?? free;
    }
    const before = this.#level;
    this.#level = this.#levelOf(this.#freeBytes);
    if (this.#level !== before) this.#options.onChange?.(this.#level);
  }

  /** Whether there is room for the ballast. It must leave as much as it takes: else it would be
   *  what fills the disk. */
  #fits(free: number): boolean {
    const { lowBytes, ballastBytes } = this.#options;
    return free >= ballastBytes + Math.max(ballastBytes, lowBytes * HYSTERESIS);
  }

  /** What the ballast gave is for opening the store and not for writing. */
  #levelOf(free: number): SpaceLevel {
    const { lowBytes } = this.#options;
    const markOf = (bytes: number, passed: boolean): number => bytes * (passed ? HYSTERESIS : 1);
    const low = this.#level !== 'enough';
    if (free < markOf(lowBytes * CRITICAL, this.#level === 'critical')) return 'critical';
    if (!this.#whole && !this.#fits(free)) return 'low';
    return free < markOf(lowBytes, low) ? 'low' : 'enough';
  }

  /** Gives the reserve away, until `returnBallast`; false where there is none. */
  async dropBallast(): Promise<boolean> {
    if (!this.#whole || this.#options.ballastBytes === 0) return false;
    await this.#looking;
    this.#whole = false;
    this.#lent = true;
    await rm(this.#path, { force: true });
    await this.look();
    return true;
  }

  /** What it was given away for is done: made again by a look that finds room for it. */
  returnBallast(): void {
    this.#lent = false;
  }

  get #path(): string {
    return join(this.#options.folder, BALLAST_FILE);
  }

  async #read(): Promise<number | undefined> {
    const { folder, read = freeBytesOf } = this.#options;
    return read(folder).catch(() => undefined);
  }

  async #openBallast(): Promise<void> {
    const { ballastBytes } = this.#options;
    if (ballastBytes === 0) return;
    const found = await stat(this.#path).catch(() => undefined);
    // A file of another size was left by a process that ended while it made it, or is configured
    // anew; one with holes would give nothing back.
    if (found?.size === ballastBytes && found.blocks * 512 >= ballastBytes) return;
    await rm(this.#path, { force: true });
    const free = (await this.#read()) ?? 0;
    this.#whole = this.#fits(free) && (await this.#makeBallast());
  }

  /** Random bytes, written: neither a hole nor what a file system could compress or share. */
  async #makeBallast(): Promise<boolean> {
    const { ballastBytes } = this.#options;
    try {
      const file = await open(this.#path, 'w', 0o600);
      try {
        const bytes = new Uint8Array(Math.min(WRITE_BYTES, ballastBytes));
        for (let left = ballastBytes; left > 0; left -= bytes.length) {
          randomFillSync(bytes);
          await file.writeFile(bytes.subarray(0, Math.min(bytes.length, left)));
        }
        await file.sync();
      } finally {
        await file.close();
      }
      return true;
    } catch {
      await rm(this.#path, { force: true }).catch(() => {});
      return false;
    }
  }
}

async function freeBytesOf(folder: string): Promise<number> {
  const { bavail, bsize } = await statfs(folder);
  return bavail * bsize;
}
