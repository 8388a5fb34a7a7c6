import { create, toBinary } from '@bufbuild/protobuf';
import { BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { CallBase } from '../../src/engine/calls.ts';
import { type Delivery, View } from '../../src/rpc/gen/lockstep/v1/common_pb.ts';
import {
  DetokenizeRequestSchema,
  TokenizeRequestSchema,
  TokenService,
} from '../../src/rpc/gen/lockstep/v1/token_service_pb.ts';
import { RpcError } from '../../src/rpc/rpc-error.ts';
import { type Harness, startHarness } from './harness.ts';

const SECRET = '529-31-0047';
let harness: Harness;
beforeAll(async () => {
  harness = await startHarness();
});
afterAll(() => harness.stop());

async function failure(call: Promise<unknown>): Promise<RpcError> {
  try {
    await call;
  } catch (error) {
    if (error instanceof RpcError) return error;
    throw error;
  }
  throw new Error('the call succeeded');
}

const tokens = () => harness.client.stub(TokenService);
const rawTokenize = (bytes: Uint8Array): Promise<Buffer> =>
  harness.client.raw('lockstep.v1.TokenService/Tokenize', bytes);
const request = (fields: Parameters<ReturnType<typeof tokens>['tokenize']>[0]): Uint8Array =>
  toBinary(TokenizeRequestSchema, create(TokenizeRequestSchema, fields));
const good = { domain: 'ssn', values: [SECRET, SECRET] };

describe('each is INVALID_ARGUMENT with its reason, before the engine sees it', () => {
  const invalid: readonly [string, string, string | undefined, () => Promise<unknown>][] = [
    [
      'a message that does not parse',
      'MESSAGE_MALFORMED',
      undefined,
      () => rawTokenize(Uint8Array.of(0x12, 0x7f, 0x31)),
    ],
    [
      'invalid UTF-8',
      'MESSAGE_MALFORMED',
      undefined,
      () => rawTokenize(Uint8Array.of(0x0a, 1, 0x61, 0x12, 1, 0xff)),
    ],
    [
      'a lone surrogate',
      'MESSAGE_MALFORMED',
      undefined,
      () => rawTokenize(Uint8Array.of(0x0a, 1, 0x61, 0x12, 3, 0xed, 0xa0, 0x80)),
    ],
    [
      'an unknown field',
      'FIELD_UNKNOWN',
      undefined,
      () =>
        rawTokenize(
          Buffer.concat([
            request(good),
            new BinaryWriter().tag(9, WireType.LengthDelimited).string('').finish(),
          ]),
        ),
    ],
    [
      'an unknown delivery',
      'FIELD_UNKNOWN',
      'delivery',
      () => rawTokenize(request({ ...good, delivery: 9 as Delivery })),
    ],
    ['no domain', 'FIELD_REQUIRED', 'domain', () => tokens().tokenize({ values: ['1'] })],
    [
      'a bad domain',
      'FIELD_INVALID',
      'domain',
      () => tokens().tokenize({ ...good, domain: 'a/b/c' }),
    ],
    ['no values', 'FIELD_REQUIRED', 'values', () => tokens().tokenize({ domain: 'ssn' })],
    [
      '10,001 values',
      'BATCH_TOO_LARGE',
      undefined,
      () => tokens().tokenize({ domain: 'ssn', values: Array.from({ length: 10_001 }, () => '1') }),
    ],
    [
      'a column of another length',
      'COLUMN_MISMATCH',
      'subjects',
      () => tokens().tokenize({ ...good, subjects: ['p1'] }),
    ],
    [
      'a column of one, which does not spread',
      'COLUMN_MISMATCH',
      'contexts',
      () => tokens().tokenize({ ...good, contexts: ['c'] }),
    ],
    [
      'one and a column',
      'FIELD_INVALID',
      'context',
      () => tokens().tokenize({ ...good, context: 'c', contexts: ['a', 'b'] }),
    ],
    [
      'a context of 65 bytes',
      'FIELD_INVALID',
      'context',
      () => tokens().tokenize({ ...good, context: 'x'.repeat(65) }),
    ],
    [
      'a long entry of a column',
      'FIELD_INVALID',
      'contexts[1]',
      () => tokens().tokenize({ ...good, contexts: ['a', 'é'.repeat(33)] }),
    ],
    [
      'a subject of 257 bytes',
      'FIELD_INVALID',
      'subject',
      () => tokens().tokenize({ ...good, subject: 'x'.repeat(257) }),
    ],
    [
      'a request id of 65 characters',
      'FIELD_INVALID',
      'request_id',
      () => tokens().tokenize({ ...good, requestId: 'x'.repeat(65) }),
    ],
    [
      'a request id that is not ASCII',
      'FIELD_INVALID',
      'request_id',
      () => tokens().tokenize({ ...good, requestId: 'é' }),
    ],
    [
      'two request ids',
      'FIELD_INVALID',
      'request_id',
      () => tokens().tokenize({ ...good, requestId: 'a' }, { headers: { 'idempotency-key': 'b' } }),
    ],
    [
      'a purpose of 33 characters',
      'PURPOSE_UNKNOWN',
      undefined,
      () => tokens().tokenize({ ...good, purpose: 'X'.repeat(33) }),
    ],
    [
      'a purpose that is no code',
      'PURPOSE_UNKNOWN',
      undefined,
      () => tokens().tokenize({ ...good, purpose: 'TREAT ME' }),
    ],
    [
      'no purpose in a reveal',
      'PURPOSE_REQUIRED',
      undefined,
      () => tokens().detokenize({ domain: 'ssn', tokens: ['1'], view: View.PLAIN }),
    ],
    [
      'no view in a reveal',
      'FIELD_REQUIRED',
      'view',
      () => tokens().detokenize({ domain: 'ssn', tokens: ['1'], purpose: 'TREAT' }),
    ],
    [
      'an unknown view',
      'FIELD_UNKNOWN',
      'view',
      () =>
        harness.client.raw(
          'lockstep.v1.TokenService/Detokenize',
          toBinary(
            DetokenizeRequestSchema,
            create(DetokenizeRequestSchema, {
              domain: 'ssn',
              tokens: ['1'],
              purpose: 'TREAT',
              view: 4 as View,
            }),
          ),
        ),
    ],
    [
      'no purpose in an exchange',
      'PURPOSE_REQUIRED',
      undefined,
      () => tokens().exchange({ domain: 'ssn', tokens: ['1'], targetDomain: 'study7' }),
    ],
    [
      'no target of an exchange',
      'FIELD_REQUIRED',
      'target_domain',
      () => tokens().exchange({ domain: 'ssn', tokens: ['1'], purpose: 'HRESCH' }),
    ],
    [
      'an exchange with itself',
      'FIELD_INVALID',
      'target_domain',
      () =>
        tokens().exchange({
          domain: 'ssn',
          tokens: ['1'],
          purpose: 'HRESCH',
          targetDomain: 'ssn',
        }),
    ],
  ];

  test.each(invalid)('%s: %s', async (_name, reason, field, call) => {
    const before = harness.engine.started;
    const error = await failure(call());
    expect(error.code).toBe(3);
    expect(error.reason).toBe(reason);
    expect(error.violations[0]?.field).toBe(field);
    expect(JSON.stringify([error.message, error.violations, error.metadata])).not.toContain(SECRET);
    expect(harness.engine.started).toBe(before);
    expect((await tokens().tokenize(good)).tokens).toHaveLength(2);
  });
});

test('BATCH_TOO_LARGE names the limit', async () => {
  const values = Array.from({ length: 10_001 }, () => '1');
  const error = await failure(tokens().tokenize({ domain: 'ssn', values }));
  expect(error.metadata).toEqual({ limit: '10000' });
});

test('at most 16 violations are told', async () => {
  const values = Array.from({ length: 40 }, () => '1');
  const contexts = values.map(() => 'x'.repeat(65));
  const error = await failure(tokens().tokenize({ domain: 'ssn', values, contexts }));
  expect(error.violations).toHaveLength(16);
});

test('a value of 64 KiB fails its item alone, in the engine, which knows the format', async () => {
  const long = 'x'.repeat(64 * 1024);
  const answer = await tokens().tokenize({ domain: 'ssn', values: [long, '12'] });
  expect(answer.tokens).toEqual([long, '21']);
});

test('above 2 MiB is MESSAGE_TOO_LARGE, above 4 MiB gRPC says no by itself', async () => {
  const before = harness.engine.started;
  const values = (mib: number): string[] =>
    Array.from({ length: mib * 64 }, () => 'x'.repeat(16 * 1024));
  const large = await failure(tokens().tokenize({ domain: 'ssn', values: values(3) }));
  expect([large.code, large.reason]).toEqual([8, 'MESSAGE_TOO_LARGE']);
  const huge = await failure(tokens().tokenize({ domain: 'ssn', values: values(5) }));
  expect([huge.code, huge.reason]).toEqual([8, '']);
  expect(harness.engine.started).toBe(before);
});

test('a deadline that has passed reaches the client, and work can see it', async () => {
  let cancelled = false;
  harness.engine.before = async (call: CallBase) => {
    while (!call.cancelled()) await new Promise((resolve) => setTimeout(resolve, 5));
    cancelled = true;
  };
  const error = await failure(tokens().tokenize(good, { deadlineMs: 500 }));
  expect(error.code).toBe(4);
  await expect.poll(() => cancelled).toBe(true);
  harness.engine.before = () => Promise.resolve();
});

test('an unforeseen fault is INTERNAL with an incident that the log has', async () => {
  harness.engine.before = () => Promise.reject(new Error(`dup key SSN=${SECRET}`));
  const error = await failure(tokens().tokenize(good));
  harness.engine.before = () => Promise.resolve();
  expect([error.code, error.reason, error.message]).toEqual([13, 'INTERNAL', 'an internal fault']);
  expect(Object.keys(error.metadata)).toEqual(['incident']);
  const incident = Number(error.metadata['incident']);
  expect(harness.logged).toContainEqual([
    'internal-fault',
    { method: 'lockstep.v1.TokenService/Tokenize', incident },
    expect.any(Error),
  ]);
});

test('who is not known is UNAUTHENTICATED, whatever the message', async () => {
  const headers = { 'lockstep-dev-caller': 'nobody' };
  const error = await failure(tokens().tokenize(good, { headers }));
  expect([error.code, error.reason]).toEqual([16, 'IDENTITY_INVALID']);
});

test('what the edge hands over: limits clamped, header as request id, one or each', async () => {
  harness.engine.calls.length = 0;
  const now = Date.now();
  await tokens().tokenize(
    { ...good, subjects: ['a', ''], context: 'ctx', purpose: 'TREAT', waitForProof: true },
    { headers: { 'idempotency-key': 'id-7' }, deadlineMs: 60 * 60 * 1_000 },
  );
  const [call] = harness.engine.calls;
  expect(call).toMatchObject({
    caller: { id: 'dev:dev', organisation: 'clinic' },
    domain: 'ssn',
    purpose: 'TREAT',
    delivery: 'best-effort',
    requestId: 'id-7',
    waitForProof: true,
    context: { kind: 'one', value: new Uint8Array(Buffer.from('ctx')) },
    subject: { kind: 'each' },
  });
  const { deadlineMs } = call as CallBase;
  expect(deadlineMs).toBeGreaterThan(now + 599_000);
  expect(deadlineMs).toBeLessThanOrEqual(Date.now() + 600_000);
  expect(JSON.stringify(call)).not.toContain(SECRET);
});
