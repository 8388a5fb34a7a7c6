import { lengthsOf, type Options, onlyOptions, printableOf, refuse } from './options.ts';
import type { RadixFormat } from './radix.ts';
import { AFFIXES, radixFormat } from './radix-format.ts';

/** `alphabet`: any alphabet of 2 to 95 printable ASCII characters, in the order of their
 *  numerals; settings `alphabet`, `min`, `max` are required, `separators` are kept. */
export function alphabet(_argument: string, options: Options): RadixFormat {
  onlyOptions(options, [...AFFIXES, 'alphabet', 'min', 'max']);
  const chars = printableOf(options, 'alphabet', 95);
  if (chars.length < 2) refuse('format_options', 'alphabet must have at least two characters');
  const { min, max } = lengthsOf(`${options['min'] ?? ''}-${options['max'] ?? ''}`);
  return radixFormat(
    {
      name: 'alphabet',
      alphabet: chars,
      min,
      max,
      advice: 'fpe from a million members on; static where a token must not be derived',
    },
    options,
  );
}
