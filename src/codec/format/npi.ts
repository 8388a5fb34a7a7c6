import { LIMITS } from '../../base/limits.ts';
import { FAULT } from './format.ts';
import { luhnDigit } from './luhn-digit.ts';
import { stars } from './masks.ts';
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

/** US National Provider Identifier: 10 digits, the first 1 or 2, the last the Luhn digit over
 *  80840 ‖ NPI (CMS; the prefix adds 24). 200,000,000 members. Mode X: the same shape with the
 *  check digit off by five, so FPE in X is 1:1 and never a provider's number. */
export function npi(): RankedFormat {
  return {
    family: 'ranked',
    name: 'npi',
    size: BigInt(VALID.size),
    bytesMax: LIMITS.valueBytesMax,
    lowEntropy: false,
    assignerRequired: false,
    defaultSafety: 'never-real',
    neverRealSize: BigInt(CHECK_OFF.size),
    advice: 'fpe: tokens keep the shape and fail the check digit',
    valid: [VALID],
    neverReal: CHECK_OFF,
    drawn: VALID,
    lead: new Uint8Array(0),
    symbolBytes: symbolTable(FOLD),
    squeeze: squeezeGroups(FOLD, '', []),
    shapeOf: (_symbols, count) => (count === 10 ? 0 : -1),
    isFiller: () => false,
    mask: stars,
  };
}

const FOLD = foldTable(DIGITS);
const PREFIX_SUM = 24;
const PER_FIRST = 100_000_000;

const VALID = language(0);
const CHECK_OFF = language(5);

function language(shift: number): Language {
  const digits = new Uint8Array(9);
  const check = (symbols: Uint8Array): number => {
    for (let i = 0; i < 9; i++) digits[i] = symbols[i]! - 0x30;
    return 0x30 + ((luhnDigit(digits, 0, 9, PREFIX_SUM) + shift) % 10);
  };
  return {
    size: 2 * PER_FIRST,
    length: 10,
    rank(symbols) {
      const first = symbols[0]! - 0x31;
      if (first < 0 || first > 1 || symbols[9] !== check(symbols)) return -FAULT.check;
      return first * PER_FIRST + decimal(symbols, 1, 9);
    },
    unrank(rank, symbols) {
      const first = rank < PER_FIRST ? 0 : 1;
      symbols[0] = 0x31 + first;
      setDecimal(symbols, 1, 9, rank - first * PER_FIRST);
      symbols[9] = check(symbols);
    },
  };
}
