import { choiceOf, lengthsOf, type Options, onlyOptions } from './options.ts';
import type { RadixFormat } from './radix.ts';
import { AFFIXES, radixFormat } from './radix-format.ts';
import { DIGITS } from './ranked.ts';

const UPPER = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ';
const LOWER = UPPER.toLowerCase();
const CASES = ['upper', 'lower', 'exact'] as const;

/** The three base-36/62 alphabets. `upper` (default) and `lower` fold the other case, so values
 *  that differ in case alone are one value and come back in the alphabet's case; `exact` tells
 *  them apart. */
export function alphanumericAlphabet(options: Options): { alphabet: string; fold: Options } {
  const which = choiceOf(options, 'case', CASES, 'upper');
  if (which === 'exact') return { alphabet: DIGITS + UPPER + LOWER, fold: {} };
  const [kept, other] = which === 'upper' ? [UPPER, LOWER] : [LOWER, UPPER];
  const fold = Object.fromEntries([...other].map((char, i) => [char, kept[i]!]));
  return { alphabet: DIGITS + kept, fold };
}

/** `alphanumeric:6-12`: member ids, plates, accounts. */
export function alphanumeric(argument: string, options: Options): RadixFormat {
  onlyOptions(options, [...AFFIXES, 'case']);
  const { min, max } = lengthsOf(argument);
  return radixFormat(
    {
      name: `alphanumeric:${argument}`,
      ...alphanumericAlphabet(options),
      min,
      max,
      advice: 'fpe from 4 characters on; static where a token must not be derived from the value',
    },
    options,
  );
}
