import { LIMITS } from '../../base/limits.ts';
import { FAULT } from './format.ts';
import { starsBut } from './masks.ts';
import { refuse } from './options.ts';
import {
  DIGITS,
  decimal,
  foldTable,
  type Language,
  type RankedFormat,
  setDecimal,
  symbolTable,
} from './ranked.ts';

/** `phone`: ten digits of the North American plan; `phone:e164`: any country, `+` in front. */
export function phone(argument: string): RankedFormat {
  if (argument === '') return nanp();
  if (argument === 'e164') return e164();
  return refuse('format', 'phone takes no parameter but e164');
}

/** NXX-NXX-XXXX: N is 2–9, neither area nor exchange ends in 11 (NANPA). 6,272,640,000 members.
 *  Punctuation and a country code 1 stay as they stand. Mode X is area 0xx or 1xx: 2·10^9
 *  members, too few for FPE. */
function nanp(): RankedFormat {
  return {
    ...COMMON,
    name: 'phone',
    size: BigInt(NANP.size),
    neverRealSize: BigInt(NO_AREA.size),
    advice: 'fpe, or static with tokens in area 0xx and 1xx',
    valid: [NANP],
    neverReal: NO_AREA,
    drawn: NANP,
    lead: new Uint8Array(0),
    squeeze(bytes, start, end, symbols) {
      const count = squeeze(bytes, start, end, symbols);
      const plus = bytes[start] === PLUS;
      // +1 and 1 in front are the country code, which is no part of the ten digits.
      if (count !== 11 || symbols[0] !== ONE) return plus ? -1 : count;
      symbols.copyWithin(0, 1, 11);
      return 10;
    },
    shapeOf: (_symbols, count) => (count === 10 ? 0 : -1),
    isFiller: (symbols, count) => isRepeat(symbols, count),
  };
}

/** ITU-T E.164: `+`, then 7 to 15 digits, the first not 0; numbers of country code 1 follow the
 *  North American plan. FPE keeps the length, and country code 1 as it is. No range of E.164 is
 *  free for FPE in X; vaulted tokens in X are `+0` and 14 digits. */
function e164(): RankedFormat {
  return {
    ...COMMON,
    name: 'phone:e164',
    size: E164.reduce((sum, shape) => sum + BigInt(shape.size), 0n),
    neverRealSize: BigInt(NO_COUNTRY.size),
    advice: 'fpe, or static with tokens of country code 0',
    valid: E164,
    neverReal: NO_COUNTRY,
    // Twelve digits: a common length, and 8·10^11 tokens.
    drawn: E164[6]!,
    lead: Uint8Array.of(PLUS),
    squeeze: (bytes, start, end, symbols) =>
      bytes[start] === PLUS ? squeeze(bytes, start, end, symbols) : -1,
    shapeOf(symbols, count) {
      if (symbols[0] === ONE) return count === 11 ? 0 : -1;
      return symbols[0] !== ZERO && count >= 7 && count <= 15 ? count - 6 : -1;
    },
    isFiller: (symbols, count) =>
      symbols[0] === ONE ? isRepeat(symbols.subarray(1), 10) : isRepeat(symbols, count),
  };
}

const PLUS = 0x2b;
const ZERO = 0x30;
const ONE = 0x31;
const FOLD = foldTable(DIGITS);
const PUNCTUATION = new Uint8Array(256);
for (const char of ' -./()') PUNCTUATION[char.charCodeAt(0)] = 1;

const COMMON = {
  family: 'ranked',
  bytesMax: LIMITS.valueBytesMax,
  lowEntropy: false,
  assignerRequired: false,
  defaultSafety: 'valid',
  symbolBytes: symbolTable(FOLD),
  mask: (out, bytes, start, end) => starsBut(out, bytes, start, end, 4),
} as const satisfies Partial<RankedFormat>;

const NANP: Language = northAmerica(0);
const NO_AREA: Language = {
  size: 2_000_000_000,
  length: 10,
  rank: (symbols) => (symbols[0]! > ONE ? -FAULT.malformed : decimal(symbols, 0, 10)),
  unrank: (rank, symbols) => setDecimal(symbols, 0, 10, rank),
};
const NO_COUNTRY: Language = {
  size: 1e14,
  length: 15,
  rank: (symbols) => (symbols[0] === ZERO ? decimal(symbols, 1, 15) : -FAULT.malformed),
  unrank(rank, symbols) {
    symbols[0] = ZERO;
    setDecimal(symbols, 1, 15, rank);
  },
};
/** Country code 1 first, then the other countries by length from 7 to 15. */
const E164: readonly Language[] = [
  northAmerica(1),
  ...Array.from({ length: 9 }, (_, i) => elsewhere(i + 7)),
];

/** Ten digits of the North American plan, after `skip` symbols of country code (a 1). */
function northAmerica(skip: number): Language {
  return {
    size: 792 * 792 * 10_000,
    length: 10 + skip,
    rank(symbols) {
      const area = placeOf(decimal(symbols, skip, skip + 3));
      const exchange = placeOf(decimal(symbols, skip + 3, skip + 6));
      if (area < 0 || exchange < 0) return -FAULT.check;
      return (area * 792 + exchange) * 10_000 + decimal(symbols, skip + 6, skip + 10);
    },
    unrank(rank, symbols) {
      const head = Math.floor(rank / 10_000);
      const area = Math.floor(head / 792);
      if (skip === 1) symbols[0] = ONE;
      setDecimal(symbols, skip, skip + 3, codeAt(area));
      setDecimal(symbols, skip + 3, skip + 6, codeAt(head - area * 792));
      setDecimal(symbols, skip + 6, skip + 10, rank - head * 10_000);
    },
  };
}

/** Place of a code NXX among the 792 that are not N11; −1 for none of them. */
function placeOf(code: number): number {
  const last = code % 100;
  if (code < 200 || last === 11) return -1;
  return (Math.floor(code / 100) - 2) * 99 + (last < 11 ? last : last - 1);
}

function codeAt(place: number): number {
  const hundreds = Math.floor(place / 99);
  const last = place - hundreds * 99;
  return (hundreds + 2) * 100 + (last < 11 ? last : last + 1);
}

function elsewhere(length: number): Language {
  const base = 10 ** (length - 1);
  return {
    size: 8 * base,
    length,
    rank(symbols) {
      const value = decimal(symbols, 0, length);
      return value < 2 * base ? -FAULT.malformed : value - 2 * base;
    },
    unrank: (rank, symbols) => setDecimal(symbols, 0, length, rank + 2 * base),
  };
}

/** Digits into `symbols`; a plus is allowed in front, punctuation anywhere. */
function squeeze(bytes: Uint8Array, start: number, end: number, symbols: Uint8Array): number {
  let count = 0;
  for (let i = bytes[start] === PLUS ? start + 1 : start; i < end; i++) {
    const symbol = FOLD[bytes[i]!]!;
    if (symbol === 0) {
      if (PUNCTUATION[bytes[i]!] === 0) return -1;
    } else if (count === 15) return -1;
    else symbols[count++] = symbol;
  }
  return count;
}

function isRepeat(symbols: Uint8Array, count: number): boolean {
  for (let i = 1; i < count; i++) if (symbols[i] !== symbols[0]) return false;
  return true;
}
