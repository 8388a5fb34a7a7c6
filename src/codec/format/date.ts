import type { ColumnWriter } from '../../base/column.ts';
import { LIMITS } from '../../base/limits.ts';
import { FAULT, type Fault, type OpaqueFormat } from './format.ts';

/** `date`: a day, month or year of the calendar, 1800 to 2199, as FHIR writes it (2001-04-19,
 *  2001-04, 2001) or HL7 v2 does (20010419, 200104). The normal form is FHIR's, so both spellings
 *  of a day are one value and come back as FHIR's. Few people share no birthday: deterministic
 *  kinds need a recorded reason, and FPE is refused. */
export function date(): OpaqueFormat {
  return {
    family: 'opaque',
    name: 'date',
    // The days of 1900 to 2026: nearly all birth dates are among them, so quotas go by them.
    size: 46_386n,
    bytesMax: LIMITS.valueBytesMax,
    lowEntropy: true,
    assignerRequired: false,
    defaultSafety: 'never-real',
    neverRealSize: 0n,
    advice: 'dynamic or static (random tokens); siv with a recorded reason',
    judge,
    normalise,
    mask,
  };
}

const DASH = 0x2d;
const STAR = 0x2a;
/** Typed where a date is required and none is known. */
const FILLERS = new Set([
  19_000_101, 18_000_101, 99_991_231, 10_101, 11_111_111, 19_010_101, 22_000_101,
]);

function judge(bytes: Uint8Array, start: number, end: number): Fault {
  const packed = pack(bytes, start, end);
  if (packed < 0) return FAULT.malformed;
  if (FILLERS.has(packed)) return FAULT.placeholder;
  const year = Math.floor(packed / 10_000);
  const month = Math.floor(packed / 100) % 100;
  const day = packed % 100;
  if (year < 1800 || year > 2199 || month > 12 || (month === 0 && day > 0)) return FAULT.check;
  // Lengths tell a missing part (0 here) from a written 00.
  const parts = partsOf(bytes, start, end);
  if ((parts > 1 && month === 0) || (parts > 2 && day === 0)) return FAULT.check;
  return day <= daysOf(year, month) ? FAULT.none : FAULT.check;
}

/** Year, month and day as one number yyyymmdd, 0 for parts not given; −1 for another shape. */
function pack(bytes: Uint8Array, start: number, end: number): number {
  const length = end - start;
  const dashed = bytes[start + 4] === DASH && length > 4;
  if (dashed ? length !== 7 && length !== 10 : length !== 4 && length !== 6 && length !== 8) {
    return -1;
  }
  let value = 0;
  let count = 0;
  for (let i = start; i < end; i++) {
    const at = i - start;
    if (dashed && (at === 4 || at === 7)) {
      if (bytes[i] !== DASH) return -1;
      continue;
    }
    const digit = bytes[i]! - 0x30;
    if (digit < 0 || digit > 9) return -1;
    value = value * 10 + digit;
    count++;
  }
  return value * 10 ** (8 - count);
}

/** 1 for a year, 2 for a month, 3 for a day. */
function partsOf(bytes: Uint8Array, start: number, end: number): number {
  const length = end - start;
  if (length === 4) return 1;
  const dashed = bytes[start + 4] === DASH;
  return length === (dashed ? 7 : 6) ? 2 : 3;
}

function daysOf(year: number, month: number): number {
  if (month !== 2) return [4, 6, 9, 11].includes(month) ? 30 : 31;
  return year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0) ? 29 : 28;
}

function normalise(out: ColumnWriter, bytes: Uint8Array, start: number, end: number): void {
  if (end - start === 4 || bytes[start + 4] === DASH) {
    out.append(bytes, start, end);
    return;
  }
  out.append(bytes, start, start + 4);
  for (let i = start + 4; i < end; i += 2) {
    out.append(Uint8Array.of(DASH));
    out.append(bytes, i, i + 2);
  }
}

/** The year, and stars for what else was given. */
function mask(out: ColumnWriter, bytes: Uint8Array, start: number, end: number): void {
  out.append(bytes, start, start + 4);
  out.reserve(end - start);
  for (let i = start + 4; i < end; i++) {
    out.bytes[out.length++] = bytes[i] === DASH ? DASH : STAR;
  }
}
