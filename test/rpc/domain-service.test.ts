import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { AccessService } from '../../src/rpc/gen/lockstep/v1/access_service_pb.ts';
import {
  DomainKind,
  DomainService,
  OnInvalid,
  TokenSafety,
} from '../../src/rpc/gen/lockstep/v1/domain_service_pb.ts';
import { readPageToken, writePageToken } from '../../src/rpc/page-token.ts';
import { type Harness, startHarness } from './harness.ts';

let harness: Harness;
beforeAll(async () => {
  harness = await startHarness();
});
beforeEach(() => harness.engine.domains.clear());
afterAll(() => harness.stop());

const domains = () => harness.client.stub(DomainService);
const spec = { id: 'clinic/ssn', kind: DomainKind.FPE, format: 'ssn' };

describe('DomainService', () => {
  test('creates a domain as asked, and shows it', async () => {
    const wanted = {
      ...spec,
      formatOptions: { alphabet: 'abc' },
      safety: TokenSafety.VALID,
      onInvalid: OnInvalid.TOKENIZE_OPAQUE,
      displayName: 'Numéros',
      subjectRequired: true,
      listable: false,
      population: 5_000_000n,
      subjectsShared: true,
    };
    const { domain, receipt } = await domains().createDomain({ spec: wanted, note: 'why' });
    expect(domain).toMatchObject({ ...wanted, note: 'why', keyVersion: 1, etag: 'e1' });
    expect(domain?.createTime).toMatchObject({ seconds: 1_700_000_000n, nanos: 123_000_000 });
    expect(receipt?.leafHash).toHaveLength(32);
    expect((await domains().getDomain({ domain: 'clinic/ssn' })).domain).toEqual(domain);
  });

  test('leaves what is unset to the engine', async () => {
    await domains().createDomain({ spec });
    const made = harness.engine.domains.get('clinic/ssn')?.spec;
    expect(made).toMatchObject({ listable: true, onInvalid: 'reject', population: 0 });
  });

  test.each([
    ['no spec', {}, 'FIELD_REQUIRED', 'spec'],
    ['no id', { spec: { ...spec, id: '' } }, 'FIELD_REQUIRED', 'spec.id'],
    ['no kind', { spec: { ...spec, kind: DomainKind.UNSPECIFIED } }, 'FIELD_REQUIRED', 'spec.kind'],
    ['no format', { spec: { ...spec, format: '' } }, 'FIELD_REQUIRED', 'spec.format'],
    [
      "a field of the server's",
      { spec: { ...spec, keyVersion: 2 } },
      'FIELD_INVALID',
      'spec.key_version',
    ],
    ['a fill', { spec: { ...spec, fill: 0.5 } }, 'FIELD_INVALID', 'spec.fill'],
    ['a disabled one', { spec: { ...spec, disabled: true } }, 'FIELD_INVALID', 'spec.disabled'],
    ['a note inside', { spec: { ...spec, note: 'x' } }, 'FIELD_INVALID', 'spec.note'],
    ['a long note', { spec, note: 'x'.repeat(501) }, 'FIELD_INVALID', 'note'],
    [
      'a huge population',
      { spec: { ...spec, population: 2n ** 60n } },
      'FIELD_INVALID',
      'spec.population',
    ],
    [
      'an unknown kind',
      { spec: { ...spec, kind: 44 as DomainKind } },
      'FIELD_UNKNOWN',
      'spec.kind',
    ],
  ])('refuses %s', async (_name, request, reason, field) => {
    await expect(domains().createDomain(request)).rejects.toMatchObject({
      code: 3,
      reason,
      violations: [{ field }],
    });
    expect(harness.engine.domains.size).toBe(0);
  });

  test('updates what the mask names, and only what may change', async () => {
    await domains().createDomain({ spec });
    const change = (paths: string[], etag = '') =>
      domains().updateDomain({
        spec: { id: 'clinic/ssn', displayName: 'New', disabled: true, etag },
        updateMask: { paths },
      });
    expect((await change(['disabled'])).domain).toMatchObject({ displayName: '', disabled: true });
    await expect(change([])).rejects.toMatchObject({ reason: 'FIELD_REQUIRED' });
    await expect(change(['format'])).rejects.toMatchObject({ reason: 'FIELD_INVALID' });
    await expect(change(['disabled'], 'old')).rejects.toMatchObject({
      code: 10,
      reason: 'ETAG_MISMATCH',
    });
  });

  test('lists page by page', async () => {
    for (const name of ['a', 'b', 'c', 'd', 'e']) {
      await domains().createDomain({ spec: { ...spec, id: `clinic/${name}` } });
    }
    const seen: string[] = [];
    for (let pageToken = ''; ; ) {
      const page = await domains().listDomains({ pageSize: 2, pageToken });
      seen.push(page.domains.map(({ id }) => id).join(' '));
      pageToken = page.nextPageToken;
      if (pageToken === '') break;
    }
    expect(seen).toEqual(['clinic/a clinic/b', 'clinic/c clinic/d', 'clinic/e']);
    await expect(domains().listDomains({ pageSize: 1_001 })).rejects.toMatchObject({
      reason: 'FIELD_INVALID',
    });
    await expect(domains().listDomains({ pageToken: 'bm90IG91cnM' })).rejects.toMatchObject({
      reason: 'PAGE_TOKEN_INVALID',
    });
  });
});

test('a page token is good for one caller, one query and one day', () => {
  const day = 24 * 60 * 60 * 1_000;
  const token = writePageToken('clinic/a', ['dev:a', 'ListDomains'], 1_000);
  const read = (scope: string[], nowMs: number): string => readPageToken(token, scope, nowMs);
  expect(read(['dev:a', 'ListDomains'], 1_000 + day)).toBe('clinic/a');
  expect(() => read(['dev:b', 'ListDomains'], 1_000)).toThrow();
  expect(() => read(['dev:a', 'ListJobs'], 1_000)).toThrow();
  expect(() => read(['dev:a', 'ListDomains', 'vault'], 1_000)).toThrow();
  expect(() => read(['dev:a', 'ListDomains'], 1_001 + day)).toThrow();
  expect(() => read(['dev:a', 'ListDomains'], 999)).toThrow();
  expect(() => readPageToken('x'.repeat(10_000), ['dev:a', 'ListDomains'], 1_000)).toThrow();
});

describe('AccessService.GrantBulk', () => {
  const untilMs = Date.now() + 60_000;
  const grant = {
    caller: 'dev:loader',
    domain: 'clinic/ssn',
    count: 5_000_000n,
    untilTime: { seconds: BigInt(Math.floor(untilMs / 1_000)), nanos: 0 },
  };
  const access = () => harness.client.stub(AccessService);

  test('hands the grant on', async () => {
    harness.engine.calls.length = 0;
    expect((await access().grantBulk(grant)).receipt?.salt).toHaveLength(32);
    expect(harness.engine.calls).toEqual([
      {
        caller: 'dev:loader',
        domain: 'clinic/ssn',
        count: 5_000_000,
        untilMs: Math.floor(untilMs / 1_000) * 1_000,
      },
    ]);
  });

  test.each([
    ['no caller', { caller: '' }, 'FIELD_REQUIRED'],
    ['no domain', { domain: '' }, 'FIELD_REQUIRED'],
    ['no count', { count: 0n }, 'FIELD_REQUIRED'],
    ['a count above 2^53', { count: 2n ** 60n }, 'FIELD_INVALID'],
    ['an end in the past', { untilTime: { seconds: 1n, nanos: 0 } }, 'FIELD_INVALID'],
    [
      'an end beyond all calendars',
      { untilTime: { seconds: 2n ** 62n, nanos: 0 } },
      'FIELD_INVALID',
    ],
  ])('refuses %s', async (_name, change, reason) => {
    await expect(access().grantBulk({ ...grant, ...change })).rejects.toMatchObject({ reason });
  });
});
