import { LIMITS } from '../../base/limits.ts';
import { stars } from './masks.ts';
import { classTable, type Options, printableOf, refuse } from './options.ts';
import type { Dress, RadixFormat } from './radix.ts';

/** What the small format files say of a radix format; the settings say the rest. */
export interface RadixPlan {
  readonly name: string;
  readonly alphabet: string;
  /** Other spellings of the alphabet's characters: lower case for a folded one. */
  readonly fold?: Options;
  readonly min: number;
  readonly max: number;
  /** Kept separators where the settings name none. */
  readonly separators?: string;
  readonly luhn?: boolean;
  readonly repeatsAreFiller?: boolean;
  readonly assignerRequired?: boolean;
  readonly advice: string;
  readonly mask?: RadixFormat['mask'];
}

/** Settings that every radix format takes:
 *  - `separators`: characters that may stand anywhere in a value and stay where they stand;
 *  - `prefix`, `suffix`: every value has them, every token keeps them;
 *  - `token-prefix`, `token-suffix`: markers that only tokens have. A marker with a character
 *    that no value can contain makes mode X possible. */
export const AFFIXES = ['separators', 'prefix', 'suffix', 'token-prefix', 'token-suffix'];

const AFFIX_MAX = 32;

/** Makes a radix format out of its plan and the domain's settings. */
export function radixFormat(plan: RadixPlan, options: Options): RadixFormat {
  const separators = printableOf(
    { separators: options['separators'] ?? plan.separators ?? '' },
    'separators',
    16,
  );
  const luhn = plan.luhn ?? false;
  if (luhn && plan.min < 2) refuse('format', 'a Luhn number has at least two digits');
  const classes = classTable(plan.alphabet, separators, plan.fold);
  const prefix = printableOf(options, 'prefix', AFFIX_MAX);
  const suffix = printableOf(options, 'suffix', AFFIX_MAX);
  const before = printableOf(options, 'token-prefix', AFFIX_MAX);
  const after = printableOf(options, 'token-suffix', AFFIX_MAX);
  const token = dress(before + prefix, suffix + after, 0);
  const marked = [...before, ...after].some(
    (char) => classes[char.charCodeAt(0)] === -1 && !(prefix + suffix).includes(char),
  );
  const size = sizeOf(plan.alphabet.length, plan.min, plan.max, luhn);
  const neverReal = luhn ? { ...token, checkShift: 5 } : marked ? token : undefined;
  return {
    family: 'radix',
    name: plan.name,
    size,
    bytesMax: LIMITS.valueBytesMax,
    lowEntropy: false,
    assignerRequired: plan.assignerRequired ?? false,
    defaultSafety: 'valid',
    neverRealSize: neverReal === undefined ? 0n : size,
    advice: plan.advice,
    mask: plan.mask ?? stars,
    alphabet: new Uint8Array(Buffer.from(plan.alphabet)),
    classes,
    min: plan.min,
    max: plan.max,
    luhn,
    repeatsAreFiller: plan.repeatsAreFiller ?? false,
    value: dress(prefix, suffix, 0),
    token: { valid: token, neverReal },
  };
}

const dress = (lead: string, tail: string, checkShift: number): Dress => ({
  lead: Buffer.from(lead),
  tail: Buffer.from(tail),
  checkShift,
});

function sizeOf(radix: number, min: number, max: number, luhn: boolean): bigint {
  let size = 0n;
  for (let length = min; length <= max; length++) {
    size += BigInt(radix) ** BigInt(luhn ? length - 1 : length);
  }
  return size;
}
