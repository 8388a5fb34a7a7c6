import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { CallError } from '../../src/base/call-error.ts';
import { type Column, stringsOf } from '../../src/base/column.ts';
import type { ImportCall } from '../../src/engine/vault-calls.ts';
import { type Harness, startHarness } from '../rpc/harness.ts';
import { lockstep, type Ran } from './process.ts';

const SECRET = '529-31-0047';

let server: Harness;
const folder = mkdtempSync(join(tmpdir(), 'lockstep-cli-vault-'));
beforeAll(async () => {
  server = await startHarness();
});
afterEach(() => {
  server.engine.before = () => Promise.resolve();
  server.engine.calls.length = 0;
  server.engine.jobs.clear();
});
afterAll(async () => {
  await server.stop();
  rmSync(folder, { recursive: true });
});

const ask = (argv: readonly string[], options: Parameters<typeof lockstep>[1] = {}): Promise<Ran> =>
  lockstep(argv, { env: { LOCKSTEP_ADDRESS: server.address }, ...options });
const file = (name: string, text: string): string => {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
};
const jsonLines = (text: string): unknown[] =>
  text
    .trim()
    .split('\n')
    .map((line): unknown => JSON.parse(line));

describe('vault', () => {
  test('status says how it serves, by its exit code too', async () => {
    const low = await ask(['vault', 'status']);
    expect(low.code).toBe(1);
    expect(low.out).toMatch(/^state +reads only: the disk is low$/m);
    expect(low.out).toMatch(/^free on the disk +1024.0 GiB$/m);
    server.engine.vault = { ...server.engine.vault, state: 'serving', checkedMs: 1_000 };
    const json = await ask(['vault', 'status', '--json']);
    expect([json.code, JSON.parse(json.out)]).toEqual([
      0,
      {
        id: '01VAULT',
        state: 'serving',
        epoch: 4,
        liveTokens: 1_000,
        logSize: 77,
        erasuresReplayed: 0,
        checked: '1970-01-01T00:00:01.000Z',
        faults: 0,
        freeBytes: 2 ** 40,
      },
    ]);
  });

  test.each([
    ['0', 0],
    ['2', 1],
  ])('check waits for the end; %s faults', async (faults, code) => {
    const running = ask(['vault', 'check', '--deep', '--json']);
    await expect.poll(() => server.engine.jobs.size).toBe(1);
    const job = server.engine.jobs.get('check')!;
    const ended = { state: 'done', done: 3, endedMs: 9_000, result: { faults } } as const;
    server.engine.jobs.set('check', { ...job, ...ended });
    const ran = await running;
    expect(ran.code).toBe(code);
    expect(JSON.parse(ran.out)).toMatchObject({
      id: 'check',
      state: 'done',
      done: 3,
      result: { faults },
      created: '2023-11-14T22:13:20.123Z',
      ended: '1970-01-01T00:00:09.000Z',
    });
    expect(server.engine.calls).toMatchObject([{ deep: true }]);
  });

  test('compact --no-wait tells the job', async () => {
    const ran = await ask(['vault', 'compact', '--no-wait']);
    expect(ran).toMatchObject({ code: 0, err: '' });
    expect(ran.out).toMatch(/^job +compaction$/m);
  });
});

describe('job', () => {
  test('lists, shows, cancels', async () => {
    await ask(['vault', 'check', '--no-wait']);
    await ask(['vault', 'compact', '--no-wait']);
    const list = await ask(['job', 'list', '--target', 'vault']);
    expect(list.out.split('\n').map((line) => line.split(/ +/).slice(0, 4).join(' '))).toEqual([
      'job kind state done',
      'compaction compaction running 1',
      'check check running 1',
      '',
    ]);
    const first = await ask(['job', 'list', '--limit', '1', '--json']);
    expect(JSON.parse(first.out)).toMatchObject({ jobs: [{ id: 'compaction' }] });
    const cancelled = await ask(['job', 'cancel', 'check']);
    expect(cancelled.out).toMatch(/^state +cancelled$/m);
    expect((await ask(['job', 'show', 'check'])).code).toBe(1);
    const failed = { ...server.engine.jobs.get('check')!, state: 'failed' as const };
    server.engine.jobs.set('check', { ...failed, reason: 'STORE_FULL' });
    expect((await ask(['job', 'watch', 'check'])).out).toMatch(/^state +failed: STORE_FULL$/m);
    expect(await ask(['job', 'show', 'none'])).toMatchObject({
      code: 1,
      err: 'lockstep: RESOURCE_NOT_FOUND: there is no such thing\n',
    });
  });
});

describe('subject', () => {
  test('tokens are listed page by page, as columns', async () => {
    const ran = await ask(['subject', 'tokens', 'P-1', '--purpose', 'TREAT']);
    expect(ran.code).toBe(0);
    expect(ran.out.split('\n')[4]).toBe('clinic/d4\tT4\tlive');
    expect(server.engine.calls).toMatchObject([
      { domain: '', purpose: 'TREAT', subject: new TextEncoder().encode('P-1') },
    ]);
    const json = await ask(['subject', 'tokens', '-', '--purpose', 'TREAT', '--json'], {
      stdin: 'Zoë\n',
    });
    expect(jsonLines(json.out)[0]).toEqual({ domain: 'clinic/d0', token: 'T0', state: 'live' });
    expect(server.engine.calls[1]).toMatchObject({ subject: new TextEncoder().encode('Zoë') });
    const none = await ask(['subject', 'tokens', '-', '--purpose', 'TREAT'], {
      stdin: `${SECRET}\nx`,
    });
    expect([none.code, none.err.includes(SECRET)]).toEqual([2, false]);
  });

  test('merge and unmerge', async () => {
    const ran = await ask(['subject', 'merge', 'P-1', 'P-2', '--note', 'A40']);
    expect(ran.out).toMatch(/^merge 01MERGE: the survivor reaches 2 tokens more; leaf \d+\n$/);
    const piped = await ask(['subject', 'merge', '-', '--json'], { stdin: 'P-1\nP-2\n' });
    expect(JSON.parse(piped.out)).toMatchObject({ merge: '01MERGE', moved: 2 });
    expect(server.engine.calls).toMatchObject([{ note: 'A40' }, { note: '' }]);
    const back = await ask(['subject', 'unmerge', '01MERGE']);
    expect(back.out).toMatch(/^merge 01MERGE taken back: 2 tokens are the prior's alone again/);
    expect((await ask(['subject', 'merge', 'P-1'])).code).toBe(2);
    expect((await ask(['subject', 'merge', '-', 'P-2'])).code).toBe(2);
  });
});

const IMPORT = ['import', '--domain', 'clinic/mrn', '--purpose', 'HOPERAT'];
interface Pair {
  value: string;
  token: string;
  subject: string;
}
const importedPairs = (): Pair[] =>
  (server.engine.calls as ImportCall[]).flatMap((call) => {
    const each: string[] =
      call.subject.kind === 'each' ? stringsOf(call.subject.values as Column) : [];
    const tokens = stringsOf(call.tokens);
    return stringsOf(call.values.reveal()).map((value, i) => ({
      value,
      token: tokens[i] ?? '',
      subject: each[i] ?? '',
    }));
  });
const pair = (value: string, token: string, subject = ''): Pair => ({ value, token, subject });

describe('import', () => {
  test('of a CSV, with subjects', async () => {
    const csv = file('pairs.csv', '\uFEFFmrn;pseudo;patient\r\n"M;1";T1;P-1\r\nM2;T2;\r\n');
    const columns = ['--value-column', 'mrn', '--token-column', 'pseudo'];
    const ran = await ask([
      ...[...IMPORT, csv, ...columns, '--subject-column', 'patient', '--delimiter', ';'],
    ]);
    expect(ran).toEqual({ code: 0, out: '', err: '2 pairs, 0 failed\n' });
    expect(importedPairs()).toEqual([pair('M;1', 'T1', 'P-1'), pair('M2', 'T2')]);
  });

  test.each([
    ['gpas', 'Originalwert;Pseudonym\nM1;T1\n', []],
    ['vfps', '{"originalValue":"M1","pseudonymValue":"T1","namespaceName":"n"}\n', []],
    [
      'vfps',
      '{\n "namespace": "n",\n "pseudonyms": [\n  {"originalValue": "M1", "pseudonymValue": "T1"}\n ]\n}',
      [],
    ],
    ['vfps', '[{"pseudonymValue":"T1","originalValue":"M1"}]', []],
    ['vault', 'transformation,value,encoded_value\nmrn,M1,T1\n', []],
    ['gpas', 'M;O;P\nx;M1;T1\n', ['--value-column', 'O', '--token-column', 'P']],
  ])('of %s: %j', async (from, text, options) => {
    const ran = await ask([...IMPORT, '--from', from, ...options, '-'], { stdin: text });
    expect(ran).toEqual({ code: 0, out: '', err: '1 pairs, 0 failed\n' });
    expect(importedPairs()).toEqual([pair('M1', 'T1')]);
  });

  test('of NDJSON cut anywhere, with quotes and braces in its texts', async () => {
    const values = ['a"b', '}{', 'x\\', 'Zoë\n', '𝒵'];
    const text = values
      .map((value, i) => `${JSON.stringify({ value, token: `T${i}` })}\n`)
      .join('');
    const bytes = Buffer.from(text, 'utf8');
    const stdin = Readable.from([...bytes].map((_, i) => bytes.subarray(i, i + 1)));
    const ran = await ask([...IMPORT, '--format', 'json', '-'], { stdin });
    expect(ran).toMatchObject({ code: 0 });
    expect(importedPairs()).toEqual(values.map((value, i) => pair(value, `T${i}`)));
  });

  test('tells failed pairs by row, never by value', async () => {
    const csv = file('taken.csv', `value,token\nM1,T1\n${SECRET},bad\n`);
    const ran = await ask([...IMPORT, csv]);
    expect(ran).toEqual({
      code: 1,
      out: '',
      err: 'row 2 (line 3): TOKEN_TAKEN\n2 pairs, 1 failed\n',
    });
    const errors = join(folder, 'errors.ndjson');
    const again = await ask([...IMPORT, csv, '--errors', errors, '--json']);
    expect(JSON.parse(again.out)).toEqual({ rows: 2, pairs: 2, failed: 1 });
    const line = '{"row":2,"line":3,"reason":"TOKEN_TAKEN"}\n';
    expect(readFileSync(errors, 'utf8')).toBe(line);
    const rest = await ask([...IMPORT, csv, '--errors', errors, '--skip', '1']);
    expect([rest.code, rest.err]).toEqual([1, '1 pairs, 1 failed\n']);
    expect(readFileSync(errors, 'utf8')).toBe(line + line);
  });

  test('goes on where it was stopped', async () => {
    const rows = Array.from({ length: 3_500 }, (_, i) => `M${i},T${i}\n`);
    const csv = file('many.csv', `value,token\n${rows.join('')}`);
    const position = join(folder, 'position.json');
    // The third batch is refused for good; those that are sent beside it may still pass.
    server.engine.before = () =>
      server.engine.started % 7 === 3
        ? Promise.reject(new CallError('STORE_FULL'))
        : Promise.resolve();
    server.engine.started = 0;
    const first = await ask([...IMPORT, csv, '--position', position]);
    expect(first.code).toBe(1);
    expect(first.err).toContain('2000 rows are done; the same again goes on');
    expect(first.err).toContain('STORE_FULL: the store has no space left');
    expect(JSON.parse(readFileSync(position, 'utf8'))).toEqual({ rows: 2_000 });
    server.engine.before = () => Promise.resolve();
    server.engine.calls.length = 0;
    expect(await ask([...IMPORT, csv, '--position', position])).toMatchObject({
      code: 0,
      err: '1500 pairs, 0 failed\n',
    });
    expect(importedPairs().map(({ token }) => token)).toEqual(
      Array.from({ length: 1_500 }, (_, i) => `T${i + 2_000}`),
    );
    expect(JSON.parse(readFileSync(position, 'utf8'))).toEqual({ rows: 3_500 });
    const skip = await ask([...IMPORT, csv, '--skip', '3499', '--json']);
    expect(JSON.parse(skip.out)).toEqual({ rows: 3_500, pairs: 1, failed: 0 });
  });

  test('repeats a batch that may succeed soon', async () => {
    let calls = 0;
    server.engine.before = () =>
      calls++ === 0
        ? Promise.reject(new CallError('STORE_UNAVAILABLE', { retryDelayMs: 5 }))
        : Promise.resolve();
    const csv = file('one.csv', 'value,token\nM1,T1\n');
    expect((await ask([...IMPORT, csv])).code).toBe(0);
    expect(calls).toBe(2);
  });

  test.each([
    ['no such column', 'a,b\n1,2\n', ['--format', 'csv'], 'no column "value"'],
    ['one column for gPAS', 'a\n1\n', ['--from', 'gpas'], 'fewer than 2 columns'],
    ['a number', `{"value":${SECRET.replaceAll('-', '')},"token":"T"}`, [], 'no text "value"'],
    ['no token', `{"value":"${SECRET}"}`, [], 'line 1: the object has no text "token"'],
    ['no JSON', `\n{"value":"${SECRET}",}`, [], 'line 2: not valid JSON'],
    ['an open end', `{"value":"${SECRET}"`, [], 'the text ends inside an object'],
    ['an end alone', `}${SECRET}`, [], 'line 1: an object ends that did not begin'],
  ])('refuses %s, without its text', async (_name, stdin, options, wanted) => {
    const form = options.length === 0 ? ['--format', 'json'] : options;
    const ran = await ask([...IMPORT, ...form, '-'], { stdin });
    expect([ran.code, ran.out]).toEqual([1, '']);
    expect(ran.err).toContain(wanted);
    expect(ran.err).not.toContain(SECRET);
    expect(ran.err).not.toContain(SECRET.replaceAll('-', ''));
  });

  test.each([
    ['skip and position', ['--skip', '1', '--position', 'p']],
    ['a long delimiter', ['--delimiter', ';;']],
    ['another tool', ['--from', 'excel']],
  ])('%s is a wrong command line', async (_name, options) => {
    expect((await ask([...IMPORT, ...options, '-'])).code).toBe(2);
  });

  test('a position file of something else is refused', async () => {
    const position = file('other.json', '{"rows":-1}');
    const ran = await ask([...IMPORT, '--position', position, '-']);
    expect([ran.code, ran.err]).toEqual([
      1,
      `lockstep: ${position} is not a position file of an import\n`,
    ]);
  });
});

describe('export', () => {
  const EXPORT = ['export', '--domain', 'clinic/mrn', '--purpose', 'HOPERAT'];

  test('writes CSV, or JSON lines', async () => {
    server.engine.exportBatches = 2;
    server.engine.exportValue = 'a"b,';
    expect(await ask(EXPORT)).toEqual({
      code: 0,
      out: 'value,token\n"a""b,0",T0\n"a""b,1",T1\n',
      err: '2 pairs\n',
    });
    const json = await ask([...EXPORT, '--json']);
    expect(jsonLines(json.out)[1]).toEqual({ value: 'a"b,1', token: 'T1' });
    expect(JSON.parse(json.err)).toEqual({ pairs: 2, row: '2' });
  });

  test('goes on behind a row, without the names', async () => {
    server.engine.exportBatches = 3;
    server.engine.exportValue = 'v';
    expect((await ask([...EXPORT, '--after', '2'])).out).toBe('v2,T2\n');
  });

  test('a stream that breaks goes on by itself', async () => {
    server.engine.exportBatches = 4;
    server.engine.exportValue = 'v';
    const { exportTokens } = server.engine;
    let streams = 0;
    server.engine.exportTokens = async function* (call) {
      const broken = streams++ === 0;
      for await (const batch of exportTokens.call(server.engine, call)) {
        yield batch;
        if (broken && batch.row === '2') {
          throw new CallError('STORE_UNAVAILABLE', { retryDelayMs: 5 });
        }
      }
    };
    const ran = await ask(EXPORT);
    server.engine.exportTokens = exportTokens;
    expect(ran.out).toBe('value,token\nv0,T0\nv1,T1\nv2,T2\nv3,T3\n');
    expect(streams).toBe(2);
  });

  test('tells the last row where it fails', async () => {
    server.engine.exportBatches = 9;
    const { exportTokens } = server.engine;
    server.engine.exportTokens = async function* (call) {
      for await (const batch of exportTokens.call(server.engine, call)) {
        yield batch;
        if (batch.row === '3') throw new CallError('ACCESS_DENIED');
      }
    };
    const ran = await ask(EXPORT);
    server.engine.exportTokens = exportTokens;
    expect(ran.code).toBe(1);
    expect(ran.err).toBe(
      'lockstep: go on with --after 3\nlockstep: ACCESS_DENIED: policy does not permit this\n',
    );
    expect(ran.out.trim().split('\n')).toHaveLength(4);
  });
});
