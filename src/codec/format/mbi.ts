import { LIMITS } from '../../base/limits.ts';
import { FAULT } from './format.ts';
import { stars } from './masks.ts';
import {
  DIGITS,
  foldTable,
  type Language,
  type RankedFormat,
  squeezeGroups,
  symbolTable,
} from './ranked.ts';

/** US Medicare Beneficiary Identifier (CMS): 11 characters C A AN N A AN N A A N N, letters
 *  without S L O I B Z; dashes after 4 and 7 for display only. 12,960,000,000,000 members.
 *  Mode X: an excluded letter at position 2, or a good one there and an excluded one at
 *  position 5; together more than the members, so FPE in X is 1:1 by rank. */
export function mbi(): RankedFormat {
  return {
    family: 'ranked',
    name: 'mbi',
    size: BigInt(VALID.size),
    bytesMax: LIMITS.valueBytesMax,
    lowEntropy: false,
    assignerRequired: false,
    defaultSafety: 'never-real',
    neverRealSize: BigInt(EXCLUDED.size),
    advice: 'fpe: tokens keep the shape and bear a letter that no MBI has',
    valid: [VALID],
    neverReal: EXCLUDED,
    drawn: VALID,
    lead: new Uint8Array(0),
    symbolBytes: symbolTable(FOLD),
    squeeze: squeezeGroups(FOLD, '-', [4, 7]),
    shapeOf: (_symbols, count) => (count === 11 ? 0 : -1),
    isFiller: () => false,
    mask: stars,
  };
}

const ALL = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ';
const FOLD = foldTable(DIGITS + ALL);
const GOOD = 'ACDEFGHJKMNPQRTUVWXY';
const BAD = 'BILOSZ';

const VALID = classes('123456789', GOOD, DIGITS + GOOD, DIGITS, GOOD, DIGITS + GOOD);
const SECOND_BAD = classes('123456789', BAD, DIGITS + ALL, DIGITS, ALL, DIGITS + ALL);
const FIFTH_BAD = classes('123456789', GOOD, DIGITS + ALL, DIGITS, BAD, DIGITS + ALL);
const EXCLUDED = either(SECOND_BAD, FIFTH_BAD);

/** The MBI's shape with the classes of its first six positions given; 8 and 9 are as good as
 *  position 5 allows: good letters for members, any letter in mode X. */
function classes(...head: [string, string, string, string, string, string]): Language {
  const letters = head[5].length > 30 ? ALL : GOOD;
  const sets = [...head, DIGITS, letters, letters, DIGITS, DIGITS];
  const places = sets.map((set) => {
    const table = new Int8Array(256).fill(-1);
    for (const [place, char] of [...set].entries()) table[char.charCodeAt(0)] = place;
    return table;
  });
  const chars = sets.map((set) => Buffer.from(set));
  return {
    size: sets.reduce((product, set) => product * set.length, 1),
    length: 11,
    rank(symbols) {
      let rank = 0;
      for (let i = 0; i < 11; i++) {
        const place = places[i]![symbols[i]!]!;
        if (place < 0) return -FAULT.malformed;
        rank = rank * chars[i]!.length + place;
      }
      return rank;
    },
    unrank(rank, symbols) {
      let rest = rank;
      for (let i = 10; i >= 0; i--) {
        const set = chars[i]!;
        const next = Math.floor(rest / set.length);
        symbols[i] = set[rest - next * set.length]!;
        rest = next;
      }
    },
  };
}

/** The union of two disjoint languages, the members of `a` first. */
function either(a: Language, b: Language): Language {
  return {
    size: a.size + b.size,
    length: a.length,
    rank(symbols) {
      const rank = a.rank(symbols);
      if (rank >= 0) return rank;
      const other = b.rank(symbols);
      return other < 0 ? other : other + a.size;
    },
    unrank(rank, symbols) {
      if (rank < a.size) a.unrank(rank, symbols);
      else b.unrank(rank - a.size, symbols);
    },
  };
}
