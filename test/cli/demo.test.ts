import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { makePatients } from '../../src/cli/demo-patients.ts';
import { searchPlain } from '../../src/cli/demo-search.ts';
import { explainFormat } from '../../src/codec/explain.ts';
import { softHsmLibrary } from '../softhsm.ts';

const MAIN = fileURLToPath(new URL('../../src/main.ts', import.meta.url));
const RUN_MS_MAX = 120_000;

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'lockstep-demo-test-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

/** `lockstep demo` with a folder for temporary files that is ours alone. `interruptAt` sends
 *  SIGINT as soon as the output contains the text. */
async function runDemo(
  args: readonly string[],
  options: { env?: NodeJS.ProcessEnv; interruptAt?: string } = {},
): Promise<{ code: number | null; out: string; err: string }> {
  const env = { ...process.env, ...options.env, TMPDIR: folder };
  const child = spawn(process.execPath, [MAIN, 'demo', ...args], { env });
  const ran = { code: null as number | null, out: '', err: '' };
  let interrupted = false;
  child.stdout.setEncoding('utf8').on('data', (part: string) => {
    ran.out += part;
    if (interrupted || !options.interruptAt || !ran.out.includes(options.interruptAt)) return;
    interrupted = true;
    child.kill('SIGINT');
  });
  child.stderr.setEncoding('utf8').on('data', (part: string) => {
    ran.err += part;
  });
  const [code] = await once(child, 'close');
  return { ...ran, code };
}

/** Command lines of running processes that name the folder, where the system tells (/proc). */
function processesOf(name: string): string[] {
  let pids: string[] = [];
  try {
    pids = readdirSync('/proc').filter((entry) => /^\d+$/.test(entry));
  } catch {
    return [];
  }
  return pids.flatMap((pid) => {
    try {
      const line = readFileSync(`/proc/${pid}/cmdline`, 'utf8');
      return line.includes(name) ? [line] : [];
    } catch {
      return []; // It ended meanwhile.
    }
  });
}

function expectNothingLeft(): void {
  expect(readdirSync(folder)).toEqual([]);
  expect(processesOf(folder)).toEqual([]);
}

const library = softHsmLibrary();

describe.skipIf(library === undefined)('lockstep demo', () => {
  test(
    'tells in one object that all of it held, and leaves nothing',
    async () => {
      const { code, out, err } = await runDemo(['--patients', '500', '--json']);
      expect(err).toBe('');
      expect(code).toBe(0);
      const summary = JSON.parse(out);
      expect(summary).toMatchObject({
        ok: true,
        patients: 500,
        tokenized: { values: 3_500 },
        revealed: { values: 3_500 },
        quotaRefusal: 'BUDGET_EXHAUSTED',
        views: ['plain', 'masked', 'redacted'],
        denied: [
          { caller: 'ehr', view: 'plain', reason: 'VIEW_DENIED' },
          { caller: 'billing', purpose: 'HRESCH', reason: 'ACCESS_DENIED' },
        ],
        exchanged: 500,
        search: { hits: 0, control: true },
      });
      expect(summary.log.tampered.firstBadIndex).toBe(summary.log.tampered.leaf);
      expectNothingLeft();
    },
    RUN_MS_MAX,
  );

  test(
    'stopped by Ctrl-C it leaves no folder and no process',
    async () => {
      const { code, err } = await runDemo(['--patients', '5000'], { interruptAt: 'Make up' });
      expect(code).toBe(130);
      expect(err).toBe('lockstep: stopped\n');
      expectNothingLeft();
    },
    RUN_MS_MAX,
  );

  test(
    'says that the keys are left out where pkcs11-tool is not installed',
    async () => {
      const { code, out } = await runDemo(['--patients', '10'], { env: { PATH: folder } });
      expect(code).toBe(0);
      expect(out).toContain('left out: pkcs11-tool is not installed');
      for (const line of out.split('\n')) expect([...line].length).toBeLessThanOrEqual(100);
      expectNothingLeft();
    },
    RUN_MS_MAX,
  );
});

test(
  'without a PKCS#11 module the demo says so, and leaves nothing',
  async () => {
    const env = { LOCKSTEP_PKCS11_MODULE: join(folder, 'absent.so') };
    const { code, err } = await runDemo(['--patients', '10', '--json'], { env });
    expect(code).toBe(1);
    expect(JSON.parse(err).error).toContain('the server did not start');
    expectNothingLeft();
  },
  RUN_MS_MAX,
);

describe('made-up patients', () => {
  const patients = makePatients(400, 'a test');

  test.each([
    ['name', 'name'],
    ['date', 'birthDate'],
    ['ssn', 'ssn'],
    ['mrn:8', 'mrn'],
    ['npi', 'npi'],
    ['mbi', 'mbi'],
    ['phone', 'phone'],
  ] as const)('%s takes every %s', (format, field) => {
    const values = patients.map((patient) => patient[field]);
    const report = explainFormat(format, {}, values);
    expect(report.values.filter(({ verdict }) => verdict !== 'VALID')).toEqual([]);
  });

  test('are the same for the same seed, and others for another', () => {
    expect(makePatients(20, 'a test')).toEqual(patients.slice(0, 20));
    expect(makePatients(20, 'another')).not.toEqual(patients.slice(0, 20));
  });

  test('have numbers of their own, and names with letters beyond ASCII', () => {
    for (const field of ['ssn', 'mrn', 'mbi'] as const) {
      expect(new Set(patients.map((patient) => patient[field])).size).toBe(patients.length);
    }
    const accented = patients.filter(({ name }) => /[^ -~]/.test(name));
    expect(accented.length).toBeGreaterThan(patients.length / 2);
    expect(patients.every(({ name }) => name === name.normalize('NFC'))).toBe(true);
  });
});

describe('the search for plain values', () => {
  const search = (text: string | Buffer, value: string): number => {
    mkdirSync(join(folder, 'deep'), { recursive: true });
    writeFileSync(join(folder, 'deep', 'file'), text);
    const report = searchPlain([folder], [value], 'control');
    return report.hits;
  };

  test.each([
    ['as it is', 'x 295-11-9927 y', '295-11-9927'],
    ['without punctuation', 'x295119927y', '295-11-9927'],
    ['in UTF-16', Buffer.from('Çağla Okafor', 'utf16le'), 'Çağla Okafor'],
    ['word by word', '{"family":"Okafor"}', 'Çağla Okafor'],
  ])('finds a value %s', (_, text, value) => {
    expect(search(text, value)).toBeGreaterThan(0);
  });

  test('finds nothing where nothing is, nor a control that is not there', () => {
    expect(search('nothing', '295-11-9927')).toBe(0);
    expect(searchPlain([folder], [], 'control').control).toBe(false);
    expect(searchPlain([join(folder, 'deep', 'file')], [], 'noth').control).toBe(true);
  });
});
