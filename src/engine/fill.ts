import type { Logger } from '../base/logger.ts';
import type { Vault } from '../vault/vault.ts';
import type { DomainTable } from './domain-table.ts';

/** Shares of a domain's tokens, in per cent, past which people should know. */
export const FILL_LEVELS = [80, 90, 95] as const;

/** Says once a run, for each domain and level, that the tokens run out. */
export class FillWatch {
  readonly #vault: Vault;
  readonly #domains: DomainTable;
  readonly #logger: Logger;
  /** Highest level told, by domain. */
  readonly #told = new Map<string, number>();

  constructor(vault: Vault, domains: DomainTable, logger: Logger) {
    this.#vault = vault;
    this.#domains = domains;
    this.#logger = logger;
  }

  /** All domains, at the start. */
  lookAtAll(): void {
    for (const { spec, vaulted } of this.#domains.all()) if (vaulted) this.look(spec.id);
  }

  /** After a call that minted or imported. */
  look(domain: string): void {
    const percent = 100 * this.#vault.minting.fill(domain);
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
    for (const { spec, vaulted } of this.#domains.all()) {
      if (vaulted && 100 * this.#vault.minting.fill(spec.id) >= percent) count++;
    }
    return count;
  }
}
