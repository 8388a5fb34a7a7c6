import { connect as connectHttp2, constants } from 'node:http2';
import { create, toBinary } from '@bufbuild/protobuf';
import { afterEach, describe, expect, test } from 'vitest';
import { CallError } from '../../src/base/call-error.ts';
import { Delivery } from '../../src/rpc/gen/lockstep/v1/common_pb.ts';
import {
  TokenizeStreamRequestSchema,
  type TokenizeStreamResponse,
  TokenService,
} from '../../src/rpc/gen/lockstep/v1/token_service_pb.ts';
import { RpcError } from '../../src/rpc/rpc-error.ts';
import { type Harness, startHarness } from './harness.ts';

let harness: Harness;
afterEach(() => harness.stop());

type Outcome = readonly [seq: number, outcome: string];
const said = (answer: TokenizeStreamResponse): Outcome => [
  answer.seq,
  answer.outcome.case === 'batch'
    ? answer.outcome.value.tokens.join(',')
    : (answer.outcome.value?.reason ?? ''),
];

interface Batch {
  readonly seq: number;
  readonly values: string[];
  readonly delivery?: Delivery;
}

/** Sends the batches, then ends; what came back, and how it ended. */
async function run(batches: readonly Batch[]): Promise<{ answers: Outcome[]; end: string }> {
  const stream = harness.client.stub(TokenService).tokenizeStream();
  const answers: Outcome[] = [];
  const writing = (async () => {
    for (const { seq, values, delivery = Delivery.UNSPECIFIED } of batches) {
      await stream.send({ seq, batch: { domain: 'ssn', values, delivery } });
    }
    stream.end();
  })();
  let end = 'OK';
  try {
    for await (const answer of stream.answers) answers.push(said(answer));
  } catch (error) {
    end = error instanceof RpcError ? error.reason : 'not an RpcError';
  }
  await writing.catch(() => {});
  return { answers, end };
}

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

describe('a stream', () => {
  test('answers in order, whichever batch is ready first', async () => {
    harness = await startHarness();
    let call = 0;
    harness.engine.before = () => sleep(call++ % 2 === 0 ? 30 : 0);
    const batches = Array.from({ length: 9 }, (_, i) => ({ seq: i + 7, values: [`a${i}`] }));
    const { answers, end } = await run(batches);
    expect(end).toBe('OK');
    expect(answers).toEqual(batches.map(({ seq }, i) => [seq, `${i}a`]));
  });

  test.each([
    ['a gap', [1, 3]],
    ['a repetition', [5, 5]],
    ['a step back', [5, 4]],
  ])('%s in seq ends it, after what came before is answered', async (_name, [one, two]) => {
    harness = await startHarness();
    const { answers, end } = await run([
      { seq: one ?? 0, values: ['ab'] },
      { seq: two ?? 0, values: ['cd'] },
    ]);
    expect(answers).toEqual([[one, 'ba']]);
    expect(end).toBe('STREAM_OUT_OF_TURN');
  });

  test('seq 0 ends it', async () => {
    harness = await startHarness();
    expect(await run([{ seq: 0, values: ['ab'] }])).toEqual({
      answers: [],
      end: 'STREAM_OUT_OF_TURN',
    });
  });

  test('a refused batch is answered in-band and the stream lives on', async () => {
    harness = await startHarness();
    harness.engine.before = async () => {
      if (harness.engine.started === 2) throw new CallError('BUDGET_EXHAUSTED');
    };
    const { answers, end } = await run([
      { seq: 1, values: ['ab'] },
      { seq: 2, values: ['cd'] },
      { seq: 3, values: [] },
      { seq: 4, values: ['ef'], delivery: 77 as Delivery },
      { seq: 5, values: ['gh'] },
    ]);
    expect(answers).toEqual([
      [1, 'ba'],
      [2, 'BUDGET_EXHAUSTED'],
      [3, 'FIELD_REQUIRED'],
      [4, 'FIELD_UNKNOWN'],
      [5, 'hg'],
    ]);
    expect(end).toBe('OK');
  });

  test('the error of a batch carries its code and when to retry', async () => {
    harness = await startHarness();
    harness.engine.before = () =>
      Promise.reject(new CallError('BUDGET_EXHAUSTED', { retryDelayMs: 90_500 }));
    const stream = harness.client.stub(TokenService).tokenizeStream();
    await stream.send({ seq: 1, batch: { domain: 'ssn', values: ['1'] } });
    stream.end();
    for await (const { outcome } of stream.answers) {
      expect(outcome.value).toMatchObject({
        code: 8,
        retryable: true,
        retryDelay: { seconds: 90n, nanos: 500_000_000 },
      });
    }
  });

  test('a batch that stops in ORDERED_STOP is the last, and nothing behind it runs', async () => {
    harness = await startHarness();
    const { answers, end } = await run([
      { seq: 1, values: ['ab'], delivery: Delivery.ORDERED_STOP },
      { seq: 2, values: ['bad'], delivery: Delivery.ORDERED_STOP },
      { seq: 3, values: ['cd'] },
    ]);
    expect(answers).toEqual([
      [1, 'ba'],
      [2, ''],
    ]);
    expect(end).toBe('OK');
    expect(harness.engine.started).toBe(2);
  });

  test('without progress it ends with STREAM_STALLED', async () => {
    harness = await startHarness({ streamStallMs: 100 });
    const stream = harness.client.stub(TokenService).tokenizeStream();
    await stream.send({ seq: 1, batch: { domain: 'ssn', values: ['ab'] } });
    const answers: Outcome[] = [];
    const reading = (async () => {
      for await (const answer of stream.answers) answers.push(said(answer));
    })();
    await expect(reading).rejects.toMatchObject({ code: 10, reason: 'STREAM_STALLED' });
    expect(answers).toEqual([[1, 'ba']]);
  });

  test('a drain answers what was accepted and ends it with DRAINING', async () => {
    harness = await startHarness();
    harness.engine.before = () => sleep(100);
    const stream = harness.client.stub(TokenService).tokenizeStream();
    await stream.send({ seq: 1, batch: { domain: 'ssn', values: ['ab'] } });
    await expect.poll(() => harness.engine.started).toBe(1);
    const drained = harness.server.drain(5_000);
    const answers: Outcome[] = [];
    const reading = (async () => {
      for await (const answer of stream.answers) answers.push(said(answer));
    })();
    await expect(reading).rejects.toMatchObject({ code: 14, reason: 'DRAINING' });
    expect(answers).toEqual([[1, 'ba']]);
    await drained;
  });

  test('once cancelled, no further batch is begun', async () => {
    harness = await startHarness();
    harness.engine.before = () => sleep(50);
    const stream = harness.client.stub(TokenService).tokenizeStream();
    for (let seq = 1; seq <= 40; seq++) {
      void stream.send({ seq, batch: { domain: 'ssn', values: ['ab'] } }).catch(() => {});
    }
    await expect.poll(() => harness.engine.started).toBeGreaterThan(0);
    stream.cancel();
    await sleep(100);
    const { started } = harness.engine;
    await sleep(200);
    expect(harness.engine.started).toBe(started);
    expect(started).toBeLessThan(40);
    await expect.poll(() => harness.server.active()).toBe(0);
    expect(harness.logged).toEqual([]);
    expect(harness.ended.at(-1)).toMatchObject({ code: 'CANCELLED' });
  });
});

test('a client that leaves an idle stream is no fault of ours', async () => {
  harness = await startHarness();
  const stream = harness.client.stub(TokenService).tokenizeStream();
  await stream.send({ seq: 1, batch: { domain: 'ssn', values: ['ab'] } });
  for await (const answer of stream.answers) {
    expect(said(answer)).toEqual([1, 'ba']);
    break;
  }
  // Leaving the loop cancelled it. A reset can look like an orderly end here: both are right.
  await expect.poll(() => harness.ended.length).toBe(1);
  expect(['OK', 'CANCELLED']).toContain(harness.ended[0]?.code);
  expect(harness.server.active()).toBe(0);
  expect(harness.logged).toEqual([]);
});

test('what went wrong is told to a client that reads late, too', async () => {
  harness = await startHarness();
  const stream = harness.client.stub(TokenService).tokenizeStream();
  await stream.send({ seq: 0 });
  await expect.poll(() => harness.ended.length).toBe(1);
  await sleep(100);
  const reading = (async () => {
    for await (const answer of stream.answers) said(answer);
  })();
  await expect(reading).rejects.toMatchObject({ reason: 'STREAM_OUT_OF_TURN' });
});

/** A client of HTTP/2 alone, which never opens its window for answers. */
function deafClient(address: string): {
  write(seq: number, values: string[]): void;
  aborted: Promise<number | undefined>;
  destroy(): void;
} {
  const session = connectHttp2(`http://${address}`, { settings: { initialWindowSize: 1 } });
  session.on('error', () => {});
  const stream = session.request({
    ':method': 'POST',
    ':path': '/lockstep.v1.TokenService/TokenizeStream',
    'content-type': 'application/grpc',
    te: 'trailers',
  });
  stream.on('error', () => {});
  stream.pause();
  return {
    write(seq, values) {
      const schema = TokenizeStreamRequestSchema;
      const message = toBinary(schema, create(schema, { seq, batch: { domain: 'ssn', values } }));
      const frame = Buffer.alloc(5 + message.length);
      frame.writeUInt32BE(message.length, 1);
      frame.set(message, 5);
      stream.write(frame);
    },
    aborted: new Promise((resolve) => stream.once('aborted', () => resolve(stream.rstCode))),
    destroy: () => session.destroy(),
  };
}

describe('a client that reads nothing', () => {
  test('has at most 4 batches taken beyond the last answer that left', async () => {
    harness = await startHarness();
    const client = deafClient(harness.address);
    for (let seq = 1; seq <= 60; seq++) client.write(seq, ['x'.repeat(20_000)]);
    await expect.poll(() => harness.engine.started).toBe(4);
    await sleep(150);
    expect(harness.engine.started).toBe(4);
    client.destroy();
    await expect.poll(() => harness.server.active()).toBe(0);
  });

  test('is cut some seconds after its stream has stalled', { timeout: 15_000 }, async () => {
    harness = await startHarness({ streamStallMs: 100 });
    const client = deafClient(harness.address);
    client.write(1, ['x'.repeat(20_000)]);
    expect(await client.aborted).toBe(constants.NGHTTP2_CANCEL);
    expect(harness.ended.at(-1)).toMatchObject({ reason: 'STREAM_STALLED' });
    client.destroy();
  });
});
