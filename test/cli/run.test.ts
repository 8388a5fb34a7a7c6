import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { CallError } from '../../src/base/call-error.ts';
import { type Harness, startHarness } from '../rpc/harness.ts';
import { lockstep, type Ran } from './process.ts';

let server: Harness;
const folder = mkdtempSync(join(tmpdir(), 'lockstep-cli-'));
beforeAll(async () => {
  server = await startHarness();
});
afterEach(() => {
  server.engine.before = () => Promise.resolve();
  server.engine.calls.length = 0;
});
afterAll(async () => {
  await server.stop();
  rmSync(folder, { recursive: true });
});

/** A command against the server, which turns values round and refuses those with `bad` in them. */
const ask = (argv: readonly string[], options: Parameters<typeof lockstep>[1] = {}): Promise<Ran> =>
  lockstep(argv, { env: { LOCKSTEP_ADDRESS: server.address }, ...options });

const TOKENIZE = ['tokenize', '--domain', 'clinic/ssn'];
const done = (out: string): Ran => ({ code: 0, out, err: '' });

describe('values', () => {
  test('as arguments', async () => {
    expect(await ask([...TOKENIZE, 'abc', 'xyz'])).toEqual(done('cba\nzyx\n'));
  });

  test('as lines of stdin, with a failed one left empty', async () => {
    expect(await ask(TOKENIZE, { stdin: 'abc\r\nbad1\nxyz' })).toEqual({
      code: 1,
      out: 'cba\n\nzyx\n',
      err: 'line 2: VALUE_MALFORMED\n3 items, 1 failed\n',
    });
  });

  test('as JSON lines', async () => {
    const { code, out, err } = await ask([...TOKENIZE, '--json'], { stdin: 'abc\nbad1\n' });
    expect(code).toBe(1);
    expect(
      out
        .trim()
        .split('\n')
        .map((line): unknown => JSON.parse(line)),
    ).toEqual([
      { line: 1, output: 'cba' },
      { line: 2, reason: 'VALUE_MALFORMED', retryable: false },
    ]);
    expect(JSON.parse(err)).toEqual({ items: 2, failed: 1, empty: 0 });
  });

  test('ten thousand of them, in order', async () => {
    const lines = Array.from({ length: 10_000 }, (_, i) => `v${i}`);
    const { code, out } = await ask(TOKENIZE, { stdin: `${lines.join('\n')}\n` });
    expect(code).toBe(0);
    expect(out).toBe(lines.map((line) => `${[...line].reverse().join('')}\n`).join(''));
    expect(server.engine.calls).toHaveLength(10);
  });

  test.each([
    ['detokenize', ['--purpose', 'TREAT'], { view: 'masked', purpose: 'TREAT' }],
    ['detokenize', ['--purpose', 'TREAT', '--view', 'plain'], { view: 'plain' }],
    [
      'exchange',
      ['--purpose', 'HRESCH', '--target-domain', 'study', '--subject', 's1', '--context', 'c1'],
      {
        targetDomain: 'study',
        purpose: 'HRESCH',
        subject: { kind: 'one', value: new TextEncoder().encode('s1') },
      },
    ],
  ])('%s %j', async (verb, options, wanted) => {
    const ran = await ask([verb, '--domain', 'clinic/ssn', ...options, 'abc']);
    expect(ran).toEqual(done('cba\n'));
    expect(server.engine.calls).toMatchObject([wanted]);
  });

  test('inspect says what tokens are', async () => {
    const ran = await ask(['inspect', '--domain', 'clinic/ssn', 'abc']);
    expect(ran).toEqual(done('well-formed\n'));
  });

  test('a call that may succeed soon is repeated under the same id', async () => {
    let calls = 0;
    server.engine.before = () => {
      calls++;
      if (calls > 2) return Promise.resolve();
      return Promise.reject(new CallError('MODULE_UNAVAILABLE', { retryDelayMs: 5 }));
    };
    expect(await ask([...TOKENIZE, 'abc'])).toEqual(done('cba\n'));
    const ids = server.engine.calls.map((call) => (call as { requestId: string }).requestId);
    expect(ids).toHaveLength(3);
    expect(new Set(ids).size).toBe(1);
  });

  test('a refused call stops the command with its reason', async () => {
    server.engine.before = () =>
      Promise.reject(new CallError('BUDGET_EXHAUSTED', { retryDelayMs: 90_000 }));
    expect(await ask([...TOKENIZE, '529-31-0047'])).toEqual({
      code: 1,
      out: '',
      err: 'lockstep: BUDGET_EXHAUSTED: the quota is used up; try again in 90 s\n',
    });
    const { err } = await ask([...TOKENIZE, '--json', '529-31-0047']);
    expect(JSON.parse(err)).toMatchObject({ reason: 'BUDGET_EXHAUSTED', retryDelayMs: 90_000 });
  });
});

describe('a CSV column', () => {
  const csv = join(folder, 'in.csv');
  const out = join(folder, 'out.csv');
  const text = 'name,ssn\r\n"O\'Neil, ""Al""",abc\r\nBo,\r\nCy,bad 529-31-0047\r\nDi,xyz\r\n';
  const CSV = [...TOKENIZE, '--csv', csv, '--column', 'ssn'];
  afterEach(() => rmSync(out, { force: true }));

  test('is replaced, the rest stays, faults are named by line', async () => {
    writeFileSync(csv, text);
    expect(await ask(CSV)).toEqual({
      code: 1,
      out: 'name,ssn\r\n"O\'Neil, ""Al""",cba\r\nBo,\r\nCy,\r\nDi,zyx\r\n',
      err: 'line 4: VALUE_MALFORMED\n4 items, 1 failed, 1 empty\n',
    });
  });

  test('comes from stdin, with the patient of each row', async () => {
    const argv = [...TOKENIZE, '--csv', '-', '--column', 'v', '--subject-column', 'p'];
    expect((await ask(argv, { stdin: 'p,v\np1,ab\np2,cd\n' })).out).toBe('p,v\np1,ba\np2,dc\n');
    expect(server.engine.calls).toMatchObject([{ subject: { kind: 'each' } }]);
  });

  test('goes into a file of the owner alone, whole', async () => {
    writeFileSync(csv, 'ssn\nabc\n');
    expect((await ask([...CSV, '--out', out])).code).toBe(0);
    expect(readFileSync(out, 'utf8')).toBe('ssn\ncba\n');
    expect(statSync(out).mode & 0o777).toBe(0o600);
    const again = await ask([...CSV, '--out', out]);
    expect(again).toMatchObject({ code: 2, err: `lockstep: ${out} exists; --force replaces it\n` });
    expect((await ask([...CSV, '--out', out, '--force'])).code).toBe(0);
  });

  test('leaves no file behind where it fails', async () => {
    writeFileSync(csv, 'ssn\nabc\n1,2\n');
    const { code, err } = await ask([...CSV, '--out', out]);
    expect(code).toBe(1);
    expect(err).toContain('line 3: the row has more or fewer cells than the first one');
    expect(existsSync(out) || existsSync(`${out}.partial`)).toBe(false);
  });

  test('of a first row alone keeps it', async () => {
    writeFileSync(csv, 'name,ssn\n');
    expect((await ask(CSV)).out).toBe('name,ssn\n');
  });
});

describe('domains and grants', () => {
  test('a domain is made, listed, shown, disabled and enabled', async () => {
    const made = ['domain', 'create', 'clinic/mrn', '--kind', 'static', '--format', 'mrn'];
    const options = ['--assigner', 'urn:x', '--subject-required', '--population', '5000', '--json'];
    const created = await ask([...made, ...options]);
    expect(created).toMatchObject({ code: 0, err: '' });
    expect(JSON.parse(created.out)).toMatchObject({ id: 'clinic/mrn', kind: 'static' });
    expect((await ask(['domain', 'list'])).out).toMatch(/^clinic\/mrn +static +mrn /m);
    expect((await ask(['domain', 'show', 'clinic/mrn'])).out).toMatch(/^format +mrn$/m);
    const disabled = await ask(['domain', 'disable', 'clinic/mrn', '--json']);
    expect(JSON.parse(disabled.out)).toMatchObject({ disabled: true });
    const enabled = await ask(['domain', 'disable', 'clinic/mrn', '--undo', '--json']);
    expect(JSON.parse(enabled.out)).toMatchObject({ disabled: false });
    expect(await ask(made)).toMatchObject({
      code: 1,
      err: 'lockstep: RESOURCE_EXISTS: it exists already\n',
    });
  });

  test('a bulk grant names its leaf', async () => {
    const grant = ['grant', 'bulk', '--caller', 'dev:dev', '--domain', 'clinic/mrn'];
    const { code, out } = await ask([...grant, '--count', '5000', '--until', '12h', '--json']);
    expect(code).toBe(0);
    expect(JSON.parse(out)).toMatchObject({ caller: 'dev:dev', count: 5_000 });
    expect((await ask([...grant, '--count', '5', '--until', 'soon'])).code).toBe(2);
  });
});

describe('exit codes', () => {
  test.each<[string, readonly string[], number]>([
    ['help', ['--help'], 0],
    ['help of a subcommand', ['tokenize', '--help'], 0],
    ['nothing', [], 2],
    ['an unknown command', ['tokenise'], 2],
    ['an unknown option', [...TOKENIZE, '--fast'], 2],
    ['a missing option', ['tokenize', 'abc'], 2],
    ['a purpose missing where it is wanted', ['detokenize', '--domain', 'x', 'abc'], 2],
    ['a wrong view', ['detokenize', '--domain', 'x', '--purpose', 'TREAT', '--view', 'all'], 2],
    ['two inputs', [...TOKENIZE, '--file', 'x', 'abc'], 2],
    ['a column without a CSV', [...TOKENIZE, '--column', 'x'], 2],
    ['a long delimiter', [...TOKENIZE, '--csv', 'x', '--column', 'y', '--delimiter', '||'], 2],
    ['a file that is not there', [...TOKENIZE, '--file', '/nowhere/x'], 1],
    ['TLS files that are missing', [...TOKENIZE, '--address', 'a.example:1', 'abc'], 2],
    ['a configuration that is not there', ['config', 'check', '--config', '/nowhere/x'], 1],
  ])('%s', async (_, argv, code) => {
    const ran = await ask(argv);
    expect(ran.code).toBe(code);
    expect(code === 0 ? ran.out : ran.err).not.toBe('');
  });

  test('every subcommand has --help, and --json unless it only groups', async () => {
    const names = (text: string): string[] =>
      [...(text.split('Commands:\n')[1] ?? '').matchAll(/^ {2}([a-z-]+)/gm)].map((m) => m[1]!);
    const visit = async (path: string[]): Promise<void> => {
      const { code, out } = await ask([...path, '--help']);
      expect(code).toBe(0);
      const below = names(out).filter((name) => name !== 'help');
      if (below.length === 0) expect(out, path.join(' ')).toContain('--json');
      for (const name of below) await visit([...path, name]);
    };
    await visit([]);
  });

  test('Ctrl-C stops the work cleanly', async () => {
    const out = join(folder, 'never');
    server.engine.before = async () => {
      process.emit('SIGINT');
      await new Promise((resolve) => setTimeout(resolve, 50));
    };
    const ran = await ask([...TOKENIZE, '--out', out, 'abc']);
    expect(ran).toEqual({ code: 130, out: '', err: 'lockstep: stopped\n' });
    expect(existsSync(`${out}.partial`)).toBe(false);
  });

  test('Ctrl-C ends a wait for stdin', async () => {
    const stdin = new PassThrough();
    setTimeout(() => process.emit('SIGINT'), 50);
    expect((await ask(TOKENIZE, { stdin })).code).toBe(130);
  });

  test('a reader that goes away ends the work without a word', async () => {
    const stdout = new PassThrough();
    server.engine.before = async () => void stdout.destroy(new Error('EPIPE'));
    const lines = 'abc\n'.repeat(5_000);
    expect(await ask(TOKENIZE, { stdin: lines, stdout })).toMatchObject({ code: 1, err: '' });
  });

  test('an unexpected fault shows its name and code, never its message', async () => {
    const extra = [
      (program: import('commander').Command, frame: import('../../src/cli/frame.ts').Frame) => {
        program.command('boom').action(
          frame.action(() => {
            throw Object.assign(new RangeError('529-31-0047'), { code: 'ERR_X' });
          }),
        );
      },
    ];
    expect(await lockstep(['boom'], { extra })).toEqual({
      code: 1,
      out: '',
      err: 'lockstep: an internal fault: RangeError ERR_X\n',
    });
  });
});
