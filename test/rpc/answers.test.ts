import { type DescMessage, fromBinary } from '@bufbuild/protobuf';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { columnOf } from '../../src/base/column.ts';
import { Plain } from '../../src/base/plain.ts';
import { REASONS, type Reason } from '../../src/base/reason.ts';
import type { Notice, Receipt, TokenAnswer } from '../../src/engine/calls.ts';
import { writeRevealAnswer, writeTokenAnswer } from '../../src/rpc/answers.ts';
import { GRPC_CODE } from '../../src/rpc/codes.ts';
import {
  DetokenizeResponseSchema,
  DetokenizeStreamResponseSchema,
  ExchangeResponseSchema,
  LookupResponseSchema,
  TokenizeResponseSchema,
  TokenizeStreamResponseSchema,
} from '../../src/rpc/gen/lockstep/v1/token_service_pb.ts';
import { VIEW_NUMBER } from '../../src/rpc/names.ts';

const text = fc.oneof(
  fc.string({ maxLength: 12 }),
  fc.string({ unit: 'grapheme', minLength: 9, maxLength: 20 }),
  fc.string({ minLength: 30, maxLength: 34 }),
  fc.string({ minLength: 126, maxLength: 130 }),
  fc.constant('x'.repeat(20_000)),
);
const rows = fc.array(text, { maxLength: 30 });
const reason = fc.constantFrom(...(Object.keys(REASONS) as Reason[]));
const errors = fc.array(fc.record({ index: fc.nat(20_000), reason }), { maxLength: 5 });
const hash = fc.uint8Array({ minLength: 32, maxLength: 32 });
const receipt: fc.Arbitrary<Receipt> = fc.record(
  {
    leafIndex: fc.maxSafeNat(),
    leafHash: hash,
    salt: hash,
    proof: fc.record({ leaf: fc.uint8Array({ maxLength: 200 }), text: fc.string() }),
  },
  { requiredKeys: ['leafIndex', 'leafHash', 'salt'] },
);
const notice: fc.Arbitrary<Notice> = fc.record({
  reason: fc.constantFrom('VALUE_PASSED', 'VALUE_OPAQUE'),
  indexes: fc.array(fc.nat(9_999), { maxLength: 200 }),
});
const notices = fc.array(notice, { maxLength: 3 });

const answers: fc.Arbitrary<TokenAnswer> = fc.record({
  tokens: rows.map(columnOf),
  errors,
  receipt,
  keyVersion: fc.nat(100_000),
  created: fc.uint8Array({ maxLength: 40, max: 1 }),
  notices,
});

/** As protobuf-es sees the bytes, without its type names. */
function parsed(schema: DescMessage, bytes: Uint8Array): unknown {
  return JSON.parse(
    JSON.stringify(fromBinary(schema, bytes), (key, value: unknown) => {
      if (key === '$typeName') return undefined;
      if (typeof value === 'bigint') return Number(value);
      return value instanceof Uint8Array ? [...value] : value;
    }),
    (_key, value: unknown) =>
      // A Buffer turns itself into this before the replacer sees it.
      typeof value === 'object' && value !== null && 'data' in value ? value.data : value,
  );
}

const wantedReceipt = (it: Receipt): unknown => ({
  leafIndex: it.leafIndex,
  leafHash: [...it.leafHash],
  salt: [...it.salt],
  leaf: [...(it.proof?.leaf ?? [])],
  proof: it.proof?.text ?? '',
});

const wantedErrors = (list: TokenAnswer['errors']): unknown =>
  list.map(({ index, reason: why }) => ({
    index,
    code: GRPC_CODE[REASONS[why].code],
    reason: why,
    retryable: REASONS[why].retry,
  }));

const stringRows = (column: TokenAnswer['tokens']): string[] =>
  Array.from(column.ends, (end, i) =>
    Buffer.from(column.bytes.subarray(i === 0 ? 0 : column.ends[i - 1], end)).toString('utf8'),
  );

function wanted(answer: TokenAnswer): Record<string, unknown> {
  return {
    tokens: stringRows(answer.tokens),
    errors: wantedErrors(answer.errors),
    receipt: wantedReceipt(answer.receipt),
    keyVersion: answer.keyVersion,
    created: Array.from(answer.created, (it) => it === 1),
    notices: answer.notices.map((it) => ({ reason: it.reason, indexes: [...it.indexes] })),
  };
}

describe('answers read back by protobuf-es', () => {
  test.each([TokenizeResponseSchema, ExchangeResponseSchema])('$typeName', (schema) => {
    fc.assert(
      fc.property(answers, (answer) => {
        expect(parsed(schema, writeTokenAnswer(answer))).toEqual(wanted(answer));
      }),
    );
  });

  test('lockstep.v1.LookupResponse, which mints nothing', () => {
    fc.assert(
      fc.property(answers, (answer) => {
        const { created, ...rest } = wanted(answer);
        const bytes = writeTokenAnswer({ ...answer, created: new Uint8Array(0) });
        expect(parsed(LookupResponseSchema, bytes)).toEqual(rest);
      }),
    );
  });

  test('lockstep.v1.DetokenizeResponse', () => {
    const view = fc.constantFrom('plain' as const, 'masked' as const, 'redacted' as const);
    fc.assert(
      fc.property(answers, view, fc.nat(), (answer, given, seq) => {
        const reveal = { ...answer, values: new Plain(answer.tokens), view: given };
        const batch = {
          values: stringRows(answer.tokens),
          errors: wantedErrors(answer.errors),
          receipt: wantedReceipt(answer.receipt),
          view: VIEW_NUMBER[given],
          notices: wanted(answer)['notices'],
        };
        expect(parsed(DetokenizeResponseSchema, writeRevealAnswer(reveal))).toEqual(batch);
        const wrapped = writeRevealAnswer(reveal, seq);
        const outcome = { case: 'batch', value: batch };
        expect(parsed(DetokenizeStreamResponseSchema, wrapped)).toEqual({ seq, outcome });
      }),
    );
  });

  test('lockstep.v1.TokenizeStreamResponse, at any seq', () => {
    const seq = fc.nat(2 ** 32 - 1);
    fc.assert(
      fc.property(answers, seq, (answer, number) => {
        const outcome = { case: 'batch', value: wanted(answer) };
        const bytes = writeTokenAnswer(answer, number);
        expect(parsed(TokenizeStreamResponseSchema, bytes)).toEqual({ seq: number, outcome });
      }),
    );
  });

  test('a column that is a view into a larger buffer', () => {
    const whole = columnOf(['secret', '123456789', 'other']);
    const tokens = { bytes: whole.bytes.subarray(6, 15), ends: Uint32Array.of(9) };
    const answer: TokenAnswer = {
      tokens,
      errors: [],
      receipt: { leafIndex: 0, leafHash: new Uint8Array(32), salt: new Uint8Array(32) },
      keyVersion: 0,
      created: new Uint8Array(0),
      notices: [],
    };
    expect(fromBinary(TokenizeResponseSchema, writeTokenAnswer(answer)).tokens).toEqual([
      '123456789',
    ]);
  });
});
