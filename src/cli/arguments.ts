import { InvalidArgumentError } from 'commander';

/** A whole number from `min` up, for commander's options. */
export const wholeNumber =
  (min: number) =>
  (text: string): number => {
    const number = Number(text);
    if (!/^\d+$/.test(text) || !Number.isSafeInteger(number) || number < min) {
      throw new InvalidArgumentError(`A whole number from ${min} up is wanted.`);
    }
    return number;
  };

/** A moment as RFC 3339 with its zone, or a time from now: `90m`, `12h`, `7d`. */
export function moment(text: string): number {
  const span = /^(\d{1,6})([mhd])$/.exec(text);
  if (span !== null) return Date.now() + Number(span[1]) * SPAN_MS[span[2] as keyof typeof SPAN_MS];
  const ms = /^\d{4}-\d\d-\d\dT[\d:.]+(Z|[+-]\d\d:\d\d)$/.test(text)
    ? Date.parse(text)
    : Number.NaN;
  if (Number.isNaN(ms)) {
    throw new InvalidArgumentError('Wanted: 2027-01-31T18:00:00Z, or 90m, 12h, 7d from now.');
  }
  return ms;
}

/** A length of time, in milliseconds: `45s`, `90m`, `12h`, `30d`. */
export function span(text: string): number {
  const parts = /^([1-9]\d{0,6})([smhd])$/.exec(text);
  if (parts === null) throw new InvalidArgumentError('Wanted: 45s, 90m, 12h or 30d.');
  return Number(parts[1]) * SPAN_MS[parts[2] as keyof typeof SPAN_MS];
}

/** A text again and again, into one list. */
export const again = (text: string, before: readonly string[] = []): readonly string[] => [
  ...before,
  text,
];

const SPAN_MS = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const;

/** `name=value`, again and again, into one object. */
export function pair(
  text: string,
  before: Readonly<Record<string, string>> = {},
): Readonly<Record<string, string>> {
  const at = text.indexOf('=');
  if (at < 1) throw new InvalidArgumentError('NAME=VALUE is wanted.');
  return { ...before, [text.slice(0, at)]: text.slice(at + 1) };
}
