import { createHash } from 'node:crypto';
import { CallError } from '../base/call-error.ts';
import type { Caller } from '../base/caller.ts';
import type { DomainSpec } from '../base/domain.ts';
import { checkDomain, defaultsFor } from '../codec/domain-check.ts';
import type { Action } from '../policy/grants.ts';
import { authorise } from '../policy/view.ts';
import type { DomainAnswer, DomainRequest, DomainView, Receipt } from './calls.ts';
import type { CatalogueKeeper } from './catalogue-keeper.ts';
import { domainIdOf, type ServedDomain, vaultIndexOf } from './domain-table.ts';
import { domainOf } from './gate.ts';
import type { Parts } from './parts.ts';
import { commitLeaf, plainEntry } from './receipts.ts';

/** Domains as officers make and see them. Changes go one after the other. */
export class DomainAdmin {
  readonly #parts: Parts;
  readonly #keeper: CatalogueKeeper;
  #last: Promise<unknown> = Promise.resolve();

  constructor(parts: Parts, keeper: CatalogueKeeper) {
    this.#parts = parts;
    this.#keeper = keeper;
  }

  create(caller: Caller, request: DomainRequest): Promise<DomainAnswer> {
    return this.#inTurn(async () => {
      const parts = this.#parts;
      const id = domainIdOf(caller, request.id);
      if (id === '')
        throw fieldInvalid('spec.id', 'must be organisation/name, each [a-z0-9-]{1,63}');
      const spec = defaultsFor({ ...request, id }, parts.clock.nowMs());
      this.#authorise(caller, 'CreateDomain', spec);
      const compiled = checkDomain(spec);
      if (parts.domains.get(id) !== undefined || wasUsed(parts, id)) {
        throw new CallError('RESOURCE_EXISTS');
      }
      const index = vaultIndexOf(spec);
      // The vault first: a domain it does not know must never be in the catalogue.
      if (index !== undefined) {
        const { counterLimit: countersMax, drawn } = compiled;
        await parts.vault.addDomain(id, { index, countersMax, drawn });
      }
      return this.#put(caller, 'CreateDomain', spec);
    });
  }

  update(
    caller: Caller,
    name: string,
    change: { readonly displayName?: string; readonly disabled?: boolean },
    etag: string,
  ): Promise<DomainAnswer> {
    return this.#inTurn(async () => {
      const { spec } = domainOf(this.#parts, caller, name);
      this.#authorise(caller, 'UpdateDomain', spec);
      if (etag !== '' && etag !== etagOf(spec)) throw new CallError('ETAG_MISMATCH');
      const changed = { ...spec, ...change };
      checkDomain(changed);
      return this.#put(caller, 'UpdateDomain', changed);
    });
  }

  get(caller: Caller, name: string): DomainView {
    const domain = domainOf(this.#parts, caller, name);
    this.#authorise(caller, 'ReadDomain', domain.spec);
    return this.#view(domain);
  }

  /** Those the caller may see, ascending by id. */
  list(caller: Caller, after: string, limit: number): DomainView[] {
    const views: DomainView[] = [];
    for (const domain of this.#parts.domains.all()) {
      if (views.length >= limit) break;
      if (domain.spec.id > after && this.#may(caller, 'ReadDomain', domain.spec)) {
        views.push(this.#view(domain));
      }
    }
    return views;
  }

  async #put(
    caller: Caller,
    verb: 'CreateDomain' | 'UpdateDomain',
    spec: DomainSpec,
  ): Promise<DomainAnswer> {
    const parts = this.#parts;
    const state = await this.#keeper.put(spec);
    parts.domains.replace(state);
    const receipt = await this.#log(caller, verb, spec, {
      generation: state.generation,
      hash: state.hash,
    });
    return { domain: this.#view(parts.domains.get(spec.id)!), receipt };
  }

  #log(
    caller: Caller,
    verb: string,
    spec: DomainSpec,
    extra: Readonly<Record<string, string | number>>,
  ): Promise<Receipt> {
    const more = { done: 1, failed: 0, extra };
    return commitLeaf(this.#parts, {
      entry: plainEntry(this.#parts, caller, verb, spec.id, more),
      body: undefined,
    });
  }

  #authorise(caller: Caller, action: Action, domain: DomainSpec): void {
    authorise(this.#parts.policy, { caller, action, domain, purpose: '', items: 0 });
  }

  #may(caller: Caller, action: Action, domain: DomainSpec): boolean {
    return this.#parts.policy.decide({ caller, action, domain, purpose: '', items: 0 }).allow;
  }

  #view({ spec, compiled, vaulted, keyVersion }: ServedDomain): DomainView {
    return {
      spec,
      keyVersion,
      liveTokens: vaulted ? this.#parts.vault.liveCount(spec.id) : 0,
      capacityBits: compiled.capacityBits,
      fill: vaulted ? this.#parts.vault.minting.fill(spec.id) : 0,
      etag: etagOf(spec),
    };
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#last.then(work);
    this.#last = done.catch(() => {});
    return done;
  }
}

/** A catalogue that was rolled back lacks the keys of domains that had tokens: other keys could
 *  make those tokens again, for other values. */
const wasUsed = ({ vault, head }: Parts, id: string): boolean =>
  head.markOf(id) !== undefined || (vault.hasDomain(id) && vault.countersUsed(id) > 0);

/** Changes with every field of the spec. */
const etagOf = (spec: DomainSpec): string =>
  createHash('sha256').update(JSON.stringify(spec)).digest('hex').slice(0, 16);

export const fieldInvalid = (field: string, text: string): CallError =>
  new CallError('FIELD_INVALID', { violations: [{ field, text }] });
