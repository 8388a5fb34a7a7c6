import { create, type DescMessage, fromBinary, ScalarType, toBinary } from '@bufbuild/protobuf';
import { BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { CallError } from '../../src/base/call-error.ts';
import { stringsOf } from '../../src/base/column.ts';
import { readMessage } from '../../src/rpc/adapter.ts';
import { type BatchFields, batchReader } from '../../src/rpc/columns.ts';
import {
  DetokenizeRequestSchema,
  EraseRequestSchema,
  ExchangeRequestSchema,
  InspectRequestSchema,
  LookupRequestSchema,
  RestrictRequestSchema,
  TokenizeMultipleRequestSchema,
  TokenizeRequestSchema,
  TokenRulesSchema,
} from '../../src/rpc/gen/lockstep/v1/token_service_pb.ts';
import { ImportTokensRequestSchema } from '../../src/rpc/gen/lockstep/v1/vault_service_pb.ts';

const REQUESTS: readonly DescMessage[] = [
  TokenizeRequestSchema,
  LookupRequestSchema,
  DetokenizeRequestSchema,
  ExchangeRequestSchema,
  InspectRequestSchema,
  TokenizeMultipleRequestSchema,
  RestrictRequestSchema,
  EraseRequestSchema,
  ImportTokensRequestSchema,
];

/** Text short and long, ASCII and not: rows of 32 bytes and fewer are copied by another path, and
 *  lengths from 128 on take two bytes. */
const text = fc.oneof(
  fc.string({ maxLength: 12 }),
  fc.string({ unit: 'grapheme', maxLength: 12 }),
  fc.string({ minLength: 28, maxLength: 36 }),
  fc.string({ minLength: 120, maxLength: 140 }),
  fc.constantFrom('', '\uFEFF529-31-0047', '\u0000', '\uFFFD', 'é'),
);

/** TokenRules as bytes, whole or in part: parts of one message merge. */
const rules = fc
  .record(
    {
      idleTtl: fc.record({ seconds: fc.bigInt({ min: -5n, max: 2n ** 40n }), nanos: fc.nat(9e8) }),
      expireTime: fc.record({ seconds: fc.bigInt({ min: 0n, max: 2n ** 40n }) }),
      revealsMax: fc.nat(2 ** 32 - 1),
      labels: fc.array(text, { maxLength: 3 }),
    },
    { requiredKeys: [] },
  )
  .map((it) => toBinary(TokenRulesSchema, create(TokenRulesSchema, it)));

/** One field of a message on the wire, by number; any number of them, in any order, is a message.
 *  */
function fieldOf(schema: DescMessage): fc.Arbitrary<Uint8Array> {
  const fields = schema.fields.map((field): fc.Arbitrary<Uint8Array> => {
    if (field.fieldKind === 'enum') {
      const numbers = field.enum.values.map((value) => value.number);
      return fc
        .constantFrom(...numbers)
        .map((number) =>
          new BinaryWriter().tag(field.number, WireType.Varint).int32(number).finish(),
        );
    }
    if (field.message !== undefined) {
      return rules.map((it) =>
        new BinaryWriter().tag(field.number, WireType.LengthDelimited).bytes(it).finish(),
      );
    }
    if (field.scalar === ScalarType.UINT32) {
      return fc
        .nat(2 ** 32 - 1)
        .map((it) => new BinaryWriter().tag(field.number, WireType.Varint).uint32(it).finish());
    }
    const isText = field.fieldKind === 'list' || field.scalar === ScalarType.STRING;
    return isText
      ? text.map((it) =>
          new BinaryWriter().tag(field.number, WireType.LengthDelimited).string(it).finish(),
        )
      : fc
          .boolean()
          .map((it) => new BinaryWriter().tag(field.number, WireType.Varint).bool(it).finish());
  });
  return fc.oneof(...fields);
}

const messageOf = (schema: DescMessage): fc.Arbitrary<Uint8Array> =>
  fc.array(fieldOf(schema), { maxLength: 40 }).map((parts) => new Uint8Array(Buffer.concat(parts)));

/** What the columns read, in the shape that protobuf-es gives. */
function plain(schema: DescMessage, fields: BatchFields): Record<string, unknown> {
  const decode = (bytes: Uint8Array): string => Buffer.from(bytes).toString('utf8');
  const both = ['values', 'tokens'].every((it) => schema.field[it] !== undefined);
  const all: Record<string, unknown> = {
    domain: fields.domain,
    values: stringsOf(both ? fields.targetValues : fields.items),
    tokens: stringsOf(fields.items),
    purpose: fields.purpose,
    delivery: fields.delivery,
    context: decode(fields.context),
    contexts: stringsOf(fields.contexts),
    subject: decode(fields.subject),
    subjects: stringsOf(fields.subjects),
    requestId: fields.requestId,
    view: fields.view,
    targetDomain: fields.targetDomain,
    waitForProof: fields.waitForProof,
    acceptLowerView: fields.acceptLowerView,
    targetContext: decode(fields.targetContext),
    targetContexts: stringsOf(fields.targetContexts),
    rules: fields.rules,
    seq: fields.seq,
    count: fields.count,
    kind: fields.eraseKind,
    withDetails: fields.withDetails,
    lift: fields.lift,
  };
  return Object.fromEntries(schema.fields.map(({ localName }) => [localName, all[localName]]));
}

function oracle(schema: DescMessage, bytes: Uint8Array): Record<string, unknown> {
  const { $typeName, ...fields } = fromBinary(schema, bytes);
  return fields;
}

/** 'accepted', or the reason of the refusal. */
function verdict(read: () => unknown): string {
  try {
    read();
    return 'accepted';
  } catch (error) {
    if (error instanceof CallError) return error.reason;
    throw error;
  }
}

describe.each(REQUESTS)('$typeName', (schema) => {
  const read = batchReader(schema);

  test('reads what protobuf-es reads: any order, fields again and again, any text', () => {
    fc.assert(
      fc.property(messageOf(schema), (bytes) => {
        expect(plain(schema, read(bytes))).toEqual(oracle(schema, bytes));
      }),
    );
  });

  test('reads what protobuf-es writes', () => {
    const items = schema.field['tokens'] === undefined;
    const rows = Array.from({ length: 3_000 }, (_, i) => String(i * 7919).padStart(i % 40, '0'));
    const bytes = toBinary(schema, create(schema, { [items ? 'values' : 'tokens']: rows }));
    expect(stringsOf(read(bytes).items)).toEqual(rows);
  });

  test('accepts and refuses mutated messages as the strict reader of cold messages does', () => {
    const mutation = fc.record({ at: fc.nat(), byte: fc.nat(255), kind: fc.nat(2) });
    const mutated = fc
      .tuple(messageOf(schema), fc.array(mutation, { minLength: 1, maxLength: 3 }))
      .map(([bytes, mutations]) => {
        const out = [...bytes];
        for (const { at, byte, kind } of mutations) {
          const place = out.length === 0 ? 0 : at % out.length;
          out.splice(place, kind === 1 ? 0 : 1, ...(kind === 2 ? [] : [byte]));
        }
        return Uint8Array.from(out);
      });
    const bytes = fc.oneof(mutated, fc.uint8Array({ maxLength: 40 }));
    const sameVerdict = (it: Uint8Array): void => {
      const wanted = verdict(() => readMessage(schema, it));
      // Unknown numbers of an enum are for the validation behind the columns.
      const got = verdict(() => read(it));
      if (got === 'accepted' && wanted === 'FIELD_UNKNOWN') return;
      expect(got === 'accepted').toBe(wanted === 'accepted');
      if (got === 'accepted') expect(plain(schema, read(it))).toEqual(oracle(schema, it));
    };
    fc.assert(fc.property(bytes, sameVerdict), { numRuns: 2_000 });
  });
});

const readTokenize = batchReader(TokenizeRequestSchema);

describe('refusals', () => {
  const tokenize = (values: readonly (string | Uint8Array)[]): Uint8Array => {
    const writer = new BinaryWriter();
    for (const value of values) {
      writer.tag(2, WireType.LengthDelimited);
      if (typeof value === 'string') writer.string(value);
      else writer.bytes(value);
    }
    return writer.finish();
  };

  test('10,000 values pass, 10,001 are BATCH_TOO_LARGE', () => {
    const values = Array.from({ length: 10_000 }, () => '1');
    expect(readTokenize(tokenize(values)).items.ends.length).toBe(10_000);
    expect(verdict(() => readTokenize(tokenize([...values, '1'])))).toBe('BATCH_TOO_LARGE');
  });

  test.each([
    ['a lone continuation byte', [Uint8Array.of(0x80)]],
    ['an overlong form', [Uint8Array.of(0xc0, 0xaf)]],
    ['a lone surrogate', [Uint8Array.of(0xed, 0xa0, 0x80)]],
    ['a character cut in two rows', [Uint8Array.of(0xc3), Uint8Array.of(0xa9)]],
    ['a row cut at the end', ['é', Uint8Array.of(0xc3)]],
    ['above U+10FFFF', [Uint8Array.of(0xf4, 0x90, 0x80, 0x80)]],
  ])('%s is MESSAGE_MALFORMED', (_name, values) => {
    expect(verdict(() => readTokenize(tokenize(values)))).toBe('MESSAGE_MALFORMED');
  });

  test.each([
    ['a length beyond the end', [0x12, 0x05, 0x31]],
    ['a length of 2^32 - 1', [0x12, 0xff, 0xff, 0xff, 0xff, 0x0f]],
    ['an endless varint', [0x20, ...Array.from({ length: 11 }, () => 0x80)]],
    ['a tag alone', [0x12]],
    ['field 0', [0x02, 0x00]],
    ['a group', [0x13, 0x14]],
    ['values as a varint', [0x10, 0x01]],
    ['delivery as text', [0x22, 0x01, 0x31]],
    ['wire type 7', [0x17, 0x00]],
  ])('%s is MESSAGE_MALFORMED', (_name, bytes) => {
    expect(verdict(() => readTokenize(Uint8Array.from(bytes)))).toBe('MESSAGE_MALFORMED');
  });

  test('a field that the message does not have is FIELD_UNKNOWN, reserved ones too', () => {
    for (const number of [9, 12, 14, 15, 100]) {
      const bytes = new BinaryWriter().tag(number, WireType.Varint).bool(true).finish();
      expect(verdict(() => readTokenize(bytes))).toBe('FIELD_UNKNOWN');
    }
  });

  test('columns do not alias the frame that they came in', () => {
    const context = new BinaryWriter().tag(5, WireType.LengthDelimited).string('ctx').finish();
    const frame = Buffer.concat([tokenize(['abc']), context]);
    const { items, context: read } = readTokenize(frame);
    frame.fill(0);
    expect(read).toEqual(new Uint8Array(Buffer.from('ctx')));
    expect(stringsOf(items)).toEqual(['abc']);
    expect(items.bytes.buffer.byteLength).toBe(3);
  });
});
