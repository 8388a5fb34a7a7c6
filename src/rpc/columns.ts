import { isAscii, isUtf8 } from 'node:buffer';
import type { DescField, DescMessage } from '@bufbuild/protobuf';
import { CallError } from '../base/call-error.ts';
import { type Column, EMPTY_COLUMN } from '../base/column.ts';
import { LIMITS } from '../base/limits.ts';
import { readMessage } from './adapter.ts';
import { type TokenRules, TokenRulesSchema } from './gen/lockstep/v1/token_service_pb.ts';
import { LEN, malformed, unknownField, VARINT, WireReader } from './wire.ts';

const NOTHING = new Uint8Array(0);

/** A request of TokenService as it came off the wire: the columns copied out and compact, text
 *  checked as UTF-8, at most 10,000 rows a column. Nothing else is checked; fields that the message
 *  does not have keep their defaults. */
export class BatchFields {
  domain = '';
  /** `values` or `tokens`. */
  items: Column = EMPTY_COLUMN;
  purpose = '';
  delivery = 0;
  context: Uint8Array = NOTHING;
  contexts: Column = EMPTY_COLUMN;
  subject: Uint8Array = NOTHING;
  subjects: Column = EMPTY_COLUMN;
  requestId = '';
  view = 0;
  targetDomain = '';
  waitForProof = false;
  acceptLowerView = false;
  targetContext: Uint8Array = NOTHING;
  targetContexts: Column = EMPTY_COLUMN;
  rules: TokenRules | undefined;
  /** `values` of a message that has `tokens` too. */
  targetValues: Column = EMPTY_COLUMN;
  seq = 0;
  count = 0;
  eraseKind = 0;
  withDetails = false;
  lift = false;
}

type Keys<T> = {
  [K in keyof BatchFields]: BatchFields[K] extends T ? K : never;
}[keyof BatchFields];

/** What a field number of a message means. */
type Slot =
  | { readonly kind: 'column'; readonly name: Keys<Column>; readonly place: number }
  | { readonly kind: 'text'; readonly name: Keys<string> }
  | { readonly kind: 'bytes'; readonly name: Keys<Uint8Array> }
  | { readonly kind: 'rules' }
  /** An enum. */
  | { readonly kind: 'number'; readonly name: Keys<number> }
  /** A uint32. */
  | { readonly kind: 'count'; readonly name: Keys<number> }
  | { readonly kind: 'flag'; readonly name: Keys<boolean> };

const SLOTS: Readonly<Record<string, Slot>> = {
  domain: { kind: 'text', name: 'domain' },
  values: { kind: 'column', name: 'items', place: 0 },
  tokens: { kind: 'column', name: 'items', place: 0 },
  purpose: { kind: 'text', name: 'purpose' },
  delivery: { kind: 'number', name: 'delivery' },
  context: { kind: 'bytes', name: 'context' },
  contexts: { kind: 'column', name: 'contexts', place: 1 },
  subject: { kind: 'bytes', name: 'subject' },
  subjects: { kind: 'column', name: 'subjects', place: 2 },
  request_id: { kind: 'text', name: 'requestId' },
  view: { kind: 'number', name: 'view' },
  target_domain: { kind: 'text', name: 'targetDomain' },
  wait_for_proof: { kind: 'flag', name: 'waitForProof' },
  accept_lower_view: { kind: 'flag', name: 'acceptLowerView' },
  target_context: { kind: 'bytes', name: 'targetContext' },
  target_contexts: { kind: 'column', name: 'targetContexts', place: 3 },
  rules: { kind: 'rules' },
  seq: { kind: 'count', name: 'seq' },
  count: { kind: 'count', name: 'count' },
  kind: { kind: 'number', name: 'eraseKind' },
  with_details: { kind: 'flag', name: 'withDetails' },
  lift: { kind: 'flag', name: 'lift' },
};

/** Of a message that has `tokens` too. */
const TARGET_VALUES: Slot = { kind: 'column', name: 'targetValues', place: 3 };

/** Makes the reader of a request message of TokenService from its descriptor, so that the field
 *  numbers stand in the contract alone. The reader throws `CallError`: MESSAGE_MALFORMED (also bad
 *  UTF-8), FIELD_UNKNOWN, BATCH_TOO_LARGE. Scalars: the last one wins; columns: parts append. */
export function batchReader(message: DescMessage): (bytes: Uint8Array) => BatchFields {
  const slots: (Slot | undefined)[] = [];
  for (const field of message.fields) slots[field.number] = slotOf(field);
  return (bytes) => {
    const wire = new WireReader(bytes);
    const out = new BatchFields();
    const builders: (Builder | undefined)[] = [undefined, undefined, undefined, undefined];
    let rules: Uint8Array | undefined;
    while (!wire.done) {
      const tag = wire.tag();
      const slot = slots[tag >>> 3];
      if (slot === undefined) throw unknownField('');
      if (slot.kind !== 'column' && slot.kind !== 'rules') {
        readScalar(wire, tag, slot, out);
        continue;
      }
      if ((tag & 7) !== LEN) throw malformed();
      if (slot.kind === 'rules') {
        // Parts of one inner message merge, and merging is what appending their bytes does.
        rules = Buffer.concat([rules ?? NOTHING, wire.slice()]);
        continue;
      }
      let builder = builders[slot.place];
      if (builder === undefined) {
        builder = new Builder(slot.name, wire.end - wire.pos);
        builders[slot.place] = builder;
      }
      builder.readRun(wire, tag);
    }
    for (const builder of builders) {
      if (builder !== undefined) out[builder.name] = builder.finish();
    }
    // Rare, so protobuf-es reads them; a call without rules pays nothing.
    if (rules !== undefined) out.rules = readMessage(TokenRulesSchema, rules);
    return out;
  };
}

function slotOf(field: DescField): Slot {
  const beside = field.name === 'values' && field.parent.fields.some((it) => it.name === 'tokens');
  const slot = beside ? TARGET_VALUES : SLOTS[field.name];
  if (slot === undefined) throw new Error(`no slot for ${field.name} of ${field.parent.name}`);
  return slot;
}

function readScalar(
  wire: WireReader,
  tag: number,
  slot: Exclude<Slot, { kind: 'column' | 'rules' }>,
  out: BatchFields,
): void {
  const wanted = slot.kind === 'text' || slot.kind === 'bytes' ? LEN : VARINT;
  if ((tag & 7) !== wanted) throw malformed();
  if (slot.kind === 'text') out[slot.name] = textOf(wire.slice());
  else if (slot.kind === 'bytes') out[slot.name] = utf8Of(wire.slice());
  else if (slot.kind === 'number') out[slot.name] = wire.varint() | 0;
  else if (slot.kind === 'count') out[slot.name] = wire.varint();
  else out[slot.name] = wire.bool();
}

function utf8Of(bytes: Uint8Array): Uint8Array {
  if (!isUtf8(bytes)) throw malformed();
  // A copy: the frame that the view sits in can be 2 MiB, and this may outlive it. Not slice(),
  // which of a Buffer makes another view.
  return new Uint8Array(bytes);
}

function textOf(bytes: Uint8Array): string {
  if (!isUtf8(bytes)) throw malformed();
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('utf8');
}

/** Where a column is collected before it is copied out at its own length. Kept for the next
 *  message, since new ones for each would be most of what the garbage collector has to find. */
interface Scratch {
  bytes: Uint8Array<ArrayBuffer>;
  ends: Uint32Array<ArrayBuffer>;
}

const spare: Scratch[] = [];
const SPARE_MAX = 4;

/** Collects one column. Its buffer starts as long as the rest of the message, which no column can
 *  outgrow, so that no row looks for room. */
class Builder {
  readonly name: Keys<Column>;
  readonly #scratch: Scratch;
  #bytes: Uint8Array;
  #length = 0;
  #ends: Uint32Array<ArrayBuffer>;
  #rows = 0;

  constructor(name: Keys<Column>, bytesMax: number) {
    this.name = name;
    this.#scratch = spare.pop() ?? { bytes: new Uint8Array(0), ends: new Uint32Array(1_024) };
    const wanted = bytesMax + 4;
    if (this.#scratch.bytes.length < wanted) this.#scratch.bytes = new Uint8Array(2 * wanted);
    this.#bytes = this.#scratch.bytes;
    this.#ends = this.#scratch.ends;
  }

  /** Reads the element behind `tag`, and those after it as long as they have the same tag. */
  readRun(wire: WireReader, tag: number): void {
    const { bytes, end } = wire;
    const out = this.#bytes;
    const from = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    const to = new DataView(out.buffer);
    let ends = this.#ends;
    let length = this.#length;
    let rows = this.#rows;
    let pos = wire.pos;
    // Tags of fields above 15 take two bytes; their runs go round the outer loop.
    const next = tag < 0x80 ? tag : -1;
    do {
      let size = pos < end ? bytes[pos]! : 0x80;
      if (size < 0x80 && size < end - pos) {
        pos++;
      } else {
        wire.pos = pos;
        size = wire.length();
        pos = wire.pos;
      }
      if (rows === ends.length) {
        if (rows >= LIMITS.itemsMax) throw tooLarge();
        ends = grown(ends);
      }
      if (size <= 32 && pos + size + 4 <= end) {
        // Words at a time, past the row's end: the next row, or nobody, overwrites what is too
        // much.
        for (let i = 0; i < size; i += 4) to.setInt32(length + i, from.getInt32(pos + i));
      } else {
        out.set(bytes.subarray(pos, pos + size), length);
      }
      pos += size;
      length += size;
      ends[rows++] = length;
    } while (pos < end && bytes[pos] === next && ++pos > 0);
    wire.pos = pos;
    this.#ends = ends;
    this.#length = length;
    this.#rows = rows;
  }

  finish(): Column {
    const bytes = this.#bytes.slice(0, this.#length);
    const ends = this.#ends.slice(0, this.#rows);
    // No value stays behind, though the buffer does.
    this.#bytes.fill(0, 0, this.#length + 4);
    this.#scratch.ends = this.#ends;
    if (spare.length < SPARE_MAX) spare.push(this.#scratch);
    if (!isAscii(bytes)) checkRows(bytes, ends);
    return { bytes, ends };
  }
}

function grown(ends: Uint32Array<ArrayBuffer>): Uint32Array<ArrayBuffer> {
  const more = new Uint32Array(Math.min(ends.length * 2, LIMITS.itemsMax));
  more.set(ends);
  return more;
}

/** The whole is UTF-8 and no row starts inside a character, so every row is UTF-8. */
function checkRows(bytes: Uint8Array, ends: Uint32Array): void {
  if (!isUtf8(bytes)) throw malformed();
  for (let i = 0; i + 1 < ends.length; i++) {
    const first = bytes[ends[i]!];
    // RFC 3629 §3: 10xxxxxx continues a character.
    if (first !== undefined && (first & 0xc0) === 0x80) throw malformed();
  }
}

function tooLarge(): CallError {
  return new CallError('BATCH_TOO_LARGE', { metadata: { limit: String(LIMITS.itemsMax) } });
}
