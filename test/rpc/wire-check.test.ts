import { create, toBinary } from '@bufbuild/protobuf';
import { BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import { describe, expect, test } from 'vitest';
import { CallError } from '../../src/base/call-error.ts';
import { readMessage } from '../../src/rpc/adapter.ts';
import {
  CreateDomainRequestSchema,
  DomainKind,
  UpdateDomainRequestSchema,
} from '../../src/rpc/gen/lockstep/v1/domain_service_pb.ts';

const spec = {
  id: 'clinic/ssn',
  kind: DomainKind.FPE,
  format: 'ssn',
  formatOptions: { alphabet: 'abc', '': '' },
  listable: false,
  population: 5_000_000_000n,
  capacityBits: 1.5,
  createTime: { seconds: 5n, nanos: 7 },
};

/** `body` as field `number` of a message. */
const field = (number: number, body: Uint8Array): Uint8Array =>
  new BinaryWriter().tag(number, WireType.LengthDelimited).bytes(body).finish();
const varint = (number: number, value: number): Uint8Array =>
  new BinaryWriter().tag(number, WireType.Varint).uint32(value).finish();

function refusal(bytes: Uint8Array): [string, string | undefined] {
  try {
    readMessage(CreateDomainRequestSchema, bytes);
  } catch (error) {
    if (error instanceof CallError) return [error.reason, error.violations[0]?.field];
    throw error;
  }
  return ['accepted', undefined];
}

describe('cold messages', () => {
  test('what protobuf-es writes is read whole', () => {
    const message = create(CreateDomainRequestSchema, { spec, note: 'why' });
    const bytes = toBinary(CreateDomainRequestSchema, message);
    expect(readMessage(CreateDomainRequestSchema, bytes)).toEqual(message);
    const update = create(UpdateDomainRequestSchema, { spec, updateMask: { paths: ['disabled'] } });
    const updateBytes = toBinary(UpdateDomainRequestSchema, update);
    expect(readMessage(UpdateDomainRequestSchema, updateBytes)).toEqual(update);
  });

  test.each<[string, string, string | undefined, Uint8Array]>([
    ['a field of the message', 'FIELD_UNKNOWN', undefined, varint(90, 1)],
    ['a reserved field inside', 'FIELD_UNKNOWN', 'spec', field(1, varint(12, 1))],
    ['an enum number inside', 'FIELD_UNKNOWN', 'spec.kind', field(1, varint(2, 99))],
    [
      'a field of a map entry',
      'FIELD_UNKNOWN',
      'spec.format_options',
      field(1, field(4, varint(3, 1))),
    ],
    [
      'a field of a timestamp',
      'FIELD_UNKNOWN',
      'spec.create_time',
      field(1, field(21, varint(3, 1))),
    ],
    ['text as a number', 'MESSAGE_MALFORMED', undefined, varint(2, 1)],
    ['a message as a number', 'MESSAGE_MALFORMED', undefined, varint(1, 1)],
    ['a number as text', 'MESSAGE_MALFORMED', undefined, field(1, field(2, Buffer.from('x')))],
    ['a double as a number', 'MESSAGE_MALFORMED', undefined, field(1, varint(19, 1))],
    ['bad UTF-8', 'MESSAGE_MALFORMED', undefined, field(2, Uint8Array.of(0xff))],
    [
      'bad UTF-8 in a map',
      'MESSAGE_MALFORMED',
      undefined,
      field(1, field(4, field(1, Uint8Array.of(0xff)))),
    ],
    [
      'an inner message that runs past its end',
      'MESSAGE_MALFORMED',
      undefined,
      // spec says 2 bytes, of which `id` claims 5: protobuf-es alone would read on into `note`.
      Uint8Array.of(0x0a, 2, 0x0a, 5, 0x12, 3, 0x61, 0x61, 0x61),
    ],
  ])('%s: %s', (_name, reason, place, bytes) => {
    expect(refusal(bytes)).toEqual([reason, place]);
  });
});
