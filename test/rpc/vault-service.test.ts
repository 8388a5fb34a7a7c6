import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import {
  Health,
  HealthCheckResponse_ServingStatus as Serving,
} from '../../src/rpc/gen/grpc/health/v1/health_pb.ts';
import { JobService, JobState } from '../../src/rpc/gen/lockstep/v1/job_service_pb.ts';
import { TokenState } from '../../src/rpc/gen/lockstep/v1/token_service_pb.ts';
import { VaultService, VaultState } from '../../src/rpc/gen/lockstep/v1/vault_service_pb.ts';
import { RpcError } from '../../src/rpc/rpc-error.ts';
import { verbsOf } from '../../src/rpc/verbs.ts';
import { type Harness, startHarness } from './harness.ts';

/** Patient data of a request: none of it may stand in an error or a log line. */
const SECRET = '529-31-0047';

let harness: Harness;
beforeAll(async () => {
  harness = await startHarness();
});
afterEach(() => {
  harness.engine.calls.length = 0;
  harness.engine.jobs.clear();
});
afterAll(() => harness.stop());

const vault = () => harness.client.stub(VaultService);
const jobs = () => harness.client.stub(JobService);
const caller = { id: 'dev:dev', organisation: 'clinic' };
const RECIPIENT = `age1pq${'q'.repeat(1_953)}`;

describe('VaultService', () => {
  test('shows the vault', async () => {
    const { vault: shown } = await vault().getVault({});
    expect(shown?.checkTime).toBeUndefined();
    expect(shown).toMatchObject({
      id: '01VAULT',
      state: VaultState.LOW_SPACE,
      epoch: 4n,
      liveTokens: 1_000n,
      logSize: 77n,
      freeBytes: 2n ** 40n,
    });
  });

  test('starts jobs, and hands over what they are to do', async () => {
    const asked = { file: 'night-1.age', recipients: [RECIPIENT], requestId: 'r1', classic: true };
    const { job, receipt } = await vault().backUpVault(asked);
    expect(job).toMatchObject({
      id: 'backup',
      kind: 'backup',
      target: 'vault',
      state: JobState.RUNNING,
      done: 1n,
      total: 3n,
      createTime: { seconds: 1_700_000_000n, nanos: 123_000_000 },
    });
    expect([job?.endTime, job?.error]).toEqual([undefined, undefined]);
    expect(receipt?.leafHash).toHaveLength(32);
    expect((await vault().checkVault({ deep: true, requestId: 'r2' })).job?.kind).toBe('check');
    expect((await vault().compactVault({})).job?.kind).toBe('compaction');
    expect(harness.engine.calls).toEqual([asked, { deep: true, requestId: 'r2' }]);
  });

  test('gives the certificate of an erasure', async () => {
    const answer = await vault().getErasureCertificate({ leafIndex: 5n });
    expect(answer).toMatchObject({ certificate: 'gone\n\n— note\n', compacted: true });
    await expect(vault().getErasureCertificate({ leafIndex: 6n })).rejects.toMatchObject({
      code: 5,
      reason: 'RESOURCE_NOT_FOUND',
    });
  });

  test('merges subjects, and takes it back', async () => {
    const names = { survivor: 'Zoë', prior: 'P-2' };
    const merge = await vault().mergeSubjects({ ...names, note: 'A40', requestId: 'r3' });
    expect(merge).toMatchObject({ merge: '01MERGE', moved: 2n });
    const unmerge = { merge: '01MERGE', note: 'wrong', requestId: 'r4' };
    expect((await vault().unmergeSubjects(unmerge)).moved).toBe(2n);
    expect(harness.engine.calls).toMatchObject([
      {
        caller,
        survivor: new TextEncoder().encode('Zoë'),
        prior: new TextEncoder().encode('P-2'),
        note: 'A40',
        requestId: 'r3',
      },
      [caller, '01MERGE', 'wrong', 'r4'],
    ]);
  });

  test("lists a patient's tokens page by page, for him who asked alone", async () => {
    const query = { subject: 'P-1', domain: '', purpose: 'TREAT', pageSize: 2 };
    const seen: string[] = [];
    let pageToken = '';
    do {
      const page = await vault().listSubjectTokens({ ...query, pageToken });
      expect(page.states.every((state) => state === TokenState.LIVE)).toBe(true);
      seen.push(page.domains.map((domain, i) => `${domain}=${page.tokens[i]}`).join(' '));
      pageToken = page.nextPageToken;
      expect(Buffer.from(pageToken, 'base64url').toString()).not.toContain('P-1');
      if (pageToken !== '') {
        const other = { ...query, pageToken, purpose: 'ETREAT' };
        await expect(vault().listSubjectTokens(other)).rejects.toMatchObject({
          reason: 'PAGE_TOKEN_INVALID',
        });
      }
    } while (pageToken !== '');
    expect(seen).toEqual([
      'clinic/d0=T0 clinic/d1=T1',
      'clinic/d2=T2 clinic/d3=T3',
      'clinic/d4=T4',
    ]);
  });

  const backup = { file: 'a.age', recipients: [RECIPIENT] };
  const long = 'x'.repeat(300);
  test.each([
    ['no file', 'FIELD_REQUIRED', 'file', () => vault().backUpVault({ ...backup, file: '' })],
    ['a path', 'FIELD_INVALID', 'file', () => vault().backUpVault({ ...backup, file: '../a' })],
    ['a folder', 'FIELD_INVALID', 'file', () => vault().backUpVault({ ...backup, file: 'a/b' })],
    [
      'a hidden file',
      'FIELD_INVALID',
      'file',
      () => vault().backUpVault({ ...backup, file: '.a' }),
    ],
    [
      'no recipients',
      'FIELD_REQUIRED',
      'recipients',
      () => vault().backUpVault({ ...backup, recipients: [] }),
    ],
    [
      'a recipient that is none',
      'FIELD_INVALID',
      'recipients[1]',
      () => vault().backUpVault({ ...backup, recipients: [RECIPIENT, 'AGE-SECRET-KEY-1'] }),
    ],
    [
      'a long request id',
      'FIELD_INVALID',
      'request_id',
      () => vault().checkVault({ requestId: long }),
    ],
    [
      'a leaf above 2^53',
      'FIELD_INVALID',
      'leaf_index',
      () => vault().getErasureCertificate({ leafIndex: 2n ** 60n }),
    ],
    [
      'a subject of none',
      'FIELD_REQUIRED',
      'subject',
      () => vault().listSubjectTokens({ purpose: 'TREAT' }),
    ],
    [
      'a long subject',
      'FIELD_INVALID',
      'subject',
      () => vault().listSubjectTokens({ subject: long, purpose: 'TREAT' }),
    ],
    [
      'a damaged subject',
      'FIELD_INVALID',
      'subject',
      () => vault().listSubjectTokens({ subject: `${SECRET}\uFFFD`, purpose: 'TREAT' }),
    ],
    [
      'no purpose',
      'PURPOSE_REQUIRED',
      undefined,
      () => vault().listSubjectTokens({ subject: SECRET }),
    ],
    [
      'a huge page',
      'FIELD_INVALID',
      'page_size',
      () => vault().listSubjectTokens({ subject: 'P', purpose: 'TREAT', pageSize: 1_001 }),
    ],
    [
      'a page token of another list',
      'PAGE_TOKEN_INVALID',
      undefined,
      () => vault().listSubjectTokens({ subject: 'P', purpose: 'TREAT', pageToken: 'bm8' }),
    ],
    [
      'no survivor',
      'FIELD_REQUIRED',
      'survivor',
      () => vault().mergeSubjects({ prior: 'P', requestId: 'r' }),
    ],
    [
      'no prior',
      'FIELD_REQUIRED',
      'prior',
      () => vault().mergeSubjects({ survivor: 'P', requestId: 'r' }),
    ],
    [
      'a merge with itself',
      'FIELD_INVALID',
      'prior',
      () => vault().mergeSubjects({ survivor: SECRET, prior: SECRET }),
    ],
    [
      'a long note',
      'FIELD_INVALID',
      'note',
      () => vault().mergeSubjects({ survivor: 'A', prior: 'B', note: 'x'.repeat(501) }),
    ],
    ['no merge', 'FIELD_REQUIRED', 'merge', () => vault().unmergeSubjects({})],
    ['no id', 'FIELD_INVALID', 'merge', () => vault().unmergeSubjects({ merge: SECRET })],
    ['no job', 'FIELD_REQUIRED', 'job', () => jobs().getJob({})],
    ['no id of a job', 'FIELD_INVALID', 'job', () => jobs().cancelJob({ job: '../1' })],
    ['no target', 'FIELD_INVALID', 'target', () => jobs().listJobs({ target: 'A B' })],
  ])('%s: %s', async (_name, reason, field, call: () => Promise<unknown>) => {
    const error = await call().then(
      () => undefined,
      (cause: unknown) => cause,
    );
    if (!(error instanceof RpcError)) throw new Error('the call succeeded');
    expect([error.code, error.reason]).toEqual([3, reason]);
    expect(error.violations[0]?.field).toBe(field);
    expect(JSON.stringify([error.message, error.violations, error.metadata])).not.toContain(SECRET);
    expect(harness.engine.calls).toEqual([]);
  });
});

test('health knows both services', async () => {
  const health = harness.client.stub(Health);
  for (const { typeName: service } of [VaultService, JobService]) {
    expect((await health.check({ service })).status).toBe(Serving.SERVING);
  }
});

describe('JobService', () => {
  test('shows, lists and cancels', async () => {
    await vault().checkVault({});
    await vault().compactVault({});
    const page = await jobs().listJobs({ target: 'vault', pageSize: 1 });
    expect(page.jobs.map(({ id }) => id)).toEqual(['compaction']);
    const { nextPageToken: pageToken } = page;
    const next = await jobs().listJobs({ target: 'vault', pageSize: 1, pageToken });
    expect(next.jobs.map(({ id }) => id)).toEqual(['check']);
    expect(next.nextPageToken).toBe('');
    await expect(jobs().listJobs({ pageSize: 1, pageToken })).rejects.toMatchObject({
      reason: 'PAGE_TOKEN_INVALID',
    });
    const { job } = await jobs().cancelJob({ job: 'check' });
    expect(job).toMatchObject({ state: JobState.CANCELLED, endTime: { seconds: 9n } });
    await expect(jobs().getJob({ job: 'other' })).rejects.toMatchObject({ code: 5 });
  });

  test('says why a job failed', async () => {
    await vault().checkVault({});
    const job = await harness.engine.getJob(caller, 'check');
    harness.engine.jobs.set('check', { ...job, state: 'failed', reason: 'STORE_UNAVAILABLE' });
    expect((await jobs().getJob({ job: 'check' })).job?.error).toMatchObject({
      code: 14,
      reason: 'STORE_UNAVAILABLE',
      retryable: true,
    });
  });

  test('the verbs tell the same in words', async () => {
    const verbs = verbsOf(harness.client);
    const started = await verbs.checkVault(false, '');
    expect(started).toMatchObject({ id: 'check', state: 'running', total: 3, endedMs: 0 });
    const pages = [];
    for await (const page of verbs.listJobs('')) pages.push(...page);
    expect(pages).toEqual([started]);
    expect(await verbs.getVault()).toMatchObject({ state: 'low-space', epoch: 4, checkedMs: 0 });
    const rows = [];
    const query = { subject: 'P-1', domain: '', purpose: 'TREAT' };
    for await (const page of verbs.listSubjectTokens(query)) rows.push(...page);
    expect(rows).toHaveLength(5);
    expect(rows[4]).toEqual({ domain: 'clinic/d4', token: 'T4', state: 'live' });
  });
});
