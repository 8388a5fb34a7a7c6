import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

export interface SearchReport {
  readonly files: number;
  readonly bytes: number;
  /** Spellings looked for. */
  readonly needles: number;
  /** Occurrences found; should be none. */
  readonly hits: number;
  /** Whether the text that must be there was found: the search itself works. */
  readonly control: boolean;
}

/** Looks for plain values in every byte of the files, as `strings | grep` would: each value and its
 *  words, with and without punctuation, in UTF-8 and UTF-16. Spellings too short to mean anything
 *  by themselves (fewer than 5 bytes, or 8 digits) are left out. */
export function searchPlain(
  places: readonly string[],
  values: readonly string[],
  control: string,
): SearchReport {
  const spellings = new Set(values.flatMap(spellingsOf));
  const needles = [...spellings].flatMap((text) => [
    Buffer.from(text),
    Buffer.from(text, 'utf16le'),
  ]);
  const wanted = Buffer.from(control);
  const report = { files: 0, bytes: 0, needles: needles.length, hits: 0, control: false };
  for (const file of places.flatMap(filesOf)) {
    const bytes = readFileSync(file);
    report.files++;
    report.bytes += bytes.length;
    report.control ||= bytes.includes(wanted);
    for (const needle of needles) if (bytes.includes(needle)) report.hits++;
  }
  return report;
}

function spellingsOf(value: string): string[] {
  const bare = value.replace(/[^\p{L}\p{N}]/gu, '');
  const words = /\p{L}/u.test(value) ? value.split(/[\s,.-]+/u) : [];
  return [value, bare, ...words].filter(
    (text) => Buffer.byteLength(text) >= (/^\d+$/.test(text) ? 8 : 5),
  );
}

function filesOf(place: string): string[] {
  try {
    return readdirSync(place, { withFileTypes: true, recursive: true })
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath, entry.name));
  } catch {
    return [place]; // A file of its own.
  }
}
