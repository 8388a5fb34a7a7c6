import { CallError } from '../base/call-error.ts';

/** Wire types of the protobuf encoding; groups (3, 4) do not exist in our messages. */
export const VARINT = 0;
export const I64 = 1;
export const LEN = 2;
export const I32 = 5;

export const malformed = (): CallError => new CallError('MESSAGE_MALFORMED');
/** `path` is made of names of our schema alone, never of what came. */
export const unknownField = (path: string): CallError =>
  new CallError('FIELD_UNKNOWN', {
    violations: path === '' ? [] : [{ field: path, text: 'is not known here' }],
  });

/** Walks one message. Every read checks the end: what does not fit is MESSAGE_MALFORMED. */
export class WireReader {
  readonly bytes: Uint8Array;
  readonly end: number;
  pos: number;

  constructor(bytes: Uint8Array, pos = 0, end = bytes.length) {
    this.bytes = bytes;
    this.pos = pos;
    this.end = end;
  }

  /** A varint's low 32 bits, unsigned: the encoding of a negative int32 is ten bytes long. */
  varint(): number {
    const { bytes, end } = this;
    let pos = this.pos;
    let value = 0;
    for (let shift = 0; shift < 70; shift += 7) {
      if (pos >= end) throw malformed();
      const byte = bytes[pos++]!;
      // Shifts above 31 would wrap around in JavaScript; those bits are beyond the 32 kept.
      if (shift < 32) value |= (byte & 0x7f) << shift;
      if (byte < 0x80) {
        this.pos = pos;
        return value >>> 0;
      }
    }
    throw malformed();
  }

  /** True if any bit of the varint is set, above the 32nd too. */
  bool(): boolean {
    let value = false;
    for (let count = 0; count < 10; count++) {
      if (this.pos >= this.end) throw malformed();
      const byte = this.bytes[this.pos++]!;
      if ((byte & 0x7f) !== 0) value = true;
      if (byte < 0x80) return value;
    }
    throw malformed();
  }

  /** Field number × 8 + wire type. */
  tag(): number {
    const start = this.pos;
    const tag = this.varint();
    const length = this.pos - start;
    // A tag is 32 bits; field 0 does not exist.
    if (length > 5 || (length === 5 && this.bytes[this.pos - 1]! > 0x0f) || tag < 8) {
      throw malformed();
    }
    return tag;
  }

  /** The length of what follows, which is all there. */
  length(): number {
    const length = this.varint();
    if (length > this.end - this.pos) throw malformed();
    return length;
  }

  /** The bytes that follow: a view, not a copy. */
  slice(): Uint8Array {
    const length = this.length();
    this.pos += length;
    return this.bytes.subarray(this.pos - length, this.pos);
  }

  fixed(count: number): void {
    if (count > this.end - this.pos) throw malformed();
    this.pos += count;
  }

  /** What a tag of this wire type announces. */
  skip(type: number): void {
    if (type === VARINT) this.bool();
    else if (type === LEN) this.slice();
    else if (type === I64 || type === I32) this.fixed(type === I64 ? 8 : 4);
    else throw malformed();
  }

  get done(): boolean {
    return this.pos >= this.end;
  }
}

/** Bytes that `value`, below 2^53, takes as a varint. */
export function varintBytes(value: number): number {
  let count = 1;
  for (let rest = value; rest >= 0x80; rest = Math.floor(rest / 0x80)) count++;
  return count;
}

/** Writes `value`, below 2^53, and returns the place after it. */
export function writeVarint(out: Uint8Array, pos: number, value: number): number {
  let rest = value;
  let at = pos;
  while (rest >= 0x80) {
    out[at++] = (rest % 0x80) | 0x80;
    rest = Math.floor(rest / 0x80);
  }
  out[at++] = rest;
  return at;
}
