import { create, type DescMessage, type MessageInitShape, toBinary } from '@bufbuild/protobuf';
import { BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { stringsOf } from '../../src/base/column.ts';
import type { TokenizeCall } from '../../src/engine/calls.ts';
import type { EraseCall, RestrictCall } from '../../src/engine/vault-calls.ts';
import {
  EraseKind,
  EraseRequestSchema,
  RestrictRequestSchema,
  TokenizeMultipleRequestSchema,
  TokenizeRequestSchema,
  TokenService,
  TokenState,
} from '../../src/rpc/gen/lockstep/v1/token_service_pb.ts';
import { RpcError } from '../../src/rpc/rpc-error.ts';
import { type Harness, startHarness } from './harness.ts';

const SECRET = '529-31-0047';

let harness: Harness;
beforeAll(async () => {
  harness = await startHarness();
});
afterEach(() => {
  harness.engine.calls.length = 0;
});
afterAll(() => harness.stop());

const tokens = () => harness.client.stub(TokenService);
const bytes = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, 'utf8'));
const tomorrow = (): { seconds: bigint; nanos: number } => ({
  seconds: BigInt(Math.floor(Date.now() / 1_000) + 86_400),
  nanos: 999_999_999,
});

async function failure(call: Promise<unknown>): Promise<RpcError> {
  const error = await call.then(
    () => undefined,
    (cause: unknown) => cause,
  );
  if (!(error instanceof RpcError)) throw new Error('the call succeeded');
  return error;
}

describe('rules', () => {
  const call = { domain: 'ssn', values: ['1'] };

  test('come with Tokenize, Exchange and TokenizeMultiple, cut to milliseconds', async () => {
    const expireTime = tomorrow();
    const idleTtl = { seconds: 90n, nanos: 1_999_999 };
    const rules = { idleTtl, expireTime, revealsMax: 4_000_000_000, labels: ['R', 'ETH'] };
    const wanted = {
      idleMs: 90_001,
      expireMs: Number(expireTime.seconds) * 1_000 + 999,
      revealsMax: 4_000_000_000,
      labels: ['R', 'ETH'],
    };
    await tokens().tokenize({ ...call, rules });
    await tokens().tokenizeMultiple({ ...call, rules, count: 1, requestId: 'r' });
    const exchange = { domain: 'ssn', tokens: ['1'], purpose: 'HRESCH', targetDomain: 'study' };
    await tokens().exchange({ ...exchange, rules });
    expect(harness.engine.calls).toMatchObject([
      { rules: wanted },
      { rules: wanted },
      { rules: wanted },
    ]);
  });

  test('that say nothing are none', async () => {
    await tokens().tokenize({ ...call, rules: {} });
    await tokens().tokenize(call);
    const calls = harness.engine.calls as TokenizeCall[];
    expect(calls.map(({ rules }) => rules)).toEqual([undefined, undefined]);
  });

  test.each([
    ['an idle time below a second', { idleTtl: { seconds: 0n, nanos: 999_999_999 } }, 'idle_ttl'],
    ['an idle time of nothing', { idleTtl: {} }, 'idle_ttl'],
    ['a negative one', { idleTtl: { seconds: -5n, nanos: 0 } }, 'idle_ttl'],
    ['one with negative nanos', { idleTtl: { seconds: 5n, nanos: -1 } }, 'idle_ttl'],
    ['one beyond all durations', { idleTtl: { seconds: 315_576_000_001n } }, 'idle_ttl'],
    ['nanos of a second', { idleTtl: { seconds: 5n, nanos: 1_000_000_000 } }, 'idle_ttl'],
    ['an end in the past', { expireTime: { seconds: 1_000n } }, 'expire_time'],
    ['an end before 1970', { expireTime: { seconds: -1n } }, 'expire_time'],
    ['an end after the year 9999', { expireTime: { seconds: 253_402_300_800n } }, 'expire_time'],
    ['nine labels', { labels: Array.from({ length: 9 }, () => 'R') }, 'labels'],
    ['an empty label', { labels: ['R', ''] }, 'labels[1]'],
    ['a long label', { labels: ['é'.repeat(33)] }, 'labels[0]'],
    ['a damaged label', { labels: ['a\uFFFD'] }, 'labels[0]'],
  ])('%s: FIELD_INVALID', async (_name, rules, field) => {
    const error = await failure(tokens().tokenize({ ...call, rules }));
    expect([error.code, error.reason]).toEqual([3, 'FIELD_INVALID']);
    expect(error.violations[0]?.field).toBe(`rules.${field}`);
    expect(harness.engine.calls).toEqual([]);
  });

  test('as long as may be pass', async () => {
    const labels = Array.from({ length: 8 }, () => 'é'.repeat(32));
    const rules = { idleTtl: { seconds: 315_576_000_000n }, labels };
    await tokens().tokenize({ ...call, rules });
    expect(harness.engine.calls).toMatchObject([{ rules: { idleMs: 315_576_000_000_000 } }]);
  });

  test('with a field that is not known are FIELD_UNKNOWN: it may be a restriction', async () => {
    const inner = new BinaryWriter().tag(5, WireType.Varint).bool(true).finish();
    const rules = new BinaryWriter().tag(11, WireType.LengthDelimited).bytes(inner).finish();
    const good = toBinary(TokenizeRequestSchema, create(TokenizeRequestSchema, call));
    const path = 'lockstep.v1.TokenService/Tokenize';
    const error = await failure(harness.client.raw(path, Buffer.concat([good, rules])));
    expect([error.code, error.reason]).toEqual([3, 'FIELD_UNKNOWN']);
  });
});

describe('TokenizeMultiple', () => {
  const call = { domain: 'visits', values: ['a', 'bad', 'c'] };

  test('gives the tokens of each item, and how many they are', async () => {
    const answer = await tokens().tokenizeMultiple({
      ...call,
      subjects: ['s1', '', 's3'],
      count: 2,
      requestId: 'r-1',
    });
    expect(answer).toMatchObject({
      tokens: ['a.0', 'a.1', 'c.0', 'c.1'],
      counts: [2, 0, 2],
      keyVersion: 3,
      errors: [{ index: 1, code: 11, reason: 'ANSWER_TOO_LARGE', retryable: false }],
      notices: [{ reason: 'VALUE_OPAQUE', indexes: [0] }],
    });
    expect(answer.receipt?.leafHash).toHaveLength(32);
    expect(harness.engine.calls).toMatchObject([
      { count: 2, requestId: 'r-1', domain: 'visits', subject: { kind: 'each' } },
    ]);
    expect(harness.ended.at(-1)).toMatchObject({ code: 'OK', done: 2, failed: 1 });
  });

  test('lists with count 0, which needs no request id', async () => {
    await tokens().tokenizeMultiple(call);
    expect(harness.engine.calls).toMatchObject([{ count: 0, requestId: '', rules: undefined }]);
  });

  test.each([
    ['no request id', { count: 1 }, 'FIELD_REQUIRED', 'request_id'],
    ['more than 10,000 tokens', { count: 3_334, requestId: 'r' }, 'FIELD_INVALID', 'count'],
    ['a huge count', { count: 2 ** 32 - 1, requestId: 'r' }, 'FIELD_INVALID', 'count'],
    ['rules for nothing', { count: 0, rules: { revealsMax: 1 } }, 'FIELD_INVALID', 'rules'],
    ['no values', { values: [] }, 'FIELD_REQUIRED', 'values'],
    ['no domain', { domain: '' }, 'FIELD_REQUIRED', 'domain'],
  ])('%s: %o is %s', async (_name, change, reason, field) => {
    const error = await failure(tokens().tokenizeMultiple({ ...call, ...change }));
    expect([error.code, error.reason, error.violations[0]?.field]).toEqual([3, reason, field]);
    expect(harness.engine.calls).toEqual([]);
  });
});

describe('Restrict and Erase', () => {
  const base = { domain: 'ssn', purpose: 'HOPERAT' };

  test('by tokens', async () => {
    const answer = await tokens().restrict({ ...base, tokens: ['1', 'bad'], lift: true });
    expect(answer).toMatchObject({
      tokenCounts: [1, 0],
      errors: [{ index: 1, code: 5, reason: 'TOKEN_NOT_FOUND', retryable: false }],
    });
    expect(answer.receipt?.salt).toHaveLength(32);
    const [call] = harness.engine.calls as RestrictCall[];
    expect(call).toMatchObject({ lift: true, subject: { kind: 'none' }, domain: 'ssn' });
    if (call?.items.by !== 'tokens') throw new Error('not by tokens');
    expect(stringsOf(call.items.tokens)).toEqual(['1', 'bad']);
  });

  test('by values, of a subject, in a context', async () => {
    await tokens().erase({
      ...base,
      values: ['a', 'b'],
      contexts: ['c1', 'c2'],
      subject: 'P-1',
      kind: EraseKind.UNLINK,
      requestId: 'r-2',
    });
    const [call] = harness.engine.calls as EraseCall[];
    expect(call).toMatchObject({
      mode: 'unlink',
      subject: { kind: 'one', value: bytes('P-1') },
      context: { kind: 'each' },
      requestId: 'r-2',
    });
    if (call?.items.by !== 'values') throw new Error('not by values');
    expect(stringsOf(call.items.values.reveal())).toEqual(['a', 'b']);
    expect(JSON.stringify(call)).not.toContain('"a"');
  });

  test('by subject, in one domain or in all', async () => {
    const erase = { purpose: 'HOPERAT', subject: 'P-1', kind: EraseKind.DELETE };
    const answer = await tokens().erase(erase);
    expect(answer).toMatchObject({ tokenCounts: [7], certificate: 'erased\n\n— note\n' });
    await tokens().erase({ ...erase, domain: 'ssn' });
    expect(harness.engine.calls).toMatchObject([
      { domain: '', items: { by: 'subject' }, mode: 'delete' },
      { domain: 'ssn', items: { by: 'subject' } },
    ]);
  });

  const many = Array.from({ length: 10_001 }, () => '1');
  const raw = <D extends DescMessage>(
    method: string,
    schema: D,
    message: MessageInitShape<D>,
  ): Promise<unknown> =>
    harness.client.raw(
      `lockstep.v1.TokenService/${method}`,
      toBinary(schema, create(schema, message)),
    );
  const kind = EraseKind.DELETE;
  test.each([
    ['nothing', 'FIELD_REQUIRED', 'tokens', () => tokens().restrict(base)],
    [
      'tokens and values',
      'FIELD_INVALID',
      'values',
      () => tokens().restrict({ ...base, tokens: ['1'], values: [SECRET] }),
    ],
    [
      'tokens and a subject',
      'FIELD_INVALID',
      'subject',
      () => tokens().erase({ ...base, tokens: ['1'], subject: SECRET, kind }),
    ],
    [
      'a context for a subject',
      'FIELD_INVALID',
      'context',
      () => tokens().erase({ ...base, subject: SECRET, context: 'c', kind }),
    ],
    [
      'contexts for a subject',
      'FIELD_INVALID',
      'context',
      () => tokens().erase({ ...base, subject: SECRET, contexts: ['c'], kind }),
    ],
    [
      'a column of another length',
      'COLUMN_MISMATCH',
      'contexts',
      () => tokens().erase({ ...base, values: ['1', '2'], contexts: ['c'], kind }),
    ],
    [
      'no purpose to stop them for',
      'PURPOSE_REQUIRED',
      undefined,
      () => tokens().restrict({ domain: 'ssn', tokens: ['1'] }),
    ],
    [
      'no purpose to end them for',
      'PURPOSE_REQUIRED',
      undefined,
      () => tokens().erase({ domain: 'ssn', tokens: ['1'], kind }),
    ],
    [
      'no domain beside tokens',
      'FIELD_REQUIRED',
      'domain',
      () => tokens().restrict({ ...base, domain: '', tokens: ['1'] }),
    ],
    [
      'no domain beside values',
      'FIELD_REQUIRED',
      'domain',
      () => tokens().restrict({ ...base, domain: '', values: [SECRET], subject: 'P' }),
    ],
    [
      'a domain that is none',
      'FIELD_INVALID',
      'domain',
      () => tokens().restrict({ ...base, domain: 'A/B/C', subject: SECRET }),
    ],
    ['no kind', 'FIELD_INVALID', 'kind', () => tokens().erase({ ...base, tokens: ['1'] })],
    [
      'an unknown kind',
      'FIELD_UNKNOWN',
      'kind',
      () => raw('Erase', EraseRequestSchema, { ...base, tokens: ['1'], kind: 3 as EraseKind }),
    ],
    [
      'a long subject',
      'FIELD_INVALID',
      'subject',
      () => tokens().erase({ ...base, subject: SECRET.repeat(24), kind }),
    ],
    [
      '10,001 tokens',
      'BATCH_TOO_LARGE',
      undefined,
      () => raw('Restrict', RestrictRequestSchema, { ...base, tokens: many }),
    ],
    [
      '10,001 values',
      'BATCH_TOO_LARGE',
      undefined,
      () => raw('Erase', EraseRequestSchema, { ...base, values: many, kind }),
    ],
    [
      '10,001 values to multiply',
      'BATCH_TOO_LARGE',
      undefined,
      () => raw('TokenizeMultiple', TokenizeMultipleRequestSchema, { ...base, values: many }),
    ],
  ])('%s: %s', async (_name, reason, field, call: () => Promise<unknown>) => {
    const error = await failure(call());
    expect([error.code, error.reason, error.violations[0]?.field]).toEqual([3, reason, field]);
    expect(JSON.stringify([error.message, error.violations, error.metadata])).not.toContain(SECRET);
    expect(harness.engine.calls).toEqual([]);
  });
});

describe('Inspect', () => {
  const call = { domain: 'ssn', tokens: ['1', '2', '3', '4', '5', '6'] };
  const details = {
    createdMs: 1_700_000_000_123,
    idleMs: 3_600_000,
    expireMs: 1_800_000_000_000,
    revealsMax: 5,
    labels: ['R'],
    reveals: 2,
  };

  test('tells every state, and details where they were asked for', async () => {
    const states = ['well-formed', 'live', 'restricted', 'ended', 'unlinked', 'unknown'] as const;
    const inspect = harness.engine.inspect;
    harness.engine.inspect = async (it) => ({
      ...(await inspect(it)),
      states,
      details: it.withDetails ? states.map((_, i) => (i === 1 ? details : undefined)) : [],
    });
    const answer = await tokens().inspect({ ...call, withDetails: true });
    expect(answer.states).toEqual([
      TokenState.WELL_FORMED,
      TokenState.LIVE,
      TokenState.RESTRICTED,
      TokenState.ENDED,
      TokenState.UNLINKED,
      TokenState.UNKNOWN,
    ]);
    expect(answer.details).toHaveLength(6);
    expect(answer.details[1]).toMatchObject({
      createTime: { seconds: 1_700_000_000n, nanos: 123_000_000 },
      rules: {
        idleTtl: { seconds: 3_600n, nanos: 0 },
        expireTime: { seconds: 1_800_000_000n, nanos: 0 },
        revealsMax: 5,
        labels: ['R'],
      },
      reveals: 2,
    });
    expect(answer.details[0]?.createTime).toBeUndefined();
    expect((await tokens().inspect(call)).details).toEqual([]);
    harness.engine.inspect = inspect;
  });

  test('says nothing of the place of a failed item', async () => {
    const answer = await tokens().inspect({ domain: 'ssn', tokens: ['1', 'bad'] });
    expect(answer.states).toEqual([TokenState.WELL_FORMED, TokenState.UNSPECIFIED]);
    expect(answer.errors).toMatchObject([{ index: 1, reason: 'VALUE_MALFORMED' }]);
  });

  test('gives details of at most 1,000 items', async () => {
    const list = (count: number): string[] => Array.from({ length: count }, () => '1');
    const error = await failure(
      tokens().inspect({ ...call, tokens: list(1_001), withDetails: true }),
    );
    expect([error.reason, error.metadata]).toEqual(['BATCH_TOO_LARGE', { limit: '1000' }]);
    await tokens().inspect({ ...call, tokens: list(1_000), withDetails: true });
    await tokens().inspect({ ...call, tokens: list(1_001) });
  });
});
