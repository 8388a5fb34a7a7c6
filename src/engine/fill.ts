import type { Logger } from '../base/logger.ts';

/** Shares of a domain's tokens, in per cent, past which people should know. */
export const FILL_LEVELS = [80, 90, 95] as const;

/** What is watched. */
interface Filling {
  /** Ids of the vaulted domains. */
  ids(): Iterable<string>;
  /** Share of a domain's tokens that is used, 0 to 1. */
  fillOf(domain: string): number;
}

/** Says once a run, for each domain and level, that the tokens run out. */
export class FillWatch {
  readonly #filling: Filling;
  readonly #logger: Logger;
  /** Highest level told, by domain. */
  readonly #told = new Map<string, number>();

  constructor(filling: Filling, logger: Logger) {
    this.#filling = filling;
    this.#logger = logger;
  }

  /** All domains, at the start. */
  lookAtAll(): void {
    for (const id of this.#filling.ids()) this.look(id);
  }

  /** After a call that minted or imported. */
  look(domain: string): void {
    const percent = 100 * this.#filling.fillOf(domain);
    if (percent < FILL_LEVELS[0]) return;
    const told = this.#told.get(domain) ?? 0;
    let level = 0;
    for (const one of FILL_LEVELS) if (percent >= one) level = one;
    if (level <= told) return;
    this.#told.set(domain, level);
    this.#logger.warn('domain-fills-up', { domain, percent: level });
  }

  /** Domains past a level now, for the gauge. */
  past(percent: number): number {
    let count = 0;
    for (const id of this.#filling.ids()) if (100 * this.#filling.fillOf(id) >= percent) count++;
    return count;
  }
}
