import { fromBinary } from '@bufbuild/protobuf';
import { BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Reason } from '../../src/base/reason.ts';
import { View } from '../../src/rpc/gen/lockstep/v1/common_pb.ts';
import {
  DetokenizeResponseSchema,
  TokenizeResponseSchema,
} from '../../src/rpc/gen/lockstep/v1/token_service_pb.ts';
import { RpcError } from '../../src/rpc/rpc-error.ts';
import { softHsmLibrary } from '../softhsm.ts';
import { framed } from './raw-call.ts';
import { CANARY, GOOD, tokenizeBytes, WatchedServer } from './watched-server.ts';

const run = softHsmLibrary() === undefined ? describe.skip : describe;
let watched: WatchedServer;

/** Nine-digit values, each batch its own. */
const batchOf = (batch: number, items: number): string[] =>
  Array.from({ length: items }, (_, i) => String(batch * 1_000_000 + i).padStart(9, '0'));

run('bad messages, deadlines and cancels, through the whole server on SoftHSM', () => {
  beforeAll(async () => {
    watched = await WatchedServer.start();
  });
  afterAll(() => watched.stop());

  describe('malformed protobuf', () => {
    const good = tokenizeBytes({ domain: 'ssn', values: [CANARY] });
    const text = [...Buffer.from(CANARY)];
    const bad: readonly [name: string, bytes: Uint8Array, reason: Reason][] = [
      ['text', Buffer.from(CANARY), 'MESSAGE_MALFORMED'],
      ['cut off', good.subarray(0, -1), 'MESSAGE_MALFORMED'],
      ['a length that lies', Uint8Array.of(0x12, 0x7f, ...text), 'MESSAGE_MALFORMED'],
      ['an endless varint', Buffer.alloc(32, 0xff), 'MESSAGE_MALFORMED'],
      ['field number 0', Uint8Array.of(0x02, text.length, ...text), 'MESSAGE_MALFORMED'],
      ['another wire type', Uint8Array.of(0x10, 0x01), 'MESSAGE_MALFORMED'],
      ['an open group', Uint8Array.of(...good, 0x13), 'MESSAGE_MALFORMED'],
      ['a field that nobody knows', withUnknown(good, 999), 'FIELD_UNKNOWN'],
      ['a field kept for later', withUnknown(good, 11), 'FIELD_UNKNOWN'],
      ['nothing at all', new Uint8Array(0), 'FIELD_REQUIRED'],
    ];
    test.each(bad)('%s', async (_name, bytes, reason) => {
      await watched.refuses(() => watched.raw('Tokenize', bytes), reason);
    });

    test('300 messages with bytes changed: answered, or refused with a reason', async () => {
      const values = [GOOD, CANARY, '231-84-6605'];
      const whole = tokenizeBytes({ domain: 'ssn', values, context: CANARY, requestId: 'r' });
      const random = generator(20_261_123);
      for (let i = 0; i < 300; i++) {
        const bytes = Uint8Array.from(whole);
        for (let change = 0; change <= i % 4; change++) {
          bytes[random(bytes.length)] = random(256);
        }
        const answer = await watched.raw('Tokenize', bytes.subarray(0, bytes.length - (i % 2)));
        const outcome = [i, answer.status, answer.reason];
        expect([0, 3, 5, 7, 9], `${outcome}`).toContain(answer.status);
        expect(answer.reason === '', `${outcome}`).toBe(answer.status === 0);
        watched.echoesNothing(answer);
      }
      await watched.works();
    });
  });

  describe('frames that gRPC itself refuses', () => {
    const whole = framed(tokenizeBytes({ domain: 'ssn', values: [CANARY] }));
    const lies = Buffer.from(whole);
    lies.writeUInt32BE(0xffffffff, 1);
    const packed = Buffer.from(whole);
    packed[0] = 1;
    const frames: readonly [name: string, bytes: Buffer, headers: Record<string, string>][] = [
      ['a frame cut off', whole.subarray(0, -3), {}],
      ['a head cut off', whole.subarray(0, 3), {}],
      ['a length of 4 GiB', lies, {}],
      ['gzip that is none', packed, { 'grpc-encoding': 'gzip' }],
      ['an encoding that nobody has', packed, { 'grpc-encoding': CANARY }],
      ['two messages', Buffer.concat([whole, whole]), {}],
      ['no message', Buffer.alloc(0), {}],
      ['a deadline that is no time', whole, { 'grpc-timeout': CANARY }],
    ];
    test.each(frames)('%s', async (_name, bytes, headers) => {
      const before = [await watched.leaves(), await watched.liveTokens('ssn')];
      const answer = await watched.raw('Tokenize', bytes, { headers, unframed: true });
      expect(answer.status).not.toBe(0);
      expect(answer.body).toHaveLength(0);
      // grpc-js quotes its own headers, which hold nobody's data; no other input comes back.
      const quoted = Object.values(headers).includes(CANARY);
      watched.echoesNothing(quoted ? undefined : answer);
      expect([await watched.leaves(), await watched.liveTokens('ssn')]).toEqual(before);
      await watched.works();
    });

    test('a method that is not there', async () => {
      const answer = await watched.raw(CANARY, whole);
      expect(answer.status).toBe(12);
      await watched.works();
    });
  });

  describe('deadline passed', () => {
    test('before the call: DEADLINE_PASSED, and nothing runs', async () => {
      const options = { headers: { 'grpc-timeout': '1n' } };
      await watched.refuses(
        () => watched.send('Tokenize', { domain: 'ssn', values: [CANARY] }, options),
        'DEADLINE_PASSED',
      );
    });

    test('on the way: all of a batch or none, and its request id gets it', async () => {
      const batches = 24;
      const before = await watched.liveTokens('visit');
      const calls = Array.from({ length: batches }, (_, batch) => ({
        domain: 'visit',
        values: batchOf(batch, 400),
        requestId: `deadline-${batch}`,
      }));
      const seen = new Map<string, readonly string[]>();
      for (const [i, call] of calls.entries()) {
        const options = { headers: { 'grpc-timeout': `${200 + 100 * i * i}u` } };
        const answer = await watched.send('Tokenize', call, options);
        expect([0, 4]).toContain(answer.status);
        if (answer.status !== 0) continue;
        seen.set(call.requestId, fromBinary(TokenizeResponseSchema, answer.body).tokens);
      }
      expect(((await watched.liveTokens('visit')) - before) % 400).toBe(0);
      for (const call of calls) {
        const { tokens } = await watched.tokens.tokenize(call);
        expect(tokens).toEqual(seen.get(call.requestId) ?? tokens);
        await resolves(tokens, call.values);
      }
      expect(await watched.liveTokens('visit')).toBe(before + batches * 400);
      expect(seen.size).toBeLessThan(batches);
      await watched.works();
    });
  });

  test('stream cancelled: what was answered stays, the rest is whole or not there', async () => {
    const batches = 30;
    const calls = Array.from({ length: batches }, (_, batch) => ({
      domain: 'visit',
      values: batchOf(500 + batch, 200),
      requestId: `cancel-${batch}`,
    }));
    const before = await watched.liveTokens('visit');
    const stream = watched.tokens.tokenizeStream();
    const answered: (readonly string[])[] = [];
    const sent = send(stream, calls);
    const failure = await read(stream, answered, 7);
    await sent;
    expect(failure).toMatchObject({ code: 1 });
    expect(answered.length).toBeGreaterThanOrEqual(7);
    // The server may still be busy with the few batches it had taken.
    await expect.poll(async () => (await watched.liveTokens('visit')) - before).toSatisfy(isWhole);
    for (const [i, tokens] of answered.entries()) await resolves(tokens, calls[i]!.values);
    for (const [i, call] of calls.entries()) {
      const { tokens } = await watched.tokens.tokenize(call);
      expect(tokens).toEqual(answered[i] ?? tokens);
    }
    expect(await watched.liveTokens('visit')).toBe(before + batches * 200);
    watched.echoesNothing();
    await watched.works();
  });

  test('unary calls cancelled, one after the other, at any moment', async () => {
    const before = await watched.liveTokens('visit');
    const calls = Array.from({ length: 20 }, (_, batch) => ({
      domain: 'visit',
      values: batchOf(700 + batch, 100),
      requestId: `unary-${batch}`,
    }));
    for (const [i, call] of calls.entries()) {
      const answer = watched.tokens.tokenize(call, { signal: AbortSignal.timeout(1 + i) });
      const outcome = await answer.then(
        () => 0,
        (error: unknown) => (error instanceof RpcError ? error.code : error),
      );
      expect([0, 1]).toContain(outcome);
    }
    for (const call of calls) await watched.tokens.tokenize(call);
    expect(await watched.liveTokens('visit')).toBe(before + 2_000);
    watched.echoesNothing();
    await watched.works();
  });

  test('a malformed message ends its stream, after the answers before it', async () => {
    const leaves = await watched.leaves();
    const answer = await watched.raw(
      'TokenizeStream',
      Buffer.concat([framed(streamMessage(1)), framed(Buffer.from(`\x12\x7f${CANARY}`))]),
      { unframed: true },
    );
    expect([answer.status, answer.reason]).toEqual([3, 'MESSAGE_MALFORMED']);
    expect(answer.body.length).toBeGreaterThan(0);
    expect(await watched.leaves()).toBe(leaves + 1);
    watched.echoesNothing({ ...answer, everything: JSON.stringify(answer.metadata) });
    await watched.works();
  });
});

const isWhole = (count: number): boolean => count % 200 === 0;

async function resolves(tokens: readonly string[], values: readonly string[]): Promise<void> {
  // The quota of reveals is for a few, and a few show it: the ends and the middle.
  const places = [0, tokens.length >> 1, tokens.length - 1];
  const asked = places.map((place) => tokens[place]!);
  const reveal = { domain: 'visit', tokens: asked, purpose: 'TREAT', view: View.PLAIN };
  const answer = await watched.send('Detokenize', reveal);
  const wanted = places.map((place) => values[place]);
  expect(fromBinary(DetokenizeResponseSchema, answer.body).values).toEqual(wanted);
}

type Stream = ReturnType<WatchedServer['tokens']['tokenizeStream']>;

async function send(stream: Stream, calls: readonly object[]): Promise<void> {
  try {
    for (const [i, batch] of calls.entries()) await stream.send({ seq: i + 1, batch });
  } catch {
    // It was cancelled under the sender's hands.
  }
}

/** Reads answers and cancels after `count`; the error that ends it. */
async function read(
  stream: Stream,
  answered: (readonly string[])[],
  count: number,
): Promise<unknown> {
  try {
    for await (const { outcome } of stream.answers) {
      expect(outcome.case).toBe('batch');
      if (outcome.case === 'batch') answered.push(outcome.value.tokens);
      if (answered.length === count) stream.cancel();
    }
    return undefined;
  } catch (error) {
    return error;
  }
}

const withUnknown = (message: Uint8Array, field: number): Uint8Array =>
  Buffer.concat([
    message,
    new BinaryWriter().tag(field, WireType.LengthDelimited).string(CANARY).finish(),
  ]);

const streamMessage = (seq: number): Uint8Array => {
  const batch = tokenizeBytes({ domain: 'ssn', values: ['219-45-7100'] });
  return new BinaryWriter()
    .tag(1, WireType.Varint)
    .uint32(seq)
    .tag(2, WireType.LengthDelimited)
    .bytes(batch)
    .finish();
};

/** Whole numbers below a bound, the same in each run (Park and Miller's generator). */
function generator(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state * 48_271) % 2_147_483_647;
    return state % below;
  };
}
