import { CallError, type Violation } from '../base/call-error.ts';
import { type Column, rowCount } from '../base/column.ts';
import type { Delivery, View } from '../base/domain.ts';
import { LIMITS } from '../base/limits.ts';
import { type CallBase, NONE, type PerCall } from '../engine/calls.ts';
import type { BatchFields } from './columns.ts';
import { type CallContext, clampDeadline } from './context.ts';
import { DELIVERY_NUMBER, VIEW_NUMBER, wordOf } from './names.ts';
import { unknownField } from './wire.ts';

// What the edge checks before the engine sees a call. Lengths of values and tokens are not here:
// they depend on the format and fail an item, not the call.

const DOMAIN = /^(?:[a-z0-9-]{1,63}\/)?[a-z0-9-]{1,63}$/;
const PURPOSE = /^[A-Za-z0-9_-]+$/;
/** Printable ASCII: it is a header too. */
const REQUEST_ID = /^[!-~]*$/;
const VIOLATIONS_MAX = 16;

export const invalid = (...violations: Violation[]): CallError =>
  new CallError('FIELD_INVALID', { violations });
export const required = (field: string): CallError =>
  new CallError('FIELD_REQUIRED', { violations: [{ field, text: 'is required' }] });

/** The fields that every call on a batch has. `items` names the column: `values` or `tokens`. */
export function callBase(
  fields: BatchFields,
  items: 'values' | 'tokens',
  context: CallContext,
): CallBase {
  const base = frameOf(fields, context);
  if (rowCount(fields.items) === 0) throw required(items);
  return base;
}

/** The same for calls whose items stand elsewhere. `anywhere` allows a call without a domain: it is
 *  for all of the caller's organisation. */
export function frameOf(
  fields: { readonly domain: string; readonly purpose: string },
  context: CallContext,
  anywhere = false,
): CallBase {
  if (!(anywhere && fields.domain === '')) checkDomain(fields.domain, 'domain');
  checkPurpose(fields.purpose);
  return {
    caller: context.caller,
    domain: fields.domain,
    purpose: fields.purpose,
    deadlineMs: deadlineOf(context),
    cancelled: context.cancelled,
  };
}

/** Absolute. Throws where it has passed already: nothing is begun then. */
export function deadlineOf(context: CallContext): number {
  const nowMs = Date.now();
  const deadlineMs = clampDeadline(context.deadlineMs, nowMs);
  if (deadlineMs <= nowMs) throw new CallError('DEADLINE_PASSED');
  return deadlineMs;
}

export function checkDomain(id: string, field: string): void {
  if (id === '') throw required(field);
  if (!DOMAIN.test(id)) throw invalid({ field, text: 'is not a domain id' });
}

/** Its form alone: which codes there are is for policy to know. */
function checkPurpose(purpose: string): void {
  if (purpose === '') return;
  if (purpose.length > LIMITS.purposeBytesMax || !PURPOSE.test(purpose)) {
    throw new CallError('PURPOSE_UNKNOWN');
  }
}

/** For verbs that reveal or move: nothing happens without a purpose. */
export function requirePurpose(purpose: string): void {
  if (purpose === '') throw new CallError('PURPOSE_REQUIRED');
}

/** The message's own id, else the header's; both only if they agree. */
export function requestIdOf(fields: { readonly requestId: string }, context: CallContext): string {
  const header = context.idempotencyKey;
  if (fields.requestId !== '' && header !== '' && fields.requestId !== header) {
    throw invalid({ field: 'request_id', text: 'differs from the metadata idempotency-key' });
  }
  const id = fields.requestId === '' ? header : fields.requestId;
  if (id.length > LIMITS.requestIdBytesMax) throw tooLong('request_id', LIMITS.requestIdBytesMax);
  if (!REQUEST_ID.test(id)) throw invalid({ field: 'request_id', text: 'is not printable ASCII' });
  return id;
}

export function deliveryOf(number: number): Delivery {
  if (number === 0) return 'best-effort';
  const delivery = wordOf(DELIVERY_NUMBER, number);
  if (delivery === undefined) throw unknownField('delivery');
  return delivery;
}

/** A reveal names its view: there is none that is right for all. */
export function viewOf(number: number): View {
  if (number === 0) throw required('view');
  const view = wordOf(VIEW_NUMBER, number);
  if (view === undefined) throw unknownField('view');
  return view;
}

/** One for all, or one each: never both, never a column of another length. `name` is the field's,
 *  with an s for its column. */
export function perCall(
  name: 'context' | 'subject' | 'target_context',
  one: Uint8Array,
  each: Column,
  rows: number,
): PerCall {
  const count = rowCount(each);
  const bytesMax = name === 'subject' ? LIMITS.subjectBytesMax : LIMITS.contextBytesMax;
  if (count === 0) {
    if (one.length > bytesMax) throw tooLong(name, bytesMax);
    if (isDamaged(one)) throw invalid({ field: name, text: DAMAGED });
    return one.length === 0 ? NONE : { kind: 'one', value: one };
  }
  if (one.length > 0) throw invalid({ field: name, text: `not together with ${name}s` });
  if (count !== rows) {
    throw new CallError('COLUMN_MISMATCH', {
      violations: [
        { field: `${name}s`, text: 'needs as many entries as there are items, or none' },
      ],
    });
  }
  checkRows(`${name}s`, each, bytesMax);
  return { kind: 'each', values: each };
}

/** U+FFFD: some client sent a lone surrogate for it, and with it two patients would be one. */
const REPLACEMENT = Buffer.from('\uFFFD', 'utf8');
const DAMAGED = 'holds U+FFFD, which stands for text that was lost';

const isDamaged = (bytes: Uint8Array): boolean =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).includes(REPLACEMENT);

function checkRows(name: string, column: Column, bytesMax: number): void {
  const violations: Violation[] = [];
  const damaged = isDamaged(column.bytes);
  let start = 0;
  for (let i = 0; i < column.ends.length && violations.length < VIOLATIONS_MAX; i++) {
    const end = column.ends[i]!;
    if (end - start > bytesMax) {
      violations.push({ field: `${name}[${i}]`, text: `is longer than ${bytesMax} bytes` });
    } else if (damaged && isDamaged(column.bytes.subarray(start, end))) {
      violations.push({ field: `${name}[${i}]`, text: DAMAGED });
    }
    start = end;
  }
  if (violations.length > 0) throw invalid(...violations);
}

/** A note for the log: why something was done. */
export function checkNote(note: string): void {
  if (Buffer.byteLength(note) > LIMITS.noteBytesMax) throw tooLong('note', LIMITS.noteBytesMax);
}

/** A subject that a cold message names by itself; there must be one. */
export function subjectBytes(text: string, field: string): Uint8Array {
  if (text === '') throw required(field);
  const bytes = Buffer.from(text, 'utf8');
  if (bytes.length > LIMITS.subjectBytesMax) throw tooLong(field, LIMITS.subjectBytesMax);
  if (isDamaged(bytes)) throw invalid({ field, text: DAMAGED });
  return Uint8Array.from(bytes);
}

/** A count of the wire that must be one of JavaScript's. */
export function wholeNumber(count: bigint, field: string): number {
  const number = Number(count);
  if (!Number.isSafeInteger(number)) throw invalid({ field, text: 'is above 2^53 - 1' });
  return number;
}

export const tooLong = (field: string, bytesMax: number): CallError =>
  invalid({ field, text: `is longer than ${bytesMax} bytes` });
