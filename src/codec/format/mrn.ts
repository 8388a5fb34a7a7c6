import { alphanumericAlphabet } from './alphanumeric.ts';
import { choiceOf, lengthsOf, type Options, onlyOptions } from './options.ts';
import type { RadixFormat } from './radix.ts';
import { AFFIXES, radixFormat } from './radix-format.ts';
import { DIGITS } from './ranked.ts';

/** Medical record number, `mrn` or `mrn:m-n` (default 6-10): scoped to the authority that issues
 *  it (HL7 CX.4, FHIR Identifier.system), so its domain names the assigner and holds no other's.
 *  Setting `charset`: digits (default) or alphanumeric, with `case`. Zeros in front count. */
export function mrn(argument: string, options: Options): RadixFormat {
  onlyOptions(options, [...AFFIXES, 'charset', 'case']);
  const lengths = argument === '' ? '6-10' : argument;
  const { min, max } = lengthsOf(lengths);
  const charset = choiceOf(options, 'charset', ['digits', 'alphanumeric'], 'digits');
  const letters = charset === 'digits' ? { alphabet: DIGITS } : alphanumericAlphabet(options);
  return radixFormat(
    {
      name: argument === '' ? 'mrn' : `mrn:${argument}`,
      ...letters,
      min,
      max,
      repeatsAreFiller: true,
      assignerRequired: true,
      advice: 'fpe from 6 digits on, or static; one domain an assigner',
    },
    options,
  );
}
