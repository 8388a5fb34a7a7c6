import { type CpuTime, cpuBetween, cpuTimeOf } from './cpu.ts';
import { median, rounded } from './figure.ts';
import { callsPerSecond, findLoad, type Load, type Volley } from './load.ts';
import {
  type Echo,
  FPE_DOMAIN,
  grantBulk,
  type Lockstep,
  startEcho,
  startLockstep,
} from './lockstep-server.ts';
import type { Payloads } from './payloads.ts';
import { Scratch } from './processes.ts';

export interface BenchOptions {
  readonly load: 'ghz' | 'own' | undefined;
  /** Interleaved pairs of a gRPC figure. */
  readonly pairs: number;
  /** Of one volley. */
  readonly seconds: number;
}

/** Calls under way and connections of the figures' loads. */
export const MANY = { concurrency: 8, connections: 2 } as const;
export const SINGLE = { concurrency: 32, connections: 2 } as const;
export interface Pressure {
  readonly concurrency: number;
  readonly connections: number;
}

/** What the figures of one run share: a server, an echo beside it, a load and a place on disk. */
export class Bench {
  readonly scratch = new Scratch();
  readonly load: Load;
  readonly options: BenchOptions;
  #lockstep: Promise<Lockstep> | undefined;
  #echo: Promise<Echo> | undefined;

  constructor(options: BenchOptions) {
    this.options = options;
    this.load = findLoad(this.scratch, options.load);
  }

  say(text: string): void {
    process.stderr.write(`bench: ${text}\n`);
  }

  /** Started when the first figure asks, with a bulk grant for its FPE domain. */
  lockstep(): Promise<Lockstep> {
    this.#lockstep ??= this.#newLockstep(false);
    return this.#lockstep;
  }

  echo(): Promise<Echo> {
    this.#echo ??= startEcho(this.scratch);
    return this.#echo;
  }

  profiled(): Promise<Lockstep> {
    return this.#newLockstep(true);
  }

  /** A server of one's own over a new installation. */
  async #newLockstep(profiled: boolean): Promise<Lockstep> {
    const folder = this.scratch.path('installation');
    const server = await startLockstep(this.scratch, { folder, profiled });
    await grantBulk(server, FPE_DOMAIN);
    return server;
  }

  /** A volley, and what it cost the server in processor time. */
  async fire(
    target: { readonly address: string; readonly pid: number },
    payloads: Payloads,
    pressure: Pressure,
    seconds: number,
  ): Promise<CostedVolley> {
    const before = cpuTimeOf(target.pid);
    const { address } = target;
    const volley = await this.load.fire({ ...pressure, address, payloads, seconds });
    return { ...volley, cpu: cpuBetween(before, cpuTimeOf(target.pid)) };
  }

  /** Ends the shared servers: what measures alone wants the machine for itself. */
  async settle(): Promise<void> {
    const running = [this.#lockstep, this.#echo];
    this.#lockstep = undefined;
    this.#echo = undefined;
    for (const each of running) await (await each)?.stop();
  }
}

export interface CostedVolley extends Volley {
  readonly cpu: CpuTime;
}

export interface Paired {
  readonly ratio: number;
  readonly ratios: readonly number[];
  readonly left: CostedVolley;
  readonly right: CostedVolley;
}

/** Fires at both sides in turn, each once to warm up, then pair by pair with the order changing, so
 *  that what else the machine does falls on both. The ratio is the median of the pairs'; the two
 *  volleys are those of the pair closest to it. */
export async function comparePairs(
  bench: Bench,
  left: (seconds: number) => Promise<CostedVolley>,
  right: (seconds: number) => Promise<CostedVolley>,
): Promise<Paired> {
  const { pairs, seconds } = bench.options;
  await left(1);
  await right(1);
  const rounds: { ratio: number; left: CostedVolley; right: CostedVolley }[] = [];
  for (let pair = 0; pair < pairs; pair++) {
    const first = pair % 2 === 0 ? await left(seconds) : undefined;
    const rightVolley = await right(seconds);
    const leftVolley = first ?? (await left(seconds));
    const ratio = callsPerSecond(leftVolley) / callsPerSecond(rightVolley);
    rounds.push({ ratio, left: leftVolley, right: rightVolley });
    bench.say(`  pair ${pair + 1} of ${pairs}: ${rounded(ratio)}`);
  }
  const ratio = median(rounds.map((round) => round.ratio));
  const closest = rounds.reduce((best, round) =>
    Math.abs(round.ratio - ratio) < Math.abs(best.ratio - ratio) ? round : best,
  );
  const ratios = rounds.map((round) => rounded(round.ratio));
  return { ratio, ratios, left: closest.left, right: closest.right };
}
