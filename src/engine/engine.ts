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
import { erase } from './erase.ts';
import { exchange } from './exchange.ts';
import { exportTokens } from './export-tokens.ts';
import { domainOf } from './gate.ts';
import { headOf } from './head.ts';
import { Healing } from './healing.ts';
import { importTokens } from './import-tokens.ts';
import { inspect } from './inspect.ts';
import { mergeSubjects, unmergeSubjects } from './merge.ts';
import type { Parts } from './parts.ts';
import { commitLeaf, plainEntry } from './receipts.ts';
import { saveRunning } from './recovery.ts';
import { restrict } from './restrict.ts';
import { listSubjectTokens } from './subject-tokens.ts';
import { lookup, tokenize } from './tokenize.ts';
import { tokenizeMultiple } from './tokenize-multiple.ts';
import { VaultAdmin } from './vault-admin.ts';
import type {
  BackupRequest,
  EraseAnswer,
  EraseCall,
  ExportBatch,
  ExportCall,
  ImportAnswer,
  ImportCall,
  JobView,
  MergeAnswer,
  MergeCall,
  MultipleAnswer,
  RestrictCall,
  SubjectTokensAnswer,
  SubjectTokensCall,
  TargetAnswer,
  TokenizeMultipleCall,
  VaultView,
} from './vault-calls.ts';
import { requireLog, requireVault } from './writable.ts';

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
  readonly #vaultAdmin: VaultAdmin;
  readonly #underWay = new Set<Promise<unknown>>();
  /** Steps that only wait for something else to happen. */
  readonly #watching = new Set<Promise<unknown>>();
  readonly #healing: Healing;
  readonly #positions: number[] = [];
  readonly #saving: NodeJS.Timeout;
  #saved: Promise<void> = Promise.resolve();
  #savedSize = -1;
  #closing: Promise<void> | undefined;

  constructor(parts: Parts, admin: DomainAdmin, keeper: CatalogueKeeper) {
    this.#parts = parts;
    this.#admin = admin;
    this.#keeper = keeper;
    this.#vaultAdmin = new VaultAdmin(parts);
    this.#healing = new Healing(parts, this.#underWay);
    parts.space.start();
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

  tokenizeMultiple(call: TokenizeMultipleCall): Promise<MultipleAnswer> {
    return this.#serve('TokenizeMultiple', call, () => tokenizeMultiple(this.#parts, call));
  }

  restrict(call: RestrictCall): Promise<TargetAnswer> {
    return this.#serve('Restrict', call, () => restrict(this.#parts, call));
  }

  erase(call: EraseCall): Promise<EraseAnswer> {
    return this.#serve('Erase', call, () => erase(this.#parts, call));
  }

  listSubjectTokens(call: SubjectTokensCall): Promise<SubjectTokensAnswer> {
    return this.#serve('ListSubjectTokens', call, () => listSubjectTokens(this.#parts, call));
  }

  mergeSubjects(call: MergeCall): Promise<MergeAnswer> {
    const named = officerCall(call.caller);
    return this.#serve('MergeSubjects', named, () => mergeSubjects(this.#parts, call));
  }

  unmergeSubjects(
    caller: Caller,
    merge: string,
    note: string,
    requestId: string,
  ): Promise<Omit<MergeAnswer, 'merge'>> {
    return this.#serve('UnmergeSubjects', officerCall(caller), () =>
      unmergeSubjects(this.#parts, caller, merge, note, requestId),
    );
  }

  importTokens(call: ImportCall): Promise<ImportAnswer> {
    return this.#serve('ImportTokens', call, () => importTokens(this.#parts, call));
  }

  exportTokens(call: ExportCall): AsyncGenerator<ExportBatch> {
    return this.#stream('ExportTokens', call, exportTokens(this.#parts, call));
  }

  getVault(caller: Caller): Promise<VaultView> {
    return this.#serve('GetVault', officerCall(caller), () => this.#vaultAdmin.state(caller));
  }

  backUpVault(
    caller: Caller,
    request: BackupRequest,
  ): Promise<{ readonly job: JobView; readonly receipt: Receipt }> {
    const work = () => this.#vaultAdmin.backUp(caller, request);
    return this.#serve('BackUpVault', officerCall(caller), work);
  }

  checkVault(caller: Caller, deep: boolean, requestId: string): Promise<JobView> {
    const work = () => this.#vaultAdmin.check(caller, deep, requestId);
    return this.#serve('CheckVault', officerCall(caller), work);
  }

  compactVault(caller: Caller): Promise<{ readonly job: JobView; readonly receipt: Receipt }> {
    return this.#serve('CompactVault', officerCall(caller), () => this.#vaultAdmin.compact(caller));
  }

  erasureCertificate(
    caller: Caller,
    leafIndex: number,
  ): Promise<{ readonly certificate: string; readonly compacted: boolean }> {
    const work = () => this.#vaultAdmin.certificate(caller, leafIndex);
    return this.#serve('GetErasureCertificate', officerCall(caller), work);
  }

  getJob(caller: Caller, id: string): Promise<JobView> {
    return this.#serve('GetJob', officerCall(caller), () => this.#vaultAdmin.job(caller, id));
  }

  listJobs(
    caller: Caller,
    target: string,
    after: string,
    limit: number,
  ): Promise<readonly JobView[]> {
    const work = () => this.#vaultAdmin.jobs(caller, target, after, limit);
    return this.#serve('ListJobs', officerCall(caller), work);
  }

  watchJob(caller: Caller, id: string): AsyncGenerator<JobView> {
    return this.#stream('WatchJob', officerCall(caller), this.#vaultAdmin.watch(caller, id));
  }

  cancelJob(caller: Caller, id: string): Promise<JobView> {
    return this.#serve('CancelJob', officerCall(caller), () => this.#vaultAdmin.cancel(caller, id));
  }

  health(): { readonly serving: boolean; readonly reason: Reason | undefined } {
    const { vault, log, lane, space } = this.#parts;
    if (this.#closing !== undefined) return { serving: false, reason: 'DRAINING' };
    if (lane.dead) return { serving: false, reason: 'MODULE_UNAVAILABLE' };
    if (log.fenced) return { serving: false, reason: 'LOG_UNAVAILABLE' };
    if (vault.fenced) return { serving: false, reason: reasonOf(vault.refusal) };
    if (space.level === 'critical') return { serving: false, reason: 'STORE_FULL' };
    return { serving: true, reason: undefined };
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  /** Everything is let go of, whatever fails on the way; the first failure comes out at the end. */
  async #close(): Promise<void> {
    clearInterval(this.#saving);
    const { committer, vault, log, lane, logger, jobs, space } = this.#parts;
    try {
      this.#parts.compaction.close();
      await jobs.close(); // First, since whoever watches a job is under way too.
      await Promise.allSettled([...this.#underWay, ...this.#watching]);
      await this.#healing.close();
      await space.close();
      await committer.idle();
      await this.#saved;
      // Nothing is under way, so the record may speak of the whole log.
      if (!vault.fenced) await this.#saveAt(log.size);
    } catch (cause) {
      // The next start reads more of the log; nothing is lost.
      logger.warn('running-record-failed', {}, cause);
    } finally {
      await closeAll(vault, headOf(this.#parts), log, lane);
    }
  }

  async #serve<T>(verb: string, call: Named, work: () => Promise<T>): Promise<T> {
    while (this.#healing.door !== undefined) await this.#healing.door;
    if (this.#closing !== undefined) throw new CallError('DRAINING');
    // Another process has the vault: what this one would show or write may be old.
    if (this.#parts.head.lost) throw new CallError('STORE_UNAVAILABLE');
    if (!LEAFLESS.has(verb)) requireLog(this.#parts);
    if (WRITERS.has(verb)) requireVault(this.#parts);
    const underWay = verb === 'WatchJob' ? this.#watching : this.#underWay;
    const answer = work().catch((cause: unknown) => this.#refuse(verb, call, cause));
    underWay.add(answer);
    try {
      return await answer;
    } finally {
      underWay.delete(answer);
    }
  }

  /** Each step of a stream is a piece of work: between two of them the engine may be closed. */
  async *#stream<T>(verb: string, call: Named, steps: AsyncGenerator<T>): AsyncGenerator<T> {
    try {
      for (;;) {
        const step = await this.#serve(verb, call, () => steps.next());
        if (step.done === true) return;
        yield step.value;
      }
    } finally {
      await steps.return(undefined);
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

const reasonOf = (refusal: unknown): Reason =>
  refusal instanceof CallError ? refusal.reason : 'STORE_UNAVAILABLE';

/** Verbs that leave no entry where nobody is denied. */
const LEAFLESS: ReadonlySet<string> = new Set([
  ...['GetDomain', 'ListDomains', 'GetVault', 'GetErasureCertificate'],
  ...['GetJob', 'ListJobs', 'WatchJob', 'CancelJob'],
]);

/** Verbs that always write the vault: refused before any work while it cannot be written. The
 *  others ask where they know that they will. */
const WRITERS: ReadonlySet<string> = new Set([
  ...['CreateDomain', 'Restrict', 'Erase', 'MergeSubjects', 'UnmergeSubjects', 'ImportTokens'],
]);

/** A verb that concerns no domain. */
const officerCall = (caller: Caller): Named => ({ caller, domain: '', purpose: '' });

/** Closes one after the other, each whatever became of those before; throws the first failure. */
export async function closeAll(...opened: readonly { close(): Promise<void> }[]): Promise<void> {
  const failures: unknown[] = [];
  for (const one of opened) await one.close().catch((cause: unknown) => failures.push(cause));
  if (failures.length > 0) throw failures[0];
}

const DENIALS: ReadonlySet<Reason> = new Set<Reason>(['ACCESS_DENIED', 'VIEW_DENIED']);
