import assert from 'node:assert';
import { type Column, ColumnWriter, rowStart } from '../base/column.ts';
import type { Reason } from '../base/reason.ts';
import { sivOpen, sivSeal } from '../modes/siv.ts';
import type { CompiledDomain, DomainKeys, PerItem } from './domain.ts';
import type { Sorted } from './format/format.ts';
import { PRINT_FAULT, printRows, readPrinted } from './printable.ts';
import { type Assembly, judgeRefused, takeItems, takeRows } from './rows.ts';

/** Seals rows into printed tokens: text padded to whole 16-byte blocks (its length would leak
 *  names), AES-SIV under the domain's `siv-mac` and `siv-ctr`. Associated data, in order: which
 *  domain and what for; `c` ‖ context; the subject's index (16 bytes) or nothing. Row for row. */
export function sealRows(
  keys: DomainKeys,
  constant: Uint8Array,
  lead: Uint8Array,
  plain: Column,
  context: PerItem,
  subjects: PerItem,
): Column {
  if (plain.ends.length === 0) return plain;
  const { 'siv-mac': mac, 'siv-ctr': ctr } = keys;
  assert(mac !== undefined && ctr !== undefined, 'the domain has SIV keys');
  const associated = [constant, markContext(context), subjects];
  return printRows(lead, sivSeal(mac, ctr, associated, padded(plain)));
}

/** Opens what `sealRows` made: a row that does not read is TOKEN_MALFORMED; one of another
 *  domain, context or subject, or touched, is TOKEN_NOT_FOUND. `column` has a row for every good
 *  one, `reasons` an entry for every row of `tokens` (undefined where it opened). */
export function openRows(
  keys: DomainKeys,
  constant: Uint8Array,
  lead: Uint8Array,
  tokens: Column,
  context: PerItem,
  subjects: PerItem,
): { column: Column; good: Uint32Array; reasons: (Reason | undefined)[] } {
  const { 'siv-mac': mac, 'siv-ctr': ctr } = keys;
  assert(mac !== undefined && ctr !== undefined, 'the domain has SIV keys');
  const read = readPrinted(lead, tokens);
  const reasons: (Reason | undefined)[] = Array.from(tokens.ends, (_, row) => {
    const fault = read.faults?.[row] ?? 0;
    if (fault === 0) return undefined;
    return fault === PRINT_FAULT.foreign ? 'TOKEN_NOT_FOUND' : 'TOKEN_MALFORMED';
  });
  const associated = [
    constant,
    markContext(takeItems(context, read.good)),
    takeItems(subjects, read.good),
  ];
  const { plain, ok } = sivOpen(mac, ctr, associated, read.payload);
  const out = new ColumnWriter(ok.length, plain.bytes.length);
  const good: number[] = [];
  for (let i = 0; i < ok.length; i++) {
    const row = read.good === null ? i : read.good[i]!;
    const start = rowStart(plain, i);
    const end = ok[i] === 1 ? unpaddedEnd(plain.bytes, start, plain.ends[i]!) : -1;
    if (end < 0) reasons[row] = 'TOKEN_NOT_FOUND';
    else {
      out.append(plain.bytes, start, end);
      out.endRow();
      good.push(row);
    }
  }
  return { column: out.finish(), good: Uint32Array.from(good), reasons };
}

/** Opaque tokens for values outside the format: sealed as they came. Row for row. */
export const sealOpaque = (
  keys: DomainKeys,
  domain: CompiledDomain,
  values: Column,
  context: PerItem,
  subjects: PerItem,
): Column => sealRows(keys, domain.opaqueConstant, domain.opaqueLead, values, context, subjects);

/** The values of opaque tokens; as `openRows`. */
export const openOpaque = (
  keys: DomainKeys,
  domain: CompiledDomain,
  tokens: Column,
  context: PerItem,
  subjects: PerItem,
) => openRows(keys, domain.opaqueConstant, domain.opaqueLead, tokens, context, subjects);

/** What becomes of the distinct items that a reader refused: an error, an opaque token, or the
 *  value as it came. `read` sorts the rows of `items`. */
export function settleRefused(
  assembly: Assembly,
  keys: DomainKeys,
  domain: CompiledDomain,
  items: Column,
  read: Sorted,
  context: PerItem,
  subjects: PerItem,
): void {
  if (read.faults === null) return;
  const opaque: number[] = [];
  const passed: number[] = [];
  for (let item = 0; item < read.faults.length; item++) {
    if (read.faults[item] === 0) continue;
    const { fate, fault } = judgeRefused(domain, items, item, read.faults[item]!);
    if (fate === 'reject') assembly.failFault(item, fault);
    else if (fate === 'opaque') opaque.push(item);
    else passed.push(item);
  }
  if (passed.length > 0) {
    const rows = Uint32Array.from(passed);
    assembly.add(takeRows(items, rows), rows, 'passed');
  }
  if (opaque.length === 0) return;
  const rows = Uint32Array.from(opaque);
  const sealed = sealOpaque(
    keys,
    domain,
    takeRows(items, rows),
    takeItems(context, rows),
    takeItems(subjects, rows),
  );
  assembly.add(sealed, rows, 'opaque');
}

const MARK = 0x63;

/** A `c` in front, so that no caller can choose a context that begins like a tag of the modes. */
function markContext(context: PerItem): PerItem {
  if (context instanceof Uint8Array) return Uint8Array.of(MARK, ...context);
  const rows = context.ends.length;
  const out = new ColumnWriter(rows, context.bytes.length + rows);
  for (let row = 0; row < rows; row++) {
    out.reserve(1);
    out.bytes[out.length++] = MARK;
    out.append(context.bytes, rowStart(context, row), context.ends[row]!);
    out.endRow();
  }
  return out.finish();
}

const BLOCK = 16;
const PAD = 0x80;

/** ISO/IEC 9797-1 padding method 2: 0x80, then zeros to a whole block; always at least a byte. */
function padded(plain: Column): Column {
  const rows = plain.ends.length;
  const ends = new Uint32Array(rows);
  let total = 0;
  for (let row = 0; row < rows; row++) {
    const length = plain.ends[row]! - rowStart(plain, row);
    total += (Math.floor(length / BLOCK) + 1) * BLOCK;
    ends[row] = total;
  }
  const bytes = new Uint8Array(total);
  let to = 0;
  for (let row = 0; row < rows; row++) {
    const start = rowStart(plain, row);
    const end = plain.ends[row]!;
    bytes.set(plain.bytes.subarray(start, end), to);
    bytes[to + end - start] = PAD;
    to = ends[row]!;
  }
  return { bytes, ends };
}

/** Where the text before the padding ends; −1 where there is no padding. */
function unpaddedEnd(bytes: Uint8Array, start: number, end: number): number {
  let at = end - 1;
  while (at >= start && bytes[at] === 0) at--;
  return at >= start && bytes[at] === PAD ? at : -1;
}
