import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { judge } from '../../src/cli/vector-case.ts';
import { readVectorFile } from '../../src/cli/vector-files.ts';
import { runVectors } from '../../src/cli/vectors.ts';
import { insecureMemoryKey } from '../../src/keys/insecure-memory.ts';
import { openVectorModule } from '../keys/vector-module.ts';
import { NIST_FF1, officialFiles } from '../modes/vector-data.ts';
import { softHsmLibrary } from '../softhsm.ts';

const official = officialFiles();

/** Matched, invalid and refused, refused for a small domain: as ../shared/data's README counts. */
const COUNTS: Readonly<Record<string, readonly [number, number, number]>> = {
  'vectors/nist-ff1/ff1_samples.json': [9, 0, 0],
  'vectors/acvp-aes-ff1/prompt.json': [750, 0, 0],
  'vectors/wycheproof/aes_ff1_base26_test.json': [2642, 425, 9],
  'vectors/wycheproof/aes_ff1_base64_test.json': [2076, 335, 6],
  'vectors/wycheproof/aes_ff1_radix256_test.json': [1755, 263, 3],
  'vectors/wycheproof/aes_siv_cmac_test.json': [118, 324, 0],
  'vectors/wycheproof/aes_cmac_test.json': [63, 248, 0],
};

for (const { name, path, present } of official) {
  describe.skipIf(!present)(name, async () => {
    const cases = present ? (await readVectorFile(path)).cases : [];
    for (const each of cases) {
      test(`${each.id}, ${each.valid ? 'valid' : 'invalid'}`, () => {
        const { is } = judge(each, insecureMemoryKey);
        if (each.valid) expect(['matched', 'too-small']).toContain(is);
        else expect(is).toBe('refused');
      });
    }

    test('has as many cases of each kind as its README says', async () => {
      const { files } = await runVectors([path], 'memory', insecureMemoryKey, () => {});
      const [counts] = files;
      expect([counts?.matched, counts?.refused, counts?.tooSmall]).toEqual(COUNTS[name]);
      expect(counts?.notApplicable).toBe(0);
    });
  });
}

const library = softHsmLibrary();

test.skipIf(library === undefined)('every file in SoftHSM', async () => {
  const module = openVectorModule(library!);
  try {
    const paths = [NIST_FF1, ...official.filter(({ present }) => present).map(({ path }) => path)];
    const summary = await runVectors(paths, 'module', module.importVectorKey, () => {});
    expect(summary.failures).toBe(0);
    expect(summary.files.length).toBe(paths.length);
    for (const { name, path, present } of official) {
      if (!present) continue;
      const counts = summary.files.find(({ file }) => file === path);
      expect([counts?.matched, counts?.refused, counts?.tooSmall]).toEqual(COUNTS[name]);
    }
  } finally {
    module.close();
  }
});

const folder = mkdtempSync(join(tmpdir(), 'lockstep-vectors-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function write(name: string, content: unknown): string {
  const path = join(folder, name);
  writeFileSync(path, JSON.stringify(content));
  return path;
}

async function run(path: string) {
  const lines: string[] = [];
  const summary = await runVectors([path], 'memory', insecureMemoryKey, (line) => lines.push(line));
  return { summary, counts: summary.files[0], text: lines.join('\n') };
}

describe('a run fails', () => {
  test('where one numeral is wrong, and names the case', async () => {
    const nist = readFileSync(NIST_FF1, 'utf8').replace('2433477484', '2433477485');
    const { summary, counts, text } = await run(write('wrong.json', JSON.parse(nist)));
    expect(summary.failures).toBe(1);
    expect(counts).toMatchObject({ matched: 8, mismatches: ['1'] });
    expect(text).toContain('1 MISMATCHED: 1');
  });

  test('where an invalid case is accepted, or a valid one refused', async () => {
    const each = { key: '00'.repeat(16), tweak: '', msg: '012345', ct: '012345' };
    const tests = [
      { ...each, tcId: 1, result: 'invalid' },
      { ...each, tcId: 2, key: '00', result: 'valid' },
      { ...each, tcId: 3, msg: '01x345', result: 'valid' },
    ];
    const group = { radix: 10, alphabet: '0123456789', tests };
    const path = write('accepted.json', { algorithm: 'AES-FF1', testGroups: [group] });
    const { counts } = await run(path);
    expect(counts?.mismatches).toEqual(['1', '2', '3']);
  });

  test('where the file is of no known shape, or absent', async () => {
    expect((await run(write('other.json', { a: 1 }))).summary.failures).toBe(1);
    expect((await run(join(folder, 'absent.json'))).summary.failures).toBe(1);
  });
});

test('an algorithm without a mode here is counted as not applicable', async () => {
  const group = { tests: [{ tcId: 1 }, { tcId: 2 }] };
  const path = write('ff3.json', { algorithm: 'ACVP-AES-FF3-1', testGroups: [group] });
  const { summary, counts, text } = await run(path);
  expect(summary.failures).toBe(0);
  expect(counts).toMatchObject({ cases: 2, notApplicable: 2, matched: 0 });
  expect(text).toContain('ACVP-AES-FF3-1 is no mode here');
});

test('ACVP CMAC files, both directions, tags cut short (RFC 4493 examples)', async () => {
  const key = '2b7e151628aed2a6abf7158809cf4f3c';
  const message = '6bc1bee22e409f96e93d7e117393172a';
  const tests = [
    { tcId: 1, key, message },
    { tcId: 2, key, message, mac: '070a16b46b4d4144' },
    { tcId: 3, key, message, mac: '070a16b46b4d4145' },
  ];
  const answers = [
    { tcId: 1, mac: '070a16b46b4d4144f79bdd9dd04a287c' },
    { tcId: 2, testPassed: true },
    { tcId: 3, testPassed: false },
  ];
  write('expectedResults.json', { testGroups: [{ tgId: 1, tests: answers }] });
  const path = write('prompt.json', { algorithm: 'CMAC-AES', testGroups: [{ tgId: 1, tests }] });
  const { counts } = await run(path);
  expect(counts).toMatchObject({ matched: 2, refused: 1, mismatches: [] });
});
