import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { fill, newFolder, ORIGIN, open, VERIFIER_KEY } from '../audit/fixtures.ts';
import { createTestToken, softHsmLibrary } from '../softhsm.ts';
import { lockstep } from './process.ts';

const folder = mkdtempSync(join(tmpdir(), 'lockstep-cli-'));
afterAll(() => rmSync(folder, { recursive: true }));

const example = (library: string, pin: string): string => {
  const file = join(folder, 'lockstep.toml');
  const lines = [
    '[server]\nplaintext = "loopback"',
    `[module]\nlibrary = "${library}"\ntoken = "lockstep-test"\npin_source = "${pin}"`,
    `[data]\nfolder = "data"\n[log]\norigin = "${ORIGIN}"`,
  ];
  writeFileSync(file, lines.join('\n'));
  return file;
};

describe('config', () => {
  const pin = join(folder, 'pin');
  writeFileSync(pin, 'hunter2\n', { mode: 0o600 });

  test('check is green, and red where others can read the PIN', async () => {
    const file = example(process.execPath, pin);
    expect(await lockstep(['config', 'check', '--config', file])).toEqual({
      code: 0,
      out: `${file}: good\n`,
      err: '',
    });
    chmodSync(pin, 0o644);
    const { code, out } = await lockstep(['config', 'check', '--json', '--config', file]);
    expect(code).toBe(1);
    expect(JSON.parse(out)).toMatchObject({
      ok: false,
      faults: [{ path: 'module.pin_source', text: expect.stringContaining('open to everybody') }],
    });
    chmodSync(pin, 0o600);
  });

  test('print names the variable that won, and finds the file by LOCKSTEP_CONFIG', async () => {
    const env = { LOCKSTEP_CONFIG: example('/m.so', pin), LOCKSTEP_ADMIN_ADDRESS: '127.0.0.1:1' };
    const { code, out } = await lockstep(['config', 'print'], { env });
    expect(code).toBe(0);
    expect(out).toMatch(/^admin\.address +"127\.0\.0\.1:1" +LOCKSTEP_ADMIN_ADDRESS$/m);
    expect(out).toMatch(/^module\.library +"\/m\.so" +file$/m);
    expect(out).not.toContain('hunter2');
  });
});

describe('format test', () => {
  test('gives a verdict on each value', async () => {
    const { code, out } = await lockstep(['format', 'test', 'ssn', '529-31-0047', '078-05-1120']);
    expect(code).toBe(1);
    expect(out).toMatch(/^members +888,931,098 \(29\.7 bits\)$/m);
    expect(out).toMatch(/^1 +VALID +\S+ +\*\*\*-\*\*-0047 +9\d\d-\d\d-\d{4}$/m);
    expect(out).toMatch(/^2 +VALUE_PLACEHOLDER$/m);
  });

  test('says in JSON what has no bound', async () => {
    const { code, out } = await lockstep(['format', 'test', 'text', 'a note', '--json']);
    expect(code).toBe(0);
    expect(JSON.parse(out)).toMatchObject({ size: null, daysToEnumerate: null });
  });

  test('names the formats where there is none of that name', async () => {
    const { code, err } = await lockstep(['format', 'test', 'nonsense']);
    expect(code).toBe(1);
    expect(err).toMatch(/digits:m-n.*ssn/);
  });
});

describe('log verify', () => {
  test('is green on a whole log and names the first leaf in doubt of another', async () => {
    const logFolder = await newFolder();
    const log = await open(logFolder);
    await fill(log, 0, 20);
    await log.close();
    const argv = ['log', 'verify', '--folder', logFolder, '--verifier', VERIFIER_KEY];
    const whole = await lockstep([...argv, '--json']);
    expect(whole).toMatchObject({ code: 0, err: '' });
    expect(JSON.parse(whole.out)).toMatchObject({ ok: true, size: 20, entries: 20 });

    const tile = join(logFolder, 'tile/0/000.p/20');
    const bytes = readFileSync(tile);
    bytes[5 * 32] = bytes[5 * 32]! ^ 1;
    chmodSync(tile, 0o600);
    writeFileSync(tile, bytes);
    const torn = await lockstep(argv);
    expect(torn.code).toBe(1);
    expect(torn.out).toMatch(/^verdict +in doubt from leaf \d+ on$/m);
    expect(torn.err).toMatch(/^leaf \d+: /m);
  });

  test('refuses a key that is none', async () => {
    const argv = ['log', 'verify', '--folder', folder, '--verifier', 'a+12345678+b'];
    expect(await lockstep(argv)).toMatchObject({ code: 1, out: '' });
    expect((await lockstep(['log', 'verify', '--folder', folder])).code).toBe(2);
  });
});

const library = softHsmLibrary();
describe.skipIf(library === undefined)('keys', () => {
  test('are made once, listed, and the log key is printed', async () => {
    const token = createTestToken(library!);
    try {
      const config = ['--config', example(library!, token.pinSource)];
      const missing = await lockstep(['keys', 'list', ...config]);
      expect(missing).toMatchObject({ code: 1 });
      expect(missing.err).toContain('lockstep.root.v1: missing');

      const made = await lockstep(['keys', 'init', '--json', ...config]);
      expect(JSON.parse(made.out)).toMatchObject({
        made: ['lockstep.root.v1', 'lockstep.checkpoint.v1'],
      });
      const again = await lockstep(['keys', 'init', ...config]);
      expect(again).toMatchObject({ code: 1, out: '' });
      expect(again.err).toContain('nothing was made');
      expect((await lockstep(['keys', 'init', '--if-missing', ...config])).code).toBe(0);

      const listed = await lockstep(['keys', 'list', ...config]);
      expect(listed).toMatchObject({ code: 0, err: '' });
      expect(listed.out).toMatch(/^lockstep\.root\.v1 +secret key +AES .*sensitive/m);

      const key = await lockstep(['log', 'key', ...config]);
      expect(key.out).toMatch(/^lockstep\.test\/log\+[0-9a-f]{8}\+\S+\n$/);
    } finally {
      token.remove();
    }
  });

  test('a wrong PIN is refused without being shown', async () => {
    const token = createTestToken(library!);
    try {
      const pin = join(folder, 'wrong');
      writeFileSync(pin, 'not-the-pin-77\n');
      const access = ['--library', library!, '--token', 'lockstep-test', '--pin-source', pin];
      const { code, err } = await lockstep(['keys', 'list', ...access]);
      expect(code).toBe(1);
      expect(err).toContain('CKR_PIN_INCORRECT');
      expect(err).not.toContain('not-the-pin');
    } finally {
      token.remove();
    }
  });
});
