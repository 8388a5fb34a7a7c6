import { alphabet } from './alphabet.ts';
import { alphanumeric } from './alphanumeric.ts';
import { date } from './date.ts';
import { digits } from './digits.ts';
import type { Format } from './format.ts';
import { luhn } from './luhn.ts';
import { mbi } from './mbi.ts';
import { mrn } from './mrn.ts';
import { name } from './name.ts';
import { npi } from './npi.ts';
import { type Options, onlyOptions, refuse } from './options.ts';
import { phone } from './phone.ts';
import { ssn } from './ssn.ts';
import { text } from './text.ts';

/** The format that a domain names, e.g. `digits:9` or `alphabet` with its settings. Throws
 *  `CallError` FIELD_INVALID with a violation of `format` or `format_options`. */
export function parseFormat(wanted: string, options: Options): Format {
  const colon = wanted.indexOf(':');
  const base = colon < 0 ? wanted : wanted.slice(0, colon);
  const argument = colon < 0 ? '' : wanted.slice(colon + 1);
  const row = Object.hasOwn(FORMATS, base) ? FORMATS[base] : undefined;
  if (row === undefined || (colon >= 0 && (argument === '' || row.argument === 'none'))) {
    return refuse('format', `the formats are: ${formatNames().join(', ')}`);
  }
  if (row.argument === 'required' && argument === '') {
    return refuse('format', 'this format needs its lengths, written m-n');
  }
  if (row.plain === true) onlyOptions(options, []);
  return row.make(argument, options);
}

/** As people write them, for help texts. */
export function formatNames(): readonly string[] {
  return Object.entries(FORMATS).map(([base, row]) =>
    row.argument === 'required' ? `${base}:m-n` : base,
  );
}

interface Entry {
  readonly argument: 'none' | 'optional' | 'required';
  /** Takes no settings. */
  readonly plain?: true;
  make(argument: string, options: Options): Format;
}

const FORMATS: Readonly<Record<string, Entry>> = {
  alphabet: { argument: 'none', make: alphabet },
  alphanumeric: { argument: 'required', make: alphanumeric },
  date: { argument: 'none', plain: true, make: date },
  digits: { argument: 'required', make: digits },
  luhn: { argument: 'required', make: luhn },
  mbi: { argument: 'none', plain: true, make: mbi },
  mrn: { argument: 'optional', make: mrn },
  name: { argument: 'none', plain: true, make: name },
  npi: { argument: 'none', plain: true, make: npi },
  phone: { argument: 'optional', plain: true, make: phone },
  ssn: { argument: 'none', plain: true, make: ssn },
  text: { argument: 'none', plain: true, make: text },
};
