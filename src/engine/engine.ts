import { CallError } from '../base/call-error.ts';
import type { Caller } from '../base/caller.ts';
import type { Reason } from '../base/reason.ts';
import { checkBulkGrant } from '../policy/quota.ts';
import { authorise } from '../policy/view.ts';
import type {
  DetokenizeCall,
  DomainAnswer,
  DomainRequest,
  DomainView,
  Engine,
  ExchangeCall,
  InspectAnswer,
  InspectCall,
  LookupCall,
  Receipt,
  RevealAnswer,
  TokenAnswer,
  TokenizeCall,
} from './calls.ts';
import type { CatalogueKeeper } from './catalogue-keeper.ts';
import { detokenize } from './detokenize.ts';
import type { DomainAdmin } from './domain-admin.ts';
import { domainIdOf } from './domain-table.ts';
import { exchange } from './exchange.ts';
import { domainOf } from './gate.ts';
import { inspect } from './inspect.ts';
import type { Parts } from './parts.ts';
import { commitLeaf, plainEntry } from './receipts.ts';
import { saveRunning } from './recovery.ts';
import { lookup, tokenize } from './tokenize.ts';

const SAVE_MS = 1_000;
/** A call may wait a second for its proof between leaf and quota; the running record speaks of the
 *  log as it was this many saves ago, so that a crash counts a use twice rather than never. */
const SAVES_BEHIND = 4;

type Named = { readonly caller: Caller; readonly domain: string; readonly purpose: string };

/** The verbs, each in a file of its own; here only what all of them share: what is under way, what
 *  is refused is logged too, and nothing but `CallError` gets out. */
export class LockstepEngine implements Engine {
  readonly #parts: Parts;
  readonly #admin: DomainAdmin;
  readonly #keeper: CatalogueKeeper;
  readonly #underWay = new Set<Promise<unknown>>();
  readonly #positions: number[] = [];
  readonly #saving: NodeJS.Timeout;
  #saved: Promise<void> = Promise.resolve();
  #savedSize = -1;
  #closing: Promise<void> | undefined;

  constructor(parts: Parts, admin: DomainAdmin, keeper: CatalogueKeeper) {
    this.#parts = parts;
    this.#admin = admin;
    this.#keeper = keeper;
    this.#saving = setInterval(() => this.#save(), SAVE_MS).unref();
  }

  tokenize(call: TokenizeCall): Promise<TokenAnswer> {
    return this.#serve('Tokenize', call, () => tokenize(this.#parts, call));
  }

  lookup(call: LookupCall): Promise<TokenAnswer> {
    return this.#serve('Lookup', call, () => lookup(this.#parts, call));
  }

  detokenize(call: DetokenizeCall): Promise<RevealAnswer> {
    return this.#serve('Detokenize', call, () => detokenize(this.#parts, call));
  }

  exchange(call: ExchangeCall): Promise<TokenAnswer> {
    return this.#serve('Exchange', call, () => exchange(this.#parts, call));
  }

  inspect(call: InspectCall): Promise<InspectAnswer> {
    return this.#serve('Inspect', call, () => inspect(this.#parts, call));
  }

  createDomain(caller: Caller, request: DomainRequest): Promise<DomainAnswer> {
    const named = { caller, domain: request.id, purpose: '' };
    return this.#serve('CreateDomain', named, () => this.#admin.create(caller, request));
  }

  updateDomain(
    caller: Caller,
    id: string,
    change: { readonly displayName?: string; readonly disabled?: boolean },
    etag: string,
  ): Promise<DomainAnswer> {
    const named = { caller, domain: id, purpose: '' };
    return this.#serve('UpdateDomain', named, () => this.#admin.update(caller, id, change, etag));
  }

  getDomain(caller: Caller, id: string): Promise<DomainView> {
    const named = { caller, domain: id, purpose: '' };
    return this.#serve('GetDomain', named, async () => this.#admin.get(caller, id));
  }

  listDomains(caller: Caller, after: string, limit: number): Promise<readonly DomainView[]> {
    const named = { caller, domain: '', purpose: '' };
    return this.#serve('ListDomains', named, async () => this.#admin.list(caller, after, limit));
  }

  grantBulk(
    caller: Caller,
    grant: { caller: string; domain: string; count: number; untilMs: number },
  ): Promise<Receipt> {
    const named = { caller, domain: grant.domain, purpose: '' };
    return this.#serve('GrantBulk', named, () => this.#grantBulk(caller, grant));
  }

  async #grantBulk(
    caller: Caller,
    grant: { caller: string; domain: string; count: number; untilMs: number },
  ): Promise<Receipt> {
    const parts = this.#parts;
    const { spec } = domainOf(parts, caller, grant.domain);
    authorise(parts.policy, { caller, action: 'GrantBulk', domain: spec, purpose: '', items: 0 });
    const bulk = { ...grant, domain: spec.id };
    checkBulkGrant(bulk, parts.clock.nowMs());
    const extra = { caller: grant.caller, count: grant.count, untilMs: grant.untilMs };
    const receipt = await commitLeaf(parts, {
      entry: plainEntry(parts, caller, 'GrantBulk', spec.id, { done: 1, failed: 0, extra }),
      body: undefined,
    });
    parts.quota.addGrant(bulk);
    parts.grants.readTo = Math.max(parts.grants.readTo, receipt.leafIndex + 1);
    return receipt;
  }

  health(): { readonly serving: boolean; readonly reason: Reason | undefined } {
    const { vault, log, lane } = this.#parts;
    if (this.#closing !== undefined) return { serving: false, reason: 'DRAINING' };
    if (lane.dead) return { serving: false, reason: 'MODULE_UNAVAILABLE' };
    if (log.fenced) return { serving: false, reason: 'LOG_UNAVAILABLE' };
    if (vault.fenced) return { serving: false, reason: 'STORE_UNAVAILABLE' };
    return { serving: true, reason: undefined };
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  /** Everything is let go of, whatever fails on the way; the first failure comes out at the end. */
  async #close(): Promise<void> {
    clearInterval(this.#saving);
    const { committer, vault, log, lane, logger } = this.#parts;
    try {
      await Promise.allSettled(this.#underWay);
      await committer.idle();
      await this.#saved;
      // Nothing is under way, so the record may speak of the whole log.
      if (!vault.fenced) await this.#saveAt(log.size);
    } catch (cause) {
      // The next start reads more of the log; nothing is lost.
      logger.warn('running-record-failed', {}, cause);
    } finally {
      await closeAll(vault, log, lane);
    }
  }

  async #serve<T>(verb: string, call: Named, work: () => Promise<T>): Promise<T> {
    if (this.#closing !== undefined) throw new CallError('DRAINING');
    const answer = work().catch((cause: unknown) => this.#refuse(verb, call, cause));
    this.#underWay.add(answer);
    try {
      return await answer;
    } finally {
      this.#underWay.delete(answer);
    }
  }

  /** A denial is a decision too, so it has its leaf before the caller hears of it. */
  async #refuse(verb: string, call: Named, cause: unknown): Promise<never> {
    const error = cause instanceof CallError ? cause : new CallError('INTERNAL', { cause });
    if (DENIALS.has(error.reason)) await this.#logDenial(verb, call, error.reason);
    throw error;
  }

  async #logDenial(verb: string, call: Named, refused: Reason): Promise<void> {
    const parts = this.#parts;
    // Only the name of a domain that exists is written: anything else would be input in the log.
    const domain = parts.domains.get(domainIdOf(call.caller, call.domain));
    const more = { done: 0, failed: 1, extra: { refused } };
    await commitLeaf(parts, {
      entry: plainEntry(parts, call.caller, verb, domain?.spec.id ?? '', more),
      body: undefined,
    });
  }

  #save(): void {
    const { log, quota, vault } = this.#parts;
    this.#positions.push(log.size);
    if (this.#positions.length > SAVES_BEHIND) this.#positions.shift();
    if (vault.fenced || (!quota.changed && this.#savedSize === log.size)) return;
    this.#saved = this.#saved
      .then(() => this.#saveAt(this.#positions[0]!))
      // The next second tries again; until then a crash replays more of the log.
      .catch((cause: unknown) => this.#parts.logger.warn('running-record-failed', {}, cause));
  }

  async #saveAt(position: number): Promise<void> {
    await saveRunning(this.#parts, this.#keeper.state.generation, position);
    this.#savedSize = position;
  }
}

/** Closes one after the other, each whatever became of those before; throws the first failure. */
export async function closeAll(...opened: readonly { close(): Promise<void> }[]): Promise<void> {
  const failures: unknown[] = [];
  for (const one of opened) await one.close().catch((cause: unknown) => failures.push(cause));
  if (failures.length > 0) throw failures[0];
}

const DENIALS: ReadonlySet<Reason> = new Set<Reason>(['ACCESS_DENIED', 'VIEW_DENIED']);
