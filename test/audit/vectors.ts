import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';

const DATA = process.env['LOCKSTEP_DATA'] ?? resolve(import.meta.dirname, '../../../shared/data');

/** Folder of published vectors; undefined, and said aloud, where it is absent. */
export function vectorFolder(name: string): string | undefined {
  const folder = join(DATA, 'vectors', name);
  if (existsSync(folder)) return folder;
  console.warn(`skipped: ${folder} is missing`);
  return undefined;
}

/** Every JSON file below the folder, by its path from there. */
export function jsonFiles(folder: string): [string, unknown][] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.json'))
    .sort()
    .map((name): [string, unknown] => [name, JSON.parse(readFileSync(join(folder, name), 'utf8'))]);
}
