import assert from 'node:assert';
import type { Caller } from '../base/caller.ts';
import { DOMAIN_ID, type DomainSpec } from '../base/domain.ts';
import { type CompiledDomain, compileDomain } from '../codec/domain.ts';
import type { CatalogueState } from './job.ts';

/** A domain as the engine serves it: what it is, and what follows from that once for all calls. */
export interface ServedDomain {
  readonly spec: DomainSpec;
  readonly compiled: CompiledDomain;
  /** Its tokens are records of the vault. */
  readonly vaulted: boolean;
  /** Its tokens can be turned back into values. */
  readonly reversible: boolean;
  readonly keyVersion: number;
  /** Members of the format, as quotas count them; Infinity where nobody can enumerate them. */
  readonly formatSize: number;
}

/** The domains of the catalogue, by id. Replaced as a whole at each catalogue change. */
export class DomainTable {
  #domains = new Map<string, ServedDomain>();

  replace(state: CatalogueState): void {
    const served = state.domains.map((spec): [string, ServedDomain] => {
      const keyVersion = state.keyVersions[spec.id];
      assert(keyVersion !== undefined, 'every domain has keys');
      return [spec.id, serve(spec, keyVersion)];
    });
    this.#domains = new Map(served.sort(([a], [b]) => (a < b ? -1 : 1)));
  }

  get(id: string): ServedDomain | undefined {
    return this.#domains.get(id);
  }

  *vaultedIds(): Generator<string> {
    for (const { spec, vaulted } of this.#domains.values()) if (vaulted) yield spec.id;
  }

  /** Ascending by id. */
  all(): Iterable<ServedDomain> {
    return this.#domains.values();
  }
}

/** `org/domain` as written, or `domain` of the caller's own organisation; '' where it is neither.
 *  */
export function domainIdOf(caller: Caller, name: string): string {
  const id = name.includes('/') ? name : `${caller.organisation}/${name}`;
  return DOMAIN_ID.test(id) ? id : '';
}

function serve(spec: DomainSpec, keyVersion: number): ServedDomain {
  const compiled = compileDomain(spec);
  return {
    spec,
    compiled,
    vaulted: spec.kind === 'static' || spec.kind === 'dynamic',
    reversible: spec.kind !== 'one-way' && spec.kind !== 'transform',
    keyVersion,
    formatSize: Number(compiled.format.size),
  };
}

/** How the vault finds the records of a domain; undefined for kinds without records. */
export function vaultIndexOf(spec: DomainSpec): 'unique' | 'listed' | 'none' | undefined {
  if (spec.kind === 'static') return 'unique';
  if (spec.kind === 'dynamic') return spec.listable ? 'listed' : 'none';
  return undefined;
}
