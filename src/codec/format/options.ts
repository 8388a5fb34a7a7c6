import { CallError, type Violation } from '../../base/call-error.ts';
import { LIMITS } from '../../base/limits.ts';
import { FOREIGN, SEPARATOR } from './radix.ts';

export type Options = Readonly<Record<string, string>>;

/** Refuses a format's name or settings. `text` is fixed, so nothing of the request comes back. */
export function refuse(field: 'format' | 'format_options', text: string): never {
  throw new CallError('FIELD_INVALID', { violations: [{ field, text } satisfies Violation] });
}

/** `m-n` or `n` as character counts, 1 ≤ m ≤ n ≤ `most`. */
export function lengthsOf(argument: string, most: number = LIMITS.fpeCharactersMax) {
  const match = /^(\d{1,3})(?:-(\d{1,3}))?$/.exec(argument);
  const min = Number(match?.[1]);
  const max = Number(match?.[2] ?? match?.[1]);
  if (match === null || min < 1 || min > max || max > most) {
    refuse('format', `the lengths must be written m-n, from 1 to ${most}`);
  }
  return { min, max };
}

/** Refuses settings that the format does not have, so that a slip of the pen is not a default. */
export function onlyOptions(options: Options, known: readonly string[]): void {
  for (const key of Object.keys(options)) {
    if (!known.includes(key) && key !== 'transform') {
      refuse('format_options', `this format takes no settings but: ${known.join(', ') || 'none'}`);
    }
  }
}

/** A setting with a few words to choose from. */
export function choiceOf<T extends string>(
  options: Options,
  key: string,
  choices: readonly T[],
  otherwise: T,
): T {
  const value = options[key];
  if (value === undefined) return otherwise;
  const found = choices.find((choice) => choice === value);
  return found ?? refuse('format_options', `${key} must be one of: ${choices.join(', ')}`);
}

const PRINTABLE = /^[\x20-\x7e]*$/;

/** A setting of printable ASCII, at most `most` characters; '' where it is not given. */
export function printableOf(options: Options, key: string, most: number): string {
  const value = options[key] ?? '';
  if (!PRINTABLE.test(value) || value.length > most) {
    refuse('format_options', `${key} must be printable ASCII of at most ${most} characters`);
  }
  return value;
}

/** Byte → numeral by its place in `alphabet`, with other spellings folded in and separators. */
export function classTable(alphabet: string, separators: string, fold: Options = {}): Int16Array {
  const table = new Int16Array(256).fill(FOREIGN);
  for (const [numeral, char] of [...alphabet].entries()) {
    if (table[char.charCodeAt(0)] !== FOREIGN) refuse('format_options', 'a character repeats');
    table[char.charCodeAt(0)] = numeral;
  }
  for (const [from, to] of Object.entries(fold)) {
    if (table[from.charCodeAt(0)] === FOREIGN) {
      table[from.charCodeAt(0)] = table[to.charCodeAt(0)]!;
    }
  }
  for (const char of separators) {
    if (table[char.charCodeAt(0)]! >= 0) {
      refuse('format_options', 'a separator is a character of the alphabet');
    }
    table[char.charCodeAt(0)] = SEPARATOR;
  }
  return table;
}
