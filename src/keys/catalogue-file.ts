import {
  closeSync,
  fsyncSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { dirname } from 'node:path';

/** Replaces a small file whole: written beside it, fsynced, renamed over it, the folder fsynced.
 *  After a crash at any point the old or the new one is there. Mode 0600. Throws the system's
 *  error; the outcome is then unknown, and what is on the disk must be read again. */
export function writeFileAtomic(path: string, bytes: Uint8Array): void {
  const beside = `${path}.new`;
  rmSync(beside, { force: true }); // Left by a crash; its mode is not ours to trust.
  const file = openSync(beside, 'wx', 0o600);
  try {
    for (let done = 0; done < bytes.length; ) done += writeSync(file, bytes, done);
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
  renameSync(beside, path);
  const folder = openSync(dirname(path), 'r');
  try {
    fsyncSync(folder);
  } finally {
    closeSync(folder);
  }
}

/** The file's bytes, or undefined where there is none. */
export function readFileIfThere(path: string): Uint8Array | undefined {
  try {
    return readFileSync(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}
