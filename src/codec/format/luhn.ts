import { starsBut } from './masks.ts';
import { lengthsOf, type Options, onlyOptions } from './options.ts';
import type { RadixFormat } from './radix.ts';
import { AFFIXES, radixFormat } from './radix-format.ts';
import { DIGITS } from './ranked.ts';

/** `luhn:m-n`: decimal strings whose last digit is the Luhn digit over the others (ISO/IEC
 *  7812-1 Annex B). FF1 permutes the others. Mode V writes the right check digit, mode X one that
 *  is off by five. Spaces and dashes are kept unless `separators` says otherwise. */
export function luhn(argument: string, options: Options): RadixFormat {
  onlyOptions(options, AFFIXES);
  const { min, max } = lengthsOf(argument);
  return radixFormat(
    {
      name: `luhn:${argument}`,
      alphabet: DIGITS,
      min,
      max,
      separators: ' -',
      luhn: true,
      repeatsAreFiller: true,
      advice: 'fpe from 7 digits on; mode X makes the check digit wrong',
      mask: (out, bytes, start, end) => starsBut(out, bytes, start, end, 4),
    },
    options,
  );
}
