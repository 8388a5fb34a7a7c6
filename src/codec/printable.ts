import { type Column, ColumnWriter, rowStart } from '../base/column.ts';
import { type Sorted, Sorter } from './format/format.ts';

/** Printed tokens are `tk_<name>_<payload>`, those of values outside the format `tx_<name>_…`:
 *  the domain's name without its organisation, then bytes in base 32 (RFC 4648, lower case,
 *  without padding). No character of HL7 v2, of a URL or of a file name; no case to lose. */
export function printRows(lead: Uint8Array, payload: Column): Column {
  const { bytes, ends } = payload;
  const rows = ends.length;
  const hint = rows * (lead.length + 2) + Math.ceil(((rows === 0 ? 0 : ends[rows - 1]!) * 8) / 5);
  const out = new ColumnWriter(rows, hint);
  let start = 0;
  for (let row = 0; row < rows; row++) {
    const end = ends[row]!;
    out.append(lead);
    out.reserve(Math.ceil(((end - start) * 8) / 5));
    let at = out.length;
    let bits = 0;
    let held = 0;
    for (let i = start; i < end; i++) {
      bits = (bits << 8) | bytes[i]!;
      held += 8;
      while (held >= 5) {
        held -= 5;
        out.bytes[at++] = CHARS[(bits >>> held) & 31]!;
      }
      bits &= (1 << held) - 1;
    }
    if (held > 0) out.bytes[at++] = CHARS[(bits << (5 - held)) & 31]!;
    out.length = at;
    out.endRow();
    start = end;
  }
  return out.finish();
}

/** Why a printed token does not read. `foreign` has the form, but another domain's name. */
export const PRINT_FAULT = { malformed: 1, foreign: 2 } as const;

export interface Printed extends Sorted {
  /** The good rows' payloads, in order. */
  readonly payload: Column;
}

/** Reads tokens that `printRows` wrote with this lead. One spelling a token: upper case, padding
 *  and stray bits at the end are refused. `faults` holds `PRINT_FAULT`s. */
export function readPrinted(lead: Uint8Array, tokens: Column): Printed {
  const { bytes, ends } = tokens;
  const rows = ends.length;
  const sorter = new Sorter(rows);
  const total = rows === 0 ? 0 : ends[rows - 1]!;
  const out = new ColumnWriter(rows, Math.ceil((total * 5) / 8));
  for (let row = 0; row < rows; row++) {
    const start = rowStart(tokens, row);
    const end = ends[row]!;
    const from = payloadStart(bytes, start, end);
    const ours = from === start + lead.length && startsWith(bytes, start, lead);
    const mark = out.length;
    if (from < 0 || !decodeRow(bytes, from, end, out)) sorter.fail(row, PRINT_FAULT.malformed);
    else if (!ours) sorter.fail(row, PRINT_FAULT.foreign);
    else {
      out.endRow();
      continue;
    }
    out.length = mark;
  }
  return { payload: out.finish(), ...sorter.finish() };
}

/** Whether row `row` begins with the lead. */
export function hasLead(tokens: Column, row: number, lead: Uint8Array): boolean {
  const start = rowStart(tokens, row);
  return tokens.ends[row]! - start >= lead.length && startsWith(tokens.bytes, start, lead);
}

const CHARS = Buffer.from('abcdefghijklmnopqrstuvwxyz234567');
const VALUES = new Int8Array(256).fill(-1);
for (const [value, char] of CHARS.entries()) VALUES[char] = value;

const UNDERSCORE = 0x5f;
const NAME_MAX = 63;

/** Where the payload of `t[kx]_<name>_…` begins; −1 where the row has no such form. */
function payloadStart(bytes: Uint8Array, start: number, end: number): number {
  if (end - start < 6 || bytes[start] !== 0x74 || bytes[start + 2] !== UNDERSCORE) return -1;
  if (bytes[start + 1] !== 0x6b && bytes[start + 1] !== 0x78) return -1;
  for (let i = start + 3; i < end && i <= start + 3 + NAME_MAX; i++) {
    const byte = bytes[i]!;
    if (byte === UNDERSCORE) return i > start + 3 ? i + 1 : -1;
    const lower = byte >= 0x61 && byte <= 0x7a;
    if (!lower && !(byte >= 0x30 && byte <= 0x39) && byte !== 0x2d) return -1;
  }
  return -1;
}

function startsWith(bytes: Uint8Array, at: number, lead: Uint8Array): boolean {
  for (let i = 0; i < lead.length; i++) if (bytes[at + i] !== lead[i]) return false;
  return true;
}

function decodeRow(bytes: Uint8Array, from: number, end: number, out: ColumnWriter): boolean {
  const count = end - from;
  const rest = count % 8;
  if (count === 0 || rest === 1 || rest === 3 || rest === 6) return false;
  out.reserve(count);
  let bits = 0;
  let held = 0;
  for (let i = from; i < end; i++) {
    const value = VALUES[bytes[i]!]!;
    if (value < 0) return false;
    bits = (bits << 5) | value;
    held += 5;
    if (held >= 8) {
      held -= 8;
      out.bytes[out.length++] = (bits >>> held) & 255;
      bits &= (1 << held) - 1;
    }
  }
  return bits === 0;
}
