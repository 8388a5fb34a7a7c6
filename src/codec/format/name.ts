import type { ColumnWriter } from '../../base/column.ts';
import { LIMITS } from '../../base/limits.ts';
import { FAULT, type OpaqueFormat, UNBOUNDED } from './format.ts';
import { fixedStars } from './masks.ts';

/** `name`: a person's name as written, byte for byte, at most 4 KiB, with at least one character
 *  that is not blank or control. Names repeat in a population, so equal tokens tell how often:
 *  deterministic kinds need a recorded reason. */
export function name(): OpaqueFormat {
  return {
    family: 'opaque',
    name: 'name',
    size: UNBOUNDED,
    bytesMax: LIMITS.valueBytesMax,
    lowEntropy: true,
    assignerRequired: false,
    defaultSafety: 'never-real',
    neverRealSize: UNBOUNDED,
    advice: 'dynamic or static (random tokens); siv with a recorded reason',
    judge,
    normalise: (out, bytes, start, end) => out.append(bytes, start, end),
    mask: initials,
  };
}

/** What registration desks type when there is no name; compared without case, with runs of blanks
 *  and punctuation as one blank. */
const FILLERS = new Set([
  'UNKNOWN',
  'UNKNOWN UNKNOWN',
  'UNK',
  'BABY',
  'BABY BOY',
  'BABY GIRL',
  'BABYBOY',
  'BABYGIRL',
  'NEWBORN',
  'INFANT',
  'BOY',
  'GIRL',
  'MALE',
  'FEMALE',
  'TEST',
  'TEST TEST',
  'TEST PATIENT',
  'PATIENT',
  'PATIENT TEST',
  'UNIDENTIFIED',
  'NO NAME',
  'NONAME',
  'NONE',
  'NULL',
  'NA',
  'N A',
  'NOT AVAILABLE',
  'NOT PROVIDED',
  'JOHN DOE',
  'JANE DOE',
  'DOE JOHN',
  'DOE JANE',
  'TRAUMA',
  'ANONYMOUS',
  'MISSING',
  'DECEASED',
  'XXX',
  'XXXX',
]);
const FILLER_BYTES_MAX = 32;

function judge(bytes: Uint8Array, start: number, end: number): (typeof FAULT)[keyof typeof FAULT] {
  let solid = false;
  for (let i = start; i < end && !solid; i++) solid = bytes[i]! > 0x20 && bytes[i] !== 0x7f;
  if (!solid) return FAULT.malformed;
  if (end - start > FILLER_BYTES_MAX) return FAULT.none;
  const plain = Buffer.from(bytes.buffer, bytes.byteOffset + start, end - start)
    .toString('utf8')
    .toUpperCase()
    .replace(/[\s,.^/_-]+/g, ' ')
    .trim();
  return FILLERS.has(plain) ? FAULT.placeholder : FAULT.none;
}

/** `Anna-Maria García` → `A. M. G.`: the first character of every word. */
function initials(out: ColumnWriter, bytes: Uint8Array, start: number, end: number): void {
  let inWord = false;
  let any = false;
  for (let i = start; i < end; i++) {
    const byte = bytes[i]!;
    if (BREAKS[byte] === 1) {
      inWord = false;
      continue;
    }
    if (inWord) continue;
    inWord = true;
    if (any) out.append(BLANK);
    any = true;
    let next = i + 1;
    while (next < end && (bytes[next]! & 0xc0) === 0x80) next++;
    out.append(bytes, i, next);
    out.append(DOT);
    i = next - 1;
  }
  if (!any) fixedStars(out);
}

const BLANK = Uint8Array.of(0x20);
const DOT = Uint8Array.of(0x2e);
/** Where a word ends: blanks, controls, and what HL7 v2 and people put between names. */
const BREAKS = new Uint8Array(256);
for (let byte = 0; byte <= 0x20; byte++) BREAKS[byte] = 1;
for (const char of ',.^&~|-/\x7f') BREAKS[char.charCodeAt(0)] = 1;
