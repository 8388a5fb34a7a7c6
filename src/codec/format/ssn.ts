import type { ColumnWriter } from '../../base/column.ts';
import { LIMITS } from '../../base/limits.ts';
import { FAULT } from './format.ts';
import {
  DIGITS,
  decimal,
  foldTable,
  type Language,
  type RankedFormat,
  setDecimal,
  squeezeGroups,
  symbolTable,
} from './ranked.ts';

/** US Social Security number, AAA-GG-SSSS: area not 000, 666 or 900–999, group not 00, serial
 *  not 0000 (SSA, randomised since 2011-06-25, so no other area is out). 888,931,098 members.
 *  Dashes or spaces in both gaps, or none; they come back as they came. */
export function ssn(): RankedFormat {
  return {
    family: 'ranked',
    name: 'ssn',
    size: BigInt(MEMBERS.size),
    bytesMax: LIMITS.valueBytesMax,
    lowEntropy: false,
    assignerRequired: false,
    defaultSafety: 'never-real',
    neverRealSize: BigInt(NEVER_ISSUED.size),
    advice: 'static: random tokens in area 9xx; FPE only in mode V with a note',
    valid: [MEMBERS],
    neverReal: NEVER_ISSUED,
    drawn: MEMBERS,
    lead: new Uint8Array(0),
    symbolBytes: symbolTable(FOLD),
    squeeze: squeezeGroups(FOLD, '- ', [3, 5]),
    shapeOf: (_symbols, count) => (count === 9 ? 0 : -1),
    isFiller: (symbols) => FILLERS.has(decimal(symbols, 0, 9)),
    mask,
  };
}

const FOLD = foldTable(DIGITS);
/** Groups 01–99 times serials 0001–9999. */
const PER_AREA = 99 * 9_999;

const MEMBERS: Language = {
  size: 898 * PER_AREA,
  length: 9,
  rank(symbols) {
    const area = decimal(symbols, 0, 3);
    const group = decimal(symbols, 3, 5);
    const serial = decimal(symbols, 5, 9);
    if (area === 0 || area === 666 || area >= 900 || group === 0 || serial === 0) {
      return -FAULT.check;
    }
    const place = area < 666 ? area - 1 : area - 2;
    return place * PER_AREA + (group - 1) * 9_999 + serial - 1;
  },
  unrank(rank, symbols) {
    const place = Math.floor(rank / PER_AREA);
    const rest = rank - place * PER_AREA;
    const group = Math.floor(rest / 9_999);
    setDecimal(symbols, 0, 3, place < 665 ? place + 1 : place + 2);
    setDecimal(symbols, 3, 5, group + 1);
    setDecimal(symbols, 5, 9, rest - group * 9_999 + 1);
  },
};

/** Groups that neither an SSN, nor an ITIN (50–65, 70–88, 90–92, 94–99), nor an ATIN (93) of area
 *  9xx has ever used: 00–49, 66–69, 89. */
const GROUPS = Uint8Array.from([...Array(50).keys(), 66, 67, 68, 69, 89]);
const PLACE_OF_GROUP = new Int8Array(100).fill(-1);
for (const [place, group] of GROUPS.entries()) PLACE_OF_GROUP[group] = place;

const NEVER_ISSUED: Language = {
  size: 100 * GROUPS.length * 10_000,
  length: 9,
  rank(symbols) {
    const area = decimal(symbols, 0, 3);
    const group = PLACE_OF_GROUP[decimal(symbols, 3, 5)]!;
    if (area < 900 || group < 0) return -FAULT.malformed;
    return ((area - 900) * GROUPS.length + group) * 10_000 + decimal(symbols, 5, 9);
  },
  unrank(rank, symbols) {
    const prefix = Math.floor(rank / 10_000);
    const area = Math.floor(prefix / GROUPS.length);
    setDecimal(symbols, 0, 3, 900 + area);
    setDecimal(symbols, 3, 5, GROUPS[prefix - area * GROUPS.length]!);
    setDecimal(symbols, 5, 9, rank - prefix * 10_000);
  },
};

/** Numbers printed on sample cards and typed into required fields; those that fail the rules
 *  anyway are not listed. SSA's list of misused numbers, and keyboard runs. */
const FILLERS = new Set([
  111_111_111, 222_222_222, 333_333_333, 444_444_444, 555_555_555, 777_777_777, 888_888_888,
  123_456_789, 12_345_678, 123_123_123, 321_214_321, 112_233_445, 121_212_121, 123_454_321,
  78_051_120, 219_099_999, 457_555_462, 22_281_852, 42_103_580, 62_360_749, 95_073_645, 128_036_045,
  135_016_629, 141_186_941, 165_167_999, 165_187_999, 165_207_999, 165_227_999, 165_247_999,
  189_092_294, 212_097_694, 212_099_999, 306_302_348, 308_125_070, 468_288_779, 549_241_889,
]);

/** `***-**-0047`, whatever the punctuation was. */
function mask(out: ColumnWriter, bytes: Uint8Array, _start: number, end: number): void {
  out.append(MASK);
  out.append(bytes, end - 4, end);
}

const MASK = Buffer.from('***-**-');
