import { lengthsOf, type Options, onlyOptions } from './options.ts';
import type { RadixFormat } from './radix.ts';
import { AFFIXES, radixFormat } from './radix-format.ts';
import { DIGITS } from './ranked.ts';

/** `digits:9`, `digits:6-12`: decimal strings; zeros in front count. Nothing is a placeholder,
 *  since nothing says what the digits mean. */
export function digits(argument: string, options: Options): RadixFormat {
  onlyOptions(options, AFFIXES);
  const { min, max } = lengthsOf(argument);
  return radixFormat(
    {
      name: `digits:${argument}`,
      alphabet: DIGITS,
      min,
      max,
      advice: 'fpe from 6 digits on; static where a token must not be derived from the value',
    },
    options,
  );
}
