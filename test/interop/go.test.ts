import { execFile, execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, describe, expect, test } from 'vitest';
import { verifierKey } from '../../src/audit/note.ts';
import { fill, newFolder, newSigner, ORIGIN, open, VERIFIER_KEY } from '../audit/fixtures.ts';

const run = promisify(execFile);
const scratch = mkdtempSync(join(tmpdir(), 'lockstep-interop-'));
const binary = join(scratch, 'verify');

/** Builds the verifier; false, and said aloud, where Go or its module proxy is not at hand. */
function built(): boolean {
  try {
    execFileSync('go', ['build', '-o', binary, '.'], { cwd: import.meta.dirname, stdio: 'pipe' });
    return true;
  } catch (error) {
    console.warn(`skipped: Go's sumdb packages cannot be built here (${(error as Error).message})`);
    return false;
  }
}

afterAll(() => rmSync(scratch, { recursive: true, force: true }));

describe.skipIf(!built())('golang.org/x/mod sumdb/note and sumdb/tlog', () => {
  const verify = async (folder: string, ...more: string[]): Promise<number> => {
    const { stdout } = await run(binary, [folder, VERIFIER_KEY, ...more]);
    return Number(stdout);
  };

  test.each([1, 2, 255, 256, 257, 512, 700])(
    'a log of %i entries, and what it grew from',
    async (size) => {
      const folder = await newFolder();
      const log = await open(folder);
      const older = join(folder, 'older');
      await fill(log, 0, Math.ceil(size / 3), 100);
      await log.flush();
      await writeFile(older, log.head().checkpoint);
      await fill(log, Math.ceil(size / 3), size, 100);
      await log.close();
      expect(await verify(folder, older)).toBe(size);
    },
  );

  test('a changed entry, leaf hash, tile above, checkpoint or key is refused', async () => {
    const folder = await newFolder();
    const log = await open(folder);
    await fill(log, 0, 600, 100);
    await log.close();
    expect(await verify(folder)).toBe(600);
    for (const name of [
      'checkpoint',
      'tile/entries/000',
      'tile/entries/002.p/88',
      'tile/0/001',
      'tile/0/002.p/88',
      'tile/1/000.p/2',
    ]) {
      const path = join(folder, name);
      const bytes = await readFile(path);
      const changed = Buffer.from(bytes);
      changed[Math.floor(changed.length / 2)]! ^= 1;
      await writeFile(path, changed);
      await expect(verify(folder), name).rejects.toThrow();
      await writeFile(path, bytes);
    }
    const other = verifierKey(ORIGIN, newSigner().publicKey);
    await expect(run(binary, [folder, other])).rejects.toThrow();
    expect(await verify(folder)).toBe(600);
  });

  test('a fork is refused by the checkpoint of what it forked from', async () => {
    const [a, b] = [await newFolder(), await newFolder()];
    for (const [folder, from] of [
      [a, 0],
      [b, 1],
    ] as const) {
      const log = await open(folder);
      await fill(log, from, from + 300, 100);
      await log.close();
    }
    await expect(verify(b, join(a, 'checkpoint'))).rejects.toThrow();
    expect(await verify(a, join(a, 'checkpoint'))).toBe(300);
  });
});
