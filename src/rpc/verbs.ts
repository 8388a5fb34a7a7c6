import { timestampFromMs } from '@bufbuild/protobuf/wkt';
import type { DomainSpec, View } from '../base/domain.ts';
import type { DomainRequest, TokenState } from '../engine/calls.ts';
import type { CallOptions, Connection } from './client.ts';
import { AccessService } from './gen/lockstep/v1/access_service_pb.ts';
import type { ItemError } from './gen/lockstep/v1/common_pb.ts';
import { type Domain, DomainService } from './gen/lockstep/v1/domain_service_pb.ts';
import { TokenService } from './gen/lockstep/v1/token_service_pb.ts';
import {
  KIND_NUMBER,
  ON_INVALID_NUMBER,
  SAFETY_NUMBER,
  STATE_NUMBER,
  VIEW_NUMBER,
  wordOf,
} from './names.ts';

/** The contract in the project's own words, for programs of ours that are its clients: no
 *  generated type leaves this folder. Every method rejects with `RpcError`. */
export interface Verbs {
  tokenize(batch: Batch, options?: CallOptions): Promise<BatchOutcome>;
  lookup(batch: Batch, options?: CallOptions): Promise<BatchOutcome>;
  detokenize(
    batch: Batch & { readonly view: View; readonly acceptLowerView: boolean },
    options?: CallOptions,
  ): Promise<BatchOutcome>;
  exchange(
    batch: Batch & { readonly targetDomain: string; readonly targetContext: string },
    options?: CallOptions,
  ): Promise<BatchOutcome>;
  inspect(batch: Batch, options?: CallOptions): Promise<BatchOutcome>;
  createDomain(wanted: DomainRequest, options?: CallOptions): Promise<ShownDomain>;
  getDomain(id: string, options?: CallOptions): Promise<ShownDomain>;
  /** All that the caller may see, ascending by id, page by page. */
  listDomains(options?: CallOptions): AsyncGenerator<readonly ShownDomain[]>;
  /** Refused with ETAG_MISMATCH where the domain changed since `domain` was read. */
  setDisabled(domain: ShownDomain, disabled: boolean, options?: CallOptions): Promise<ShownDomain>;
  grantBulk(grant: BulkGrant, options?: CallOptions): Promise<number>;
}

/** Items of one call: values or tokens. */
export interface Batch {
  readonly domain: string;
  readonly items: readonly string[];
  /** '' for none. */
  readonly purpose: string;
  readonly requestId: string;
  /** One text for all, or one an item; '' for none. */
  readonly subject: string | readonly string[];
  readonly context: string | readonly string[];
}

export interface BatchOutcome {
  /** Tokens, values or token states (`live`, `well-formed`, `unknown`); as many as items, empty
   *  where `errors` names one. */
  readonly outputs: readonly string[];
  readonly errors: readonly { index: number; reason: string; retryable: boolean }[];
  readonly leafIndex: number;
}

export interface ShownDomain {
  readonly id: string;
  readonly kind: DomainSpec['kind'] | '';
  readonly format: string;
  readonly formatOptions: Readonly<Record<string, string>>;
  readonly safety: DomainSpec['safety'] | '';
  readonly onInvalid: DomainSpec['onInvalid'] | '';
  readonly assigner: string;
  readonly displayName: string;
  readonly note: string;
  readonly subjectRequired: boolean;
  readonly disabled: boolean;
  readonly keyVersion: number;
  readonly liveTokens: number;
  /** log2 of all possible tokens. */
  readonly capacityBits: number;
  readonly etag: string;
}

export interface BulkGrant {
  readonly caller: string;
  readonly domain: string;
  readonly count: number;
  readonly untilMs: number;
}

export function verbsOf(connection: Connection): Verbs {
  return { ...tokenVerbs(connection), ...domainVerbs(connection), ...accessVerbs(connection) };
}

type TokenVerbs = Pick<Verbs, 'tokenize' | 'lookup' | 'detokenize' | 'exchange' | 'inspect'>;

function tokenVerbs(connection: Connection): TokenVerbs {
  const tokens = connection.stub(TokenService);
  return {
    async tokenize(batch, options) {
      const answer = await tokens.tokenize({ ...common(batch), values: [...batch.items] }, options);
      return outcomeOf(answer, answer.tokens);
    },
    async lookup(batch, options) {
      const { requestId: _, ...fields } = common(batch);
      const answer = await tokens.lookup({ ...fields, values: [...batch.items] }, options);
      return outcomeOf(answer, answer.tokens);
    },
    async detokenize(batch, options) {
      const view = VIEW_NUMBER[batch.view];
      const { acceptLowerView } = batch;
      const answer = await tokens.detokenize(
        { ...common(batch), tokens: [...batch.items], view, acceptLowerView },
        options,
      );
      return outcomeOf(answer, answer.values);
    },
    async exchange(batch, options) {
      const { targetDomain, targetContext } = batch;
      const answer = await tokens.exchange(
        { ...common(batch), tokens: [...batch.items], targetDomain, targetContext },
        options,
      );
      return outcomeOf(answer, answer.tokens);
    },
    async inspect(batch, options) {
      const { domain, purpose, context, contexts } = common(batch);
      const answer = await tokens.inspect(
        { domain, purpose, context, contexts, tokens: [...batch.items] },
        options,
      );
      const words = answer.states.map(
        (state): TokenState | '' => wordOf(STATE_NUMBER, state) ?? '',
      );
      return outcomeOf(answer, words);
    },
  };
}

function common({ domain, purpose, requestId, subject, context }: Batch) {
  return {
    domain,
    purpose,
    requestId,
    ...(typeof subject === 'string'
      ? { subject, subjects: [] }
      : { subject: '', subjects: [...subject] }),
    ...(typeof context === 'string'
      ? { context, contexts: [] }
      : { context: '', contexts: [...context] }),
  };
}

function outcomeOf(
  answer: {
    readonly errors: readonly ItemError[];
    readonly receipt?: { leafIndex: bigint } | undefined;
  },
  outputs: readonly string[],
): BatchOutcome {
  return {
    outputs,
    errors: answer.errors.map(({ index = 0, reason, retryable }) => ({ index, reason, retryable })),
    leafIndex: Number(answer.receipt?.leafIndex ?? 0n),
  };
}

type DomainVerbs = Pick<Verbs, 'createDomain' | 'getDomain' | 'listDomains' | 'setDisabled'>;

function domainVerbs(connection: Connection): DomainVerbs {
  const domains = connection.stub(DomainService);
  return {
    async createDomain({ kind, safety, onInvalid, population, note, ...rest }, options) {
      const spec = {
        ...rest,
        kind: KIND_NUMBER[kind],
        ...(safety === undefined ? {} : { safety: SAFETY_NUMBER[safety] }),
        ...(onInvalid === undefined ? {} : { onInvalid: ON_INVALID_NUMBER[onInvalid] }),
        ...(population === undefined ? {} : { population: BigInt(population) }),
      };
      const wanted = { spec, ...(note === undefined ? {} : { note }) };
      return shown((await domains.createDomain(wanted, options)).domain);
    },
    async getDomain(domain, options) {
      return shown((await domains.getDomain({ domain }, options)).domain);
    },
    async *listDomains(options) {
      let pageToken = '';
      do {
        const page = await domains.listDomains({ pageSize: 0, pageToken }, options);
        yield page.domains.map(shown);
        pageToken = page.nextPageToken;
      } while (pageToken !== '');
    },
    async setDisabled({ id, etag }, disabled, options) {
      const updateMask = { paths: ['disabled'] };
      const change = { spec: { id, etag, disabled }, updateMask };
      return shown((await domains.updateDomain(change, options)).domain);
    },
  };
}

function shown(domain: Domain | undefined): ShownDomain {
  const {
    id = '',
    format = '',
    formatOptions = {},
    assigner = '',
    displayName = '',
  } = domain ?? {};
  return {
    id,
    kind: wordOf(KIND_NUMBER, domain?.kind ?? 0) ?? '',
    format,
    formatOptions,
    safety: wordOf(SAFETY_NUMBER, domain?.safety ?? 0) ?? '',
    onInvalid: wordOf(ON_INVALID_NUMBER, domain?.onInvalid ?? 0) ?? '',
    assigner,
    displayName,
    note: domain?.note ?? '',
    subjectRequired: domain?.subjectRequired ?? false,
    disabled: domain?.disabled ?? false,
    keyVersion: domain?.keyVersion ?? 0,
    liveTokens: Number(domain?.liveTokens ?? 0n),
    capacityBits: domain?.capacityBits ?? 0,
    etag: domain?.etag ?? '',
  };
}

function accessVerbs(connection: Connection): Pick<Verbs, 'grantBulk'> {
  const access = connection.stub(AccessService);
  return {
    async grantBulk({ caller, domain, count, untilMs }, options) {
      const untilTime = timestampFromMs(untilMs);
      const grant = { caller, domain, count: BigInt(count), untilTime };
      const answer = await access.grantBulk(grant, options);
      return Number(answer.receipt?.leafIndex ?? 0n);
    },
  };
}
