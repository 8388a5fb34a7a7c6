import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const DATA = process.env['LOCKSTEP_DATA'] ?? join(ROOT, '..', 'shared', 'data');

/** NIST's samples, in this repository. */
export const NIST_FF1 = join(ROOT, 'test', 'modes', 'nist-ff1.json');

/** Official files that apply, read in place. */
const OFFICIAL = [
  'vectors/nist-ff1/ff1_samples.json',
  'vectors/acvp-aes-ff1/prompt.json',
  'vectors/wycheproof/aes_ff1_base26_test.json',
  'vectors/wycheproof/aes_ff1_base64_test.json',
  'vectors/wycheproof/aes_ff1_radix256_test.json',
  'vectors/wycheproof/aes_siv_cmac_test.json',
  'vectors/wycheproof/aes_cmac_test.json',
];

export interface OfficialFile {
  /** Below the folder of data. */
  readonly name: string;
  readonly path: string;
  readonly present: boolean;
}

/** The files, each absent one said aloud. */
export function officialFiles(): OfficialFile[] {
  return OFFICIAL.map((name) => {
    const path = join(DATA, name);
    const present = existsSync(path);
    if (!present) console.warn(`${path} is not there: skipped`);
    return { name, path, present };
  });
}
