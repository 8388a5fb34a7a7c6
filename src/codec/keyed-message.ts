import { hash } from 'node:crypto';
import { type Column, ColumnWriter, rowStart } from '../base/column.ts';
import type { PerItem } from './domain.ts';

/** Longest message that a CMAC takes as it is; its chain is a key call a block (design.md, Long
 *  messages). A longer one is replaced by `flag + 2` ‖ SHA-256(it). */
export const MESSAGE_BYTES_MAX = 256;

const FLAG = { none: 0, subject: 1, hashed: 2 } as const;
const SUBJECT_BYTES = 16;

/** Messages for keyed answers, row for row, injective in their parts:
 *  constant ‖ flag (1 where a subject is given) ‖ subject index, or 16 zeros ‖ length of the
 *  context (1 byte) ‖ context ‖ normal form. The constant is the same for all rows. */
export function keyedMessages(
  constant: Uint8Array,
  normal: Column,
  context: PerItem,
  subjects: PerItem,
): Column {
  const rows = normal.ends.length;
  const hint = normal.bytes.length + rows * (constant.length + SUBJECT_BYTES + 2 + 16);
  const out = new ColumnWriter(rows, hint);
  for (let row = 0; row < rows; row++) {
    const start = out.length;
    out.append(constant);
    appendSubject(out, subjects, row);
    appendContext(out, context, row);
    out.append(normal.bytes, rowStart(normal, row), normal.ends[row]!);
    if (out.length - start > MESSAGE_BYTES_MAX) shorten(out, start, constant.length);
    out.endRow();
  }
  return out.finish();
}

function appendSubject(out: ColumnWriter, subjects: PerItem, row: number): void {
  const whole = subjects instanceof Uint8Array;
  const bytes = whole ? subjects : subjects.bytes;
  const start = whole ? 0 : rowStart(subjects, row);
  const length = (whole ? bytes.length : subjects.ends[row]!) - start;
  if (length !== 0 && length !== SUBJECT_BYTES) throw new TypeError('a subject index is 16 bytes');
  out.reserve(1 + SUBJECT_BYTES);
  out.bytes[out.length++] = length === 0 ? FLAG.none : FLAG.subject;
  if (length === 0) {
    out.bytes.fill(0, out.length, out.length + SUBJECT_BYTES);
    out.length += SUBJECT_BYTES;
  } else out.append(bytes, start, start + SUBJECT_BYTES);
}

function appendContext(out: ColumnWriter, context: PerItem, row: number): void {
  const whole = context instanceof Uint8Array;
  const bytes = whole ? context : context.bytes;
  const start = whole ? 0 : rowStart(context, row);
  const end = whole ? bytes.length : context.ends[row]!;
  if (end - start > 255) throw new TypeError('a context is at most 64 bytes');
  out.reserve(1);
  out.bytes[out.length++] = end - start;
  out.append(bytes, start, end);
}

/** The constant stays in front; no short message has such a flag. */
function shorten(out: ColumnWriter, start: number, constantBytes: number): void {
  const digest = hash('sha256', out.bytes.subarray(start, out.length), 'buffer');
  const flagAt = start + constantBytes;
  out.bytes[flagAt]! += FLAG.hashed;
  out.length = flagAt + 1;
  out.append(digest);
}
