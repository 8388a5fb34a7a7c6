import type { Column } from '../base/column.ts';
import { type ItemError, REASONS, type Reason } from '../base/reason.ts';
import type { Notice, Receipt, RevealAnswer, TokenAnswer } from '../engine/calls.ts';
import { GRPC_CODE } from './codes.ts';
import { VIEW_NUMBER } from './names.ts';
import { varintBytes, writeVarint } from './wire.ts';

// Numbers of the contract; a test compares every answer with protobuf-es over the descriptors.
const FIELD = {
  column: 1,
  errors: 2,
  receipt: 3,
  keyVersion: 4,
  view: 5,
  created: 5,
  notices: 6,
} as const;
const VARINT = 0;
const LEN = 2;
const tagOf = (field: number, type: number): number => field * 8 + type;

/** Tokenize, Exchange and Lookup answer alike; Lookup has an empty `created`. With `seq` the
 *  bytes are those of the stream's response around it. */
export function writeTokenAnswer(answer: TokenAnswer, seq?: number): Buffer {
  return writeAnswer(
    {
      column: answer.tokens,
      errors: answer.errors,
      receipt: answer.receipt,
      number: answer.keyVersion,
      numberTag: tagOf(FIELD.keyVersion, VARINT),
      created: answer.created,
      notices: answer.notices,
    },
    seq,
  );
}

export function writeRevealAnswer(answer: RevealAnswer, seq?: number): Buffer {
  return writeAnswer(
    {
      column: answer.values.reveal(),
      errors: answer.errors,
      receipt: answer.receipt,
      number: VIEW_NUMBER[answer.view],
      numberTag: tagOf(FIELD.view, VARINT),
      created: NONE_CREATED,
      notices: answer.notices,
    },
    seq,
  );
}

const NONE_CREATED = new Uint8Array(0);

interface Parts {
  readonly column: Column;
  readonly errors: readonly ItemError[];
  readonly receipt: Receipt;
  readonly number: number;
  readonly numberTag: number;
  readonly created: Uint8Array;
  readonly notices: readonly Notice[];
}

function writeAnswer(parts: Parts, seq: number | undefined): Buffer {
  const tail = tailOf(parts);
  const size = columnBytes(parts.column) + tail.length;
  const head = seq === undefined ? 0 : 1 + varintBytes(seq) + 1 + varintBytes(size);
  const out = Buffer.allocUnsafe(head + size);
  let pos = 0;
  if (seq !== undefined) {
    // TokenizeStreamResponse and DetokenizeStreamResponse: seq = 1, batch = 2.
    out[pos++] = tagOf(1, VARINT);
    pos = writeVarint(out, pos, seq);
    out[pos++] = tagOf(2, LEN);
    pos = writeVarint(out, pos, size);
  }
  pos = writeColumn(out, pos, parts.column);
  out.set(tail, pos);
  return out;
}

function columnBytes(column: Column): number {
  const { ends } = column;
  let total = 0;
  let start = 0;
  for (let i = 0; i < ends.length; i++) {
    const size = ends[i]! - start;
    start = ends[i]!;
    total += size < 0x80 ? 2 + size : 1 + varintBytes(size) + size;
  }
  return total;
}

function writeColumn(out: Buffer, from: number, column: Column): number {
  const { bytes, ends } = column;
  const source = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const target = new DataView(out.buffer, out.byteOffset, out.length);
  let pos = from;
  let start = 0;
  for (let i = 0; i < ends.length; i++) {
    const end = ends[i]!;
    const size = end - start;
    out[pos++] = 0x0a; // Field 1, LEN.
    if (size < 0x80) out[pos++] = size;
    else pos = writeVarint(out, pos, size);
    if (size <= 32 && end + 4 <= bytes.length && pos + size + 4 <= out.length) {
      // Words at a time, past the row's end: what follows overwrites what is too much.
      for (let at = 0; at < size; at += 4) target.setInt32(pos + at, source.getInt32(start + at));
    } else {
      out.set(bytes.subarray(start, end), pos);
    }
    pos += size;
    start = end;
  }
  return pos;
}

/** All but the column, which is short unless many items failed. */
function tailOf(parts: Parts): Uint8Array {
  const tail = new Tail();
  for (const error of parts.errors) tail.itemError(error);
  tail.receipt(parts.receipt);
  if (parts.number !== 0) tail.varintField(parts.numberTag, parts.number);
  if (parts.created.length > 0) {
    tail.bytesField(tagOf(FIELD.created, LEN), parts.created);
  }
  for (const notice of parts.notices) tail.notice(notice);
  return tail.done();
}

const REASON_BYTES = Object.fromEntries(
  Object.keys(REASONS).map((reason) => [reason, Buffer.from(reason)]),
) as Record<Reason, Buffer>;
const NOTICE_BYTES = {
  VALUE_PASSED: Buffer.from('VALUE_PASSED'),
  VALUE_OPAQUE: Buffer.from('VALUE_OPAQUE'),
} as const satisfies Record<Notice['reason'], Buffer>;

class Tail {
  #out = Buffer.allocUnsafe(256);
  #pos = 0;

  #room(count: number): void {
    if (this.#pos + count <= this.#out.length) return;
    const more = Buffer.allocUnsafe(Math.max(this.#pos + count, this.#out.length * 2));
    this.#out.copy(more, 0, 0, this.#pos);
    this.#out = more;
  }

  varintField(tag: number, value: number): void {
    this.#room(11);
    this.#out[this.#pos++] = tag;
    this.#pos = writeVarint(this.#out, this.#pos, value);
  }

  bytesField(tag: number, bytes: Uint8Array): void {
    this.varintField(tag, bytes.length);
    this.#room(bytes.length);
    this.#out.set(bytes, this.#pos);
    this.#pos += bytes.length;
  }

  itemError(error: ItemError): void {
    const reason = REASON_BYTES[error.reason];
    const { code, retry } = REASONS[error.reason];
    // index 1, code 2 (both a byte of tag), reason 3, retryable 4.
    const size = 1 + varintBytes(error.index) + 2 + 2 + reason.length + (retry ? 2 : 0);
    this.varintField(tagOf(FIELD.errors, LEN), size);
    this.varintField(tagOf(1, VARINT), error.index);
    this.varintField(tagOf(2, VARINT), GRPC_CODE[code]);
    this.bytesField(tagOf(3, LEN), reason);
    if (retry) this.varintField(tagOf(4, VARINT), 1);
  }

  receipt(receipt: Receipt): void {
    const text = Buffer.from(receipt.proof?.text ?? '');
    const leaf = receipt.proof?.leaf ?? NONE_CREATED;
    const index = receipt.leafIndex === 0 ? 0 : 1 + varintBytes(receipt.leafIndex);
    const bytes = [receipt.leafHash, receipt.salt, leaf, text];
    let size = index;
    for (const part of bytes) {
      if (part.length > 0) size += 1 + varintBytes(part.length) + part.length;
    }
    this.varintField(tagOf(FIELD.receipt, LEN), size);
    if (index > 0) this.varintField(tagOf(1, VARINT), receipt.leafIndex);
    for (const [i, part] of bytes.entries()) {
      if (part.length > 0) this.bytesField(tagOf(2 + i, LEN), part);
    }
  }

  notice(notice: Notice): void {
    const reason = NOTICE_BYTES[notice.reason];
    let packed = 0;
    for (const index of notice.indexes) packed += varintBytes(index);
    const indexes = packed === 0 ? 0 : 1 + varintBytes(packed) + packed;
    this.varintField(tagOf(FIELD.notices, LEN), 2 + reason.length + indexes);
    this.bytesField(tagOf(1, LEN), reason);
    if (packed === 0) return;
    this.varintField(tagOf(2, LEN), packed);
    this.#room(packed);
    for (const index of notice.indexes) this.#pos = writeVarint(this.#out, this.#pos, index);
  }

  done(): Uint8Array {
    return this.#out.subarray(0, this.#pos);
  }
}
