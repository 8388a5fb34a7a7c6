import { timestampFromMs } from '@bufbuild/protobuf/wkt';
import type { DomainSpec } from '../base/domain.ts';
import type { DomainRequest } from '../engine/calls.ts';
import type { CallOptions, Connection } from './client.ts';
import { AccessService } from './gen/lockstep/v1/access_service_pb.ts';
import { type Domain, DomainService } from './gen/lockstep/v1/domain_service_pb.ts';
import { KIND_NUMBER, ON_INVALID_NUMBER, SAFETY_NUMBER, wordOf } from './names.ts';
import { leafOf } from './token-verbs.ts';

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
  readonly subjectsShared: boolean;
  readonly disabled: boolean;
  readonly keyVersion: number;
  readonly liveTokens: number;
  /** log2 of all possible tokens. */
  readonly capacityBits: number;
  /** Share of the possible tokens given out for good, 0 to 1. */
  readonly fill: number;
  readonly etag: string;
}

export interface BulkGrant {
  readonly caller: string;
  readonly domain: string;
  readonly count: number;
  readonly untilMs: number;
}

export interface DomainVerbs {
  createDomain(wanted: DomainRequest, options?: CallOptions): Promise<ShownDomain>;
  getDomain(id: string, options?: CallOptions): Promise<ShownDomain>;
  /** All that the caller may see, ascending by id, page by page. */
  listDomains(options?: CallOptions): AsyncGenerator<readonly ShownDomain[]>;
  /** Refused with ETAG_MISMATCH where the domain changed since `domain` was read. */
  setDisabled(domain: ShownDomain, disabled: boolean, options?: CallOptions): Promise<ShownDomain>;
}

export interface AccessVerbs {
  grantBulk(grant: BulkGrant, options?: CallOptions): Promise<number>;
}

export function domainVerbs(connection: Connection): DomainVerbs {
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
    subjectsShared: domain?.subjectsShared ?? false,
    disabled: domain?.disabled ?? false,
    keyVersion: domain?.keyVersion ?? 0,
    liveTokens: Number(domain?.liveTokens ?? 0n),
    capacityBits: domain?.capacityBits ?? 0,
    fill: domain?.fill ?? 0,
    etag: domain?.etag ?? '',
  };
}

export function accessVerbs(connection: Connection): AccessVerbs {
  const access = connection.stub(AccessService);
  return {
    async grantBulk({ caller, domain, count, untilMs }, options) {
      const untilTime = timestampFromMs(untilMs);
      const grant = { caller, domain, count: BigInt(count), untilTime };
      const answer = await access.grantBulk(grant, options);
      return leafOf(answer);
    },
  };
}
