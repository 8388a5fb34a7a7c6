import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { Random } from './random.ts';
import { makeRig, type Rig } from './rig.ts';

/** What happened, e.g. `{ kills: 3, acks: 412 }`. */
export type Counts = Readonly<Record<string, number>>;

export interface Fault {
  /** As in the fault list, e.g. `T01`. */
  readonly id: string;
  readonly title: string;
  /** What the machine lacks for it; undefined where it can run. */
  readonly lacks?: () => string | undefined;
  /** Does the damage and asserts what must hold; throws where it does not. */
  run(bench: Bench): Promise<Counts>;
}

/** What a fault works with: a folder of its own, numbers from the seed, and installations that were
 *  in use before. */
export class Bench {
  readonly short: boolean;
  readonly random: Random;
  readonly #root: string;
  readonly #seed: number;
  readonly #rigs: Rig[] = [];
  readonly #undo: (() => void)[] = [];
  readonly #used: Promise<Rig>;
  #forks = 0;

  private constructor(root: string, seed: number, short: boolean, used: Promise<Rig>) {
    this.#root = root;
    this.#seed = seed;
    this.random = new Random(seed);
    this.short = short;
    this.#used = used;
  }

  static open(seed: number, short: boolean): Bench {
    const root = mkdtempSync(join(tmpdir(), 'lockstep-faults-'));
    const used = usedRig(join(root, 'used'), seed);
    used.catch(() => {}); // Whoever forks it first hears of it.
    return new Bench(root, seed, short, used);
  }

  /** For one fault: the same numbers whichever others run. */
  for(fault: Fault): Bench {
    const root = join(this.#root, fault.id);
    mkdirSync(root, { recursive: true });
    const own = [...fault.id].reduce((sum, letter) => sum * 31 + letter.charCodeAt(0), this.#seed);
    return new Bench(root, own >>> 0, this.short, this.#used);
  }

  /** A copy of an installation that was in use and stopped, with its journal. */
  async fork(): Promise<Rig> {
    const rig = (await this.#used).copyTo(this.path(`fork-${++this.#forks}`));
    this.#rigs.push(rig);
    return rig;
  }

  /** Runs one or the other: long loops find what short ones do not. */
  times(short: number, long: number): number {
    return this.short ? short : long;
  }

  path(name: string): string {
    return join(this.#root, name);
  }

  /** Called at the end, in whatever way it comes, the last first. */
  undo(what: () => void): void {
    this.#undo.push(what);
  }

  close(): void {
    for (const rig of this.#rigs) rig.close();
    for (const undo of this.#undo.reverse()) undo();
    rmSync(this.#root, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
  }

  /** Also ends the server of an installation that was never finished. */
  async end(): Promise<void> {
    await this.#used.then(
      (rig) => rig.close(),
      () => {},
    );
    this.close();
  }
}

/** Some seconds of mixed load, stopped in good order. */
async function usedRig(folder: string, seed: number): Promise<Rig> {
  const rig = await makeRig(folder);
  try {
    const server = await rig.home.start();
    rig.remember();
    const load = rig.load({ random: new Random(seed), server: () => server });
    const until = Date.now() + 20_000;
    while (load.acks < 80 && Date.now() < until) await pause(50);
    await load.stop();
    rig.remember();
    await rig.assertWhole(server);
    const { code } = await server.end();
    if (code !== 0) throw new Error(`the server ended with ${code}`);
    return rig;
  } catch (error) {
    rig.close();
    throw error;
  }
}
