import { create } from '@bufbuild/protobuf';
import { timestampFromMs } from '@bufbuild/protobuf/wkt';
import { LIMITS } from '../base/limits.ts';
import type { DomainRequest, DomainView, Engine } from '../engine/calls.ts';
import type { Handlers } from './adapter.ts';
import type { CallContext } from './context.ts';
import {
  type CreateDomainRequest,
  CreateDomainResponseSchema,
  type Domain,
  DomainSchema,
  type DomainService,
  GetDomainResponseSchema,
  ListDomainsResponseSchema,
  type UpdateDomainRequest,
  UpdateDomainResponseSchema,
} from './gen/lockstep/v1/domain_service_pb.ts';
import { KIND_NUMBER, ON_INVALID_NUMBER, SAFETY_NUMBER, wordOf } from './names.ts';
import { pageEntries, readPageToken, writePageToken } from './page-token.ts';
import { wireReceipt } from './token-codecs.ts';
import { checkDomain, invalid, required, tooLong } from './validate.ts';

type Methods = (typeof DomainService)['method'];
const TEXT_BYTES_MAX = 500;
const OPTIONS_MAX = 16;

export function domainHandlers(
  engine: Engine,
): Handlers<Methods, Record<never, never>, CallContext> {
  return {
    async createDomain(request, { caller }) {
      const answer = await engine.createDomain(caller, domainRequest(request));
      return create(CreateDomainResponseSchema, {
        domain: wireDomain(answer.domain),
        receipt: wireReceipt(answer.receipt),
      });
    },
    async getDomain({ domain }, { caller }) {
      checkDomain(domain, 'domain');
      return create(GetDomainResponseSchema, {
        domain: wireDomain(await engine.getDomain(caller, domain)),
      });
    },
    async listDomains({ pageSize, pageToken }, { caller }) {
      const count = pageEntries(pageSize);
      const scope = [caller.id, 'ListDomains'];
      const after = readPageToken(pageToken, scope);
      // One more than asked tells whether there is a next page.
      const found = await engine.listDomains(caller, after, count + 1);
      const page = found.slice(0, count);
      const last = page.at(-1);
      return create(ListDomainsResponseSchema, {
        domains: page.map(wireDomain),
        nextPageToken:
          found.length > count && last !== undefined ? writePageToken(last.spec.id, scope) : '',
      });
    },
    async updateDomain(request, { caller }) {
      const { id, etag, change } = domainChange(request);
      const answer = await engine.updateDomain(caller, id, change, etag);
      return create(UpdateDomainResponseSchema, {
        domain: wireDomain(answer.domain),
        receipt: wireReceipt(answer.receipt),
      });
    },
  };
}

function domainRequest({ spec, note }: CreateDomainRequest): DomainRequest {
  if (spec === undefined) throw required('spec');
  checkDomain(spec.id, 'spec.id');
  const kind = wordOf(KIND_NUMBER, spec.kind);
  if (kind === undefined) throw required('spec.kind');
  if (spec.format === '') throw required('spec.format');
  refuseServersFields(spec);
  const { format, formatOptions, assigner, displayName } = spec;
  const texts = { 'spec.format': format, 'spec.assigner': assigner };
  checkTexts({ ...texts, 'spec.display_name': displayName, note });
  checkOptions(formatOptions);
  const population = Number(spec.population);
  if (!Number.isSafeInteger(population)) {
    throw invalid({ field: 'spec.population', text: 'is above 2^53 - 1' });
  }
  const safety = wordOf(SAFETY_NUMBER, spec.safety);
  const onInvalid = wordOf(ON_INVALID_NUMBER, spec.onInvalid);
  return {
    id: spec.id,
    kind,
    format,
    ...(Object.keys(formatOptions).length === 0 ? {} : { formatOptions: { ...formatOptions } }),
    ...(safety === undefined ? {} : { safety }),
    ...(assigner === '' ? {} : { assigner }),
    ...(displayName === '' ? {} : { displayName }),
    ...(onInvalid === undefined ? {} : { onInvalid }),
    ...(spec.subjectRequired ? { subjectRequired: true } : {}),
    ...(spec.subjectsShared ? { subjectsShared: true } : {}),
    ...(spec.listable === undefined ? {} : { listable: spec.listable }),
    ...(population === 0 ? {} : { population }),
    ...(note === '' ? {} : { note }),
  };
}

/** What the server says of a domain cannot be asked for: taken silently it would look granted. */
function refuseServersFields(spec: Domain): void {
  const set = {
    key_version: spec.keyVersion !== 0,
    live_tokens: spec.liveTokens !== 0n,
    capacity_bits: spec.capacityBits !== 0,
    fill: spec.fill !== 0,
    etag: spec.etag !== '',
    create_time: spec.createTime !== undefined,
    disabled: spec.disabled,
    note: spec.note !== '',
  };
  for (const [name, isSet] of Object.entries(set)) {
    if (isSet) throw invalid({ field: `spec.${name}`, text: 'is not for a new domain' });
  }
}

function checkTexts(texts: Readonly<Record<string, string>>): void {
  for (const [field, text] of Object.entries(texts)) {
    if (Buffer.byteLength(text) > TEXT_BYTES_MAX) throw tooLong(field, TEXT_BYTES_MAX);
  }
}

function checkOptions(options: Readonly<Record<string, string>>): void {
  const entries = Object.entries(options);
  if (entries.length > OPTIONS_MAX) {
    throw invalid({ field: 'spec.format_options', text: `has more than ${OPTIONS_MAX} entries` });
  }
  for (const [key, option] of entries) {
    checkTexts({ 'spec.format_options': key });
    if (Buffer.byteLength(option) > LIMITS.valueBytesMax) {
      throw tooLong('spec.format_options', LIMITS.valueBytesMax);
    }
  }
}

function domainChange({ spec, updateMask }: UpdateDomainRequest): {
  id: string;
  etag: string;
  change: { displayName?: string; disabled?: boolean };
} {
  if (spec === undefined) throw required('spec');
  checkDomain(spec.id, 'spec.id');
  const paths = new Set(updateMask?.paths);
  if (paths.size === 0) throw required('update_mask');
  const change: { displayName?: string; disabled?: boolean } = {};
  for (const path of paths) {
    if (path === 'display_name') change.displayName = spec.displayName;
    else if (path === 'disabled') change.disabled = spec.disabled;
    else throw invalid({ field: 'update_mask', text: 'names a field that cannot change' });
  }
  checkTexts({ 'spec.display_name': spec.displayName, 'spec.etag': spec.etag });
  return { id: spec.id, etag: spec.etag, change };
}

function wireDomain(view: DomainView): Domain {
  const { spec } = view;
  return create(DomainSchema, {
    id: spec.id,
    kind: KIND_NUMBER[spec.kind],
    format: spec.format,
    formatOptions: { ...spec.formatOptions },
    safety: SAFETY_NUMBER[spec.safety],
    assigner: spec.assigner,
    displayName: spec.displayName,
    onInvalid: ON_INVALID_NUMBER[spec.onInvalid],
    subjectRequired: spec.subjectRequired,
    keyVersion: view.keyVersion,
    liveTokens: BigInt(view.liveTokens),
    capacityBits: view.capacityBits,
    etag: view.etag,
    createTime: timestampFromMs(spec.createdMs),
    disabled: spec.disabled,
    listable: spec.listable,
    population: BigInt(spec.population),
    note: spec.note,
    subjectsShared: spec.subjectsShared,
    fill: view.fill,
  });
}
