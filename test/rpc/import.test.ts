import { afterEach, describe, expect, test } from 'vitest';
import { CallError } from '../../src/base/call-error.ts';
import { columnOf, stringsOf } from '../../src/base/column.ts';
import type { ImportCall } from '../../src/engine/vault-calls.ts';
import {
  type ImportTokensRequest,
  VaultService,
} from '../../src/rpc/gen/lockstep/v1/vault_service_pb.ts';
import { RpcError } from '../../src/rpc/rpc-error.ts';
import { verbsOf } from '../../src/rpc/verbs.ts';
import { type Harness, startHarness } from './harness.ts';

let harness: Harness;
afterEach(() => harness.stop());

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
const good = { domain: 'ssn', purpose: 'HOPERAT', values: ['1'], tokens: ['T1'] };
type Message = Partial<Omit<ImportTokensRequest, '$typeName' | '$unknown'>>;

/** Sends the batches, then ends; what came back, and how it ended. */
async function run(batches: readonly Message[]): Promise<{ answers: string[]; end: string }> {
  const stream = harness.client.stub(VaultService).importTokens();
  const answers: string[] = [];
  const writing = (async () => {
    for (const batch of batches) await stream.send({ ...good, ...batch });
    stream.end();
  })();
  let end = 'OK';
  try {
    for await (const { seq, errors, error, receipt } of stream.answers) {
      const failed = errors.map(({ index, reason }) => `${index}:${reason}`).join();
      answers.push(error === undefined ? `${seq} ${failed}` : `${seq} ${error.reason}`);
      expect(receipt === undefined).toBe(error !== undefined);
    }
  } catch (error) {
    end = error instanceof RpcError ? error.reason : 'not an RpcError';
  }
  await writing.catch(() => {});
  return { answers, end };
}

describe('ImportTokens', () => {
  test('answers each batch in order; failed pairs by their place', async () => {
    harness = await startHarness();
    let call = 0;
    harness.engine.before = () => sleep(call++ === 0 ? 40 : 0);
    const { answers, end } = await run([
      { seq: 1, values: ['1', '2'], tokens: ['T1', 'bad'], subjects: ['', 'P-2'] },
      { seq: 2, values: ['3'], tokens: ['T3'] },
    ]);
    expect([answers, end]).toEqual([['1 1:TOKEN_TAKEN', '2 '], 'OK']);
    const calls = harness.engine.calls as ImportCall[];
    expect(calls[0]).toMatchObject({ domain: 'ssn', purpose: 'HOPERAT' });
    expect(stringsOf(calls[0]!.values.reveal())).toEqual(['1', '2']);
    expect(calls[0]?.subject).toEqual({ kind: 'each', values: columnOf(['', 'P-2']) });
    expect(calls[1]?.subject).toEqual({ kind: 'none' });
    expect(harness.ended.at(-1)).toMatchObject({ code: 'OK', done: 2, failed: 1 });
  });

  test('what would refuse a batch comes in-band, and the stream lives on', async () => {
    harness = await startHarness();
    const { answers, end } = await run([
      { seq: 5, domain: '' },
      { seq: 6, purpose: '' },
      { seq: 7, values: [] },
      { seq: 8, tokens: [] },
      { seq: 9, tokens: ['T1', 'T2'] },
      { seq: 10, subjects: ['a', 'b'] },
      { seq: 11, values: Array.from({ length: 10_001 }, () => '1') },
      { seq: 12 },
    ]);
    expect([answers, end]).toEqual([
      [
        '5 FIELD_REQUIRED',
        '6 PURPOSE_REQUIRED',
        '7 FIELD_REQUIRED',
        '8 COLUMN_MISMATCH',
        '9 COLUMN_MISMATCH',
        '10 COLUMN_MISMATCH',
        '11 BATCH_TOO_LARGE',
        '12 ',
      ],
      'OK',
    ]);
    expect(harness.engine.calls).toHaveLength(1);
  });

  test('out of turn ends it, after what came before is answered', async () => {
    harness = await startHarness();
    expect(await run([{ seq: 1 }, { seq: 3 }])).toEqual({
      answers: ['1 '],
      end: 'STREAM_OUT_OF_TURN',
    });
    expect(await run([{ seq: 0 }])).toEqual({ answers: [], end: 'STREAM_OUT_OF_TURN' });
  });

  test('at most 4 batches are taken beyond the last answer', async () => {
    harness = await startHarness();
    let release = (): void => {};
    const gate = new Promise<void>((resolve) => {
      release = resolve;
    });
    harness.engine.before = () => gate;
    const stream = harness.client.stub(VaultService).importTokens();
    for (let seq = 1; seq <= 20; seq++) void stream.send({ ...good, seq }).catch(() => {});
    stream.end();
    await expect.poll(() => harness.engine.started).toBe(4);
    await sleep(100);
    expect(harness.engine.started).toBe(4);
    release();
    let answered = 0;
    for await (const { seq } of stream.answers) expect(seq).toBe(++answered);
    expect(answered).toBe(20);
  });
});

describe('the verb', () => {
  const batch = { ...good, subjects: [] };

  test('answers calls that do not wait for each other', async () => {
    harness = await startHarness();
    const importer = verbsOf(harness.client).importer();
    const outcomes = await Promise.all([
      importer.send(batch),
      importer.send({ ...batch, tokens: ['bad'] }),
      importer.send(batch),
    ]);
    expect(outcomes.map(({ errors }) => errors.length)).toEqual([0, 1, 0]);
    importer.close();
    await expect.poll(() => harness.ended.length).toBe(1);
    expect(harness.ended[0]).toMatchObject({ code: 'OK' });
  });

  test('turns an in-band error into the RpcError of a unary call', async () => {
    harness = await startHarness();
    harness.engine.before = () =>
      Promise.reject(new CallError('STORE_FULL', { retryDelayMs: 1_500 }));
    const importer = verbsOf(harness.client).importer();
    await expect(importer.send(batch)).rejects.toMatchObject({
      name: 'RpcError',
      code: 8,
      reason: 'STORE_FULL',
      message: 'the store has no space left',
      retryDelayMs: 1_500,
    });
    harness.engine.before = () => Promise.resolve();
    await expect(importer.send(batch)).resolves.toMatchObject({ errors: [] });
    importer.close();
  });

  test('a broken stream rejects what waits, and the next batch opens a new one', async () => {
    harness = await startHarness({ streamStallMs: 100 });
    harness.engine.before = () => sleep(300);
    const importer = verbsOf(harness.client).importer();
    await expect(importer.send(batch)).rejects.toMatchObject({ reason: 'STREAM_STALLED' });
    harness.engine.before = () => Promise.resolve();
    await expect(importer.send(batch)).resolves.toMatchObject({ errors: [] });
    // With nothing under way a stall is nobody's failure.
    await sleep(250);
    await expect(importer.send(batch)).resolves.toMatchObject({ errors: [] });
    importer.close();
  });
});
