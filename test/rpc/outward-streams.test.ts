import { connect as connectHttp2, constants } from 'node:http2';
import { create, type DescMessage, type MessageInitShape, toBinary } from '@bufbuild/protobuf';
import { afterEach, describe, expect, test } from 'vitest';
import { CallError } from '../../src/base/call-error.ts';
import { JobService, JobState } from '../../src/rpc/gen/lockstep/v1/job_service_pb.ts';
import {
  ExportTokensRequestSchema,
  VaultService,
} from '../../src/rpc/gen/lockstep/v1/vault_service_pb.ts';
import { type Harness, startHarness } from './harness.ts';

let harness: Harness;
afterEach(() => harness.stop());

const vault = () => harness.client.stub(VaultService);
const jobs = () => harness.client.stub(JobService);
const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
async function all<T>(source: AsyncIterable<T>): Promise<T[]> {
  const found: T[] = [];
  for await (const one of source) found.push(one);
  return found;
}

const query = { domain: 'ssn', purpose: 'HOPERAT' };

describe('ExportTokens', () => {
  test('gives every batch, in order, each with its receipt and its row', async () => {
    harness = await startHarness();
    harness.engine.exportBatches = 3;
    const seen: string[] = [];
    for await (const { values, tokens, row, receipt } of vault().exportTokens(query)) {
      expect(receipt?.leafHash).toHaveLength(32);
      seen.push(`${values.join()} ${tokens.join()} ${row}`);
    }
    expect(seen).toEqual(['value0 T0 1', 'value1 T1 2', 'value2 T2 3']);
    expect(harness.engine.calls).toMatchObject([{ domain: 'ssn', purpose: 'HOPERAT', after: '' }]);
    expect(harness.ended).toMatchObject([{ code: 'OK', done: 3, failed: 0 }]);
    const rest = await all(vault().exportTokens({ ...query, after: '2' }));
    expect(rest.map(({ row }) => row)).toEqual(['3']);
  });

  test.each([
    ['no domain', { purpose: 'HOPERAT' }, 'FIELD_REQUIRED'],
    ['no purpose', { domain: 'ssn' }, 'PURPOSE_REQUIRED'],
    ['a purpose that is no code', { ...query, purpose: 'a b' }, 'PURPOSE_UNKNOWN'],
    ['a row that is none', { ...query, after: 'a b' }, 'FIELD_INVALID'],
  ])('%s is refused before the engine sees it', async (_name, request, reason) => {
    harness = await startHarness();
    await expect(all(vault().exportTokens(request))).rejects.toMatchObject({
      code: 3,
      reason,
    });
    expect(harness.engine.calls).toEqual([]);
  });

  test('a refusal is the status, after what was given before', async () => {
    harness = await startHarness();
    harness.engine.exportBatches = 2;
    harness.engine.before = () => Promise.reject(new CallError('ACCESS_DENIED'));
    await expect(all(vault().exportTokens(query))).rejects.toMatchObject({
      code: 7,
      reason: 'ACCESS_DENIED',
    });
  });

  test('who leaves stops it: no further batch is made, and the source is closed', async () => {
    harness = await startHarness();
    harness.engine.exportBatches = 1_000_000;
    for await (const { row } of vault().exportTokens(query)) if (row === '5') break;
    await expect.poll(() => harness.engine.closed).toBe(1);
    const made = harness.engine.exported;
    await sleep(50);
    expect(harness.engine.exported).toBe(made);
    expect(harness.server.active()).toBe(0);
    expect(harness.ended.at(-1)).toMatchObject({ code: 'CANCELLED' });
    expect(harness.logged).toEqual([]);
  });

  test('a deadline of the stream ends it; without one it may take long', async () => {
    harness = await startHarness();
    harness.engine.exportBatches = 1_000_000;
    const reading = all(vault().exportTokens(query, { deadlineMs: 150 }));
    await expect(reading).rejects.toMatchObject({ code: 4 });
    await expect.poll(() => harness.engine.closed).toBe(1);
    const [call] = harness.engine.calls as { deadlineMs: number }[];
    expect(call?.deadlineMs).toBeLessThanOrEqual(Date.now());
    harness.engine.exportBatches = 1;
    await all(vault().exportTokens(query));
    expect(harness.engine.calls.at(-1)).toMatchObject({ deadlineMs: Number.POSITIVE_INFINITY });
  });

  test('a drain ends it with DRAINING, to go on behind the last row', async () => {
    harness = await startHarness();
    harness.engine.exportBatches = 1_000_000;
    let row = '';
    const reading = (async () => {
      for await (const batch of vault().exportTokens(query)) row = batch.row;
    })();
    await expect.poll(() => row).not.toBe('');
    const drained = harness.server.drain(5_000);
    await expect(reading).rejects.toMatchObject({ code: 14, reason: 'DRAINING' });
    await drained;
    expect(harness.engine.closed).toBe(1);
  });

  test('waits for a client that does not read, holds one answer, and ends it', async () => {
    harness = await startHarness({ streamStallMs: 300 });
    harness.engine.exportBatches = 1_000_000;
    harness.engine.exportValue = 'x'.repeat(20_000);
    const client = deafClient(harness.address, ExportTokensRequestSchema, query);
    await expect.poll(() => harness.engine.exported).toBeGreaterThan(0);
    await sleep(100);
    // What waits for the window, and what is made while the last one waits.
    expect(harness.engine.exported).toBeLessThanOrEqual(2);
    expect(await client.closed).toBe(constants.NGHTTP2_CANCEL);
    expect(harness.ended.at(-1)).toMatchObject({ reason: 'STREAM_STALLED' });
    expect(harness.engine.closed).toBe(1);
    client.destroy();
  }, 15_000);
});

describe('WatchJob', () => {
  test('tells each change until the job has ended', async () => {
    harness = await startHarness();
    await vault().checkVault({});
    const job = await harness.engine.getJob({ id: 'dev:dev', organisation: 'clinic' }, 'check');
    const seen: string[] = [];
    for await (const { job: it } of jobs().watchJob({ job: 'check' })) {
      seen.push(`${it?.state} ${it?.done}`);
      const next = { ...job, done: seen.length + 1 };
      harness.engine.jobs.set('check', seen.length < 3 ? next : { ...next, state: 'done' });
    }
    expect(seen).toEqual([
      `${JobState.RUNNING} 1`,
      `${JobState.RUNNING} 2`,
      `${JobState.RUNNING} 3`,
      `${JobState.DONE} 4`,
    ]);
    await expect(all(jobs().watchJob({ job: '01NONE' }))).rejects.toMatchObject({
      code: 5,
    });
  });

  test('who leaves while nothing changes is let go at once', async () => {
    harness = await startHarness();
    await vault().checkVault({});
    const stop = new AbortController();
    const watching = all(jobs().watchJob({ job: 'check' }, { signal: stop.signal }));
    await expect.poll(() => harness.server.active()).toBe(1);
    stop.abort();
    await expect(watching).rejects.toMatchObject({ code: 1 });
    await expect.poll(() => harness.server.active()).toBe(0);
    expect(harness.engine.jobs.get('check')?.state).toBe('running');
  });
});

/** A client of HTTP/2 alone that never opens its window for answers. */
function deafClient<D extends DescMessage>(
  address: string,
  schema: D,
  request: MessageInitShape<D>,
): { closed: Promise<number | undefined>; destroy(): void } {
  const session = connectHttp2(`http://${address}`, { settings: { initialWindowSize: 1 } });
  session.on('error', () => {});
  const stream = session.request({
    ':method': 'POST',
    ':path': '/lockstep.v1.VaultService/ExportTokens',
    'content-type': 'application/grpc',
    te: 'trailers',
  });
  stream.on('error', () => {});
  stream.pause();
  const message = toBinary(schema, create(schema, request));
  const frame = Buffer.alloc(5 + message.length);
  frame.writeUInt32BE(message.length, 1);
  frame.set(message, 5);
  stream.end(frame);
  return {
    closed: new Promise((resolve) => stream.once('close', () => resolve(stream.rstCode))),
    destroy: () => session.destroy(),
  };
}
