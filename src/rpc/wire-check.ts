import { isUtf8 } from 'node:buffer';
import { type DescEnum, type DescField, type DescMessage, ScalarType } from '@bufbuild/protobuf';
import { I32, I64, LEN, malformed, unknownField, VARINT, WireReader } from './wire.ts';

/** Deeper than any message of ours; protobuf's own bound. */
const DEPTH_MAX = 100;

/** Refuses what protobuf-es would read leniently: fields, enum numbers and map entry fields that
 *  the schema does not have (FIELD_UNKNOWN: they may be restrictions), wire types other than the
 *  field's, and inner messages that run past their end (MESSAGE_MALFORMED). Not for the hot
 *  messages, whose readers check as they read. */
export function checkWire(message: DescMessage, bytes: Uint8Array): void {
  checkMessage(message, new WireReader(bytes), '', 0);
}

function checkMessage(message: DescMessage, wire: WireReader, path: string, depth: number): void {
  if (depth > DEPTH_MAX) throw malformed();
  while (!wire.done) {
    const tag = wire.tag();
    const field = fieldOf(message, tag >>> 3);
    if (field === undefined) throw unknownField(path);
    checkField(field, tag & 7, wire, path === '' ? field.name : `${path}.${field.name}`, depth);
  }
}

const numbered = new WeakMap<DescMessage, ReadonlyMap<number, DescField>>();

function fieldOf(message: DescMessage, number: number): DescField | undefined {
  let fields = numbered.get(message);
  if (fields === undefined) {
    fields = new Map(message.fields.map((field) => [field.number, field]));
    numbered.set(message, fields);
  }
  return fields.get(number);
}

function checkField(
  field: DescField,
  type: number,
  wire: WireReader,
  path: string,
  depth: number,
): void {
  if (field.message !== undefined) {
    checkMessage(field.message, inner(wire, type), path, depth + 1);
  } else if (field.fieldKind === 'map') {
    checkMapEntry(field, inner(wire, type), path, depth + 1);
  } else {
    const of = field.enum ?? field.scalar;
    if (of === undefined) throw malformed();
    const packed = field.fieldKind === 'list' && type === LEN && wireTypeOf(of) !== LEN;
    if (!packed) {
      checkValue(of, type, wire, path);
      return;
    }
    const run = inner(wire, type);
    while (!run.done) checkValue(of, wireTypeOf(of), run, path);
  }
}

function inner(wire: WireReader, type: number): WireReader {
  if (type !== LEN) throw malformed();
  const length = wire.length();
  const reader = new WireReader(wire.bytes, wire.pos, wire.pos + length);
  wire.pos += length;
  return reader;
}

function checkMapEntry(
  field: DescField & { fieldKind: 'map' },
  wire: WireReader,
  path: string,
  depth: number,
): void {
  while (!wire.done) {
    const tag = wire.tag();
    if (tag >>> 3 === 1) {
      checkValue(field.mapKey, tag & 7, wire, path);
    } else if (tag >>> 3 === 2) {
      if (field.message !== undefined) {
        checkMessage(field.message, inner(wire, tag & 7), path, depth);
      } else {
        checkValue(field.enum ?? field.scalar ?? ScalarType.BYTES, tag & 7, wire, path);
      }
    } else {
      throw unknownField(path);
    }
  }
}

function checkValue(of: DescEnum | ScalarType, type: number, wire: WireReader, path: string): void {
  if (type !== wireTypeOf(of)) throw malformed();
  if (typeof of === 'object') {
    if (of.value[wire.varint() | 0] === undefined) throw unknownField(path);
  } else if (of === ScalarType.STRING) {
    if (!isUtf8(wire.slice())) throw malformed();
  } else if (type === LEN) {
    wire.slice();
  } else if (type === VARINT) {
    wire.bool();
  } else {
    wire.fixed(type === I64 ? 8 : 4);
  }
}

function wireTypeOf(of: DescEnum | ScalarType): number {
  if (typeof of === 'object') return VARINT;
  switch (of) {
    case ScalarType.STRING:
    case ScalarType.BYTES:
      return LEN;
    case ScalarType.DOUBLE:
    case ScalarType.FIXED64:
    case ScalarType.SFIXED64:
      return I64;
    case ScalarType.FLOAT:
    case ScalarType.FIXED32:
    case ScalarType.SFIXED32:
      return I32;
    default:
      return VARINT;
  }
}
