import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { stringsOf } from '../../src/base/column.ts';
import type { TokenizeCall } from '../../src/engine/calls.ts';
import type {
  EraseCall,
  RestrictCall,
  TokenizeMultipleCall,
} from '../../src/engine/vault-calls.ts';
import { type Harness, startHarness } from '../rpc/harness.ts';
import { lockstep, type Ran } from './process.ts';

let server: Harness;
const folder = mkdtempSync(join(tmpdir(), 'lockstep-cli-records-'));
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

describe('tokenize with rules', () => {
  const TOKENIZE = ['tokenize', '--domain', 'clinic/ssn', 'abc'];

  test('hands them on', async () => {
    const rules = ['--idle-ttl', '30d', '--expire', '2099-01-31T18:00:00Z', '--reveals-max', '3'];
    await ask([...TOKENIZE, ...rules, '--label', 'R', '--label', 'ETH']);
    await ask(TOKENIZE);
    const calls = server.engine.calls as TokenizeCall[];
    expect(calls[0]?.rules).toEqual({
      idleMs: 30 * 86_400_000,
      expireMs: Date.parse('2099-01-31T18:00:00Z'),
      revealsMax: 3,
      labels: ['R', 'ETH'],
    });
    expect(calls[1]?.rules).toBeUndefined();
  });

  test.each([
    ['a span that is none', ['--idle-ttl', '3 days']],
    ['a span of nothing', ['--idle-ttl', '0d']],
    ['no reveals', ['--reveals-max', '0']],
    ['a lookup with rules', ['--lookup', '--label', 'R']],
  ])('%s is a wrong command line', async (_name, options) => {
    expect((await ask([...TOKENIZE, ...options])).code).toBe(2);
    expect(server.engine.calls).toEqual([]);
  });
});

describe('tokenize-multiple', () => {
  const MULTIPLE = ['tokenize-multiple', '--domain', 'clinic/visits'];

  test('gives the tokens of a value with tabs between', async () => {
    const ran = await ask([...MULTIPLE, '--count', '2', 'a', 'c']);
    expect(ran).toEqual({ code: 0, out: 'a.0\ta.1\nc.0\tc.1\n', err: '' });
    const [call] = server.engine.calls as TokenizeMultipleCall[];
    expect(call).toMatchObject({ count: 2, requestId: expect.stringMatching(/./) });
  });

  test('asks for an item alone whose answer is too large beside the others', async () => {
    const { code, out, err } = await ask([...MULTIPLE, '--count', '0', '--json'], {
      stdin: 'a\nbad\n',
    });
    expect(jsonLines(out)).toEqual([
      { line: 1, outputs: ['a.0'] },
      { line: 2, reason: 'ANSWER_TOO_LARGE', retryable: false },
    ]);
    expect([code, JSON.parse(err)]).toEqual([1, { items: 2, failed: 1, empty: 0 }]);
    const calls = server.engine.calls as TokenizeMultipleCall[];
    expect(calls.map((call) => call.values.length)).toEqual([2, 1]);
  });

  test('sends no more items than the answer can hold tokens', async () => {
    const stdin = 'a\n'.repeat(25);
    await ask([...MULTIPLE, '--count', '1000'], { stdin });
    const calls = server.engine.calls as TokenizeMultipleCall[];
    expect(calls.map((call) => call.values.length)).toEqual([10, 10, 5]);
    expect((await ask([...MULTIPLE, '--count', '10001', 'a'])).code).toBe(2);
  });
});

describe('inspect --details', () => {
  const INSPECT = ['inspect', '--domain', 'clinic/ssn', '--details'];

  test('tells the rules of a token', async () => {
    const { inspect } = server.engine;
    server.engine.inspect = async (call) => ({
      ...(await inspect(call)),
      details: [
        {
          createdMs: Date.parse('2026-11-24T00:00:00Z'),
          idleMs: 3_600_000,
          expireMs: 0,
          revealsMax: 5,
          reveals: 2,
          labels: ['R'],
        },
        undefined,
      ],
    });
    const plain = await ask([...INSPECT, 'a', 'b']);
    const json = await ask([...INSPECT, '--json', 'a', 'b']);
    server.engine.inspect = inspect;
    const words = 'made 2026-11-24T00:00:00.000Z\tidle at most 3600 s\t2 of 5 reveals\tlabel R';
    expect(plain.out).toBe(`well-formed\t${words}\nwell-formed\n`);
    expect(jsonLines(json.out)).toEqual([
      {
        line: 1,
        output: 'well-formed',
        details: {
          created: '2026-11-24T00:00:00.000Z',
          idleTtlSeconds: 3_600,
          revealsMax: 5,
          reveals: 2,
          labels: ['R'],
        },
      },
      { line: 2, output: 'well-formed', details: {} },
    ]);
  });

  test('does not fit into a CSV', async () => {
    const csv = file('tokens.csv', 't\n1\n');
    expect((await ask([...INSPECT, '--csv', csv, '--column', 't'])).code).toBe(2);
  });
});

describe('restrict', () => {
  const RESTRICT = ['restrict', '--domain', 'clinic/ssn', '--purpose', 'HOPERAT'];

  test('by token', async () => {
    const ran = await ask([...RESTRICT, '--token', 'T1', '--token', 'bad']);
    expect(ran).toEqual({
      code: 1,
      out: expect.stringMatching(/^1 token stopped, 1 item failed; leaf \d+\n$/),
      err: 'line 2: TOKEN_NOT_FOUND\n',
    });
    const [call] = server.engine.calls as RestrictCall[];
    expect(call).toMatchObject({ lift: false, purpose: 'HOPERAT', items: { by: 'tokens' } });
  });

  test('by the values of a column, each in its context', async () => {
    const csv = file('values.csv', 'id,mrn,site\n1,M-1,north\n2,M-2,south\n');
    const ran = await ask([
      ...[...RESTRICT, '--lift', '--csv', csv, '--column', 'mrn', '--values'],
      ...['--context-column', 'site', '--subject', 'P-1', '--json'],
    ]);
    expect(ran.code).toBe(0);
    expect(JSON.parse(ran.out)).toMatchObject({
      done: 'allowed again',
      items: 2,
      tokens: 2,
      failed: 0,
      leaves: [expect.any(Number)],
    });
    const [call] = server.engine.calls as RestrictCall[];
    if (call?.items.by !== 'values') throw new Error('not by values');
    expect(stringsOf(call.items.values.reveal())).toEqual(['M-1', 'M-2']);
    expect(call).toMatchObject({ lift: true, context: { kind: 'each' }, subject: { kind: 'one' } });
  });

  test('all of a patient, in every domain', async () => {
    const ran = await ask(['restrict', '--purpose', 'HOPERAT', '--subject', 'P-1']);
    expect(ran.out).toMatch(/^7 tokens stopped; leaf \d+\n$/);
    expect(server.engine.calls).toMatchObject([{ domain: '', items: { by: 'subject' } }]);
  });

  test.each([
    ['nothing named', []],
    ['tokens and values', ['--token', 'T', '--value', 'v']],
    ['tokens and a file', ['--token', 'T', '--file', '-']],
    ['tokens and a patient', ['--token', 'T', '--subject', 'P']],
    ['a context for a patient', ['--subject', 'P', '--context', 'c']],
    ['a CSV without a column', ['--csv', '-']],
    ['a context column without a CSV', ['--value', 'v', '--context-column', 'c']],
  ])('%s is a wrong command line', async (_name, options) => {
    expect((await ask([...RESTRICT, ...options])).code).toBe(2);
    expect(server.engine.calls).toEqual([]);
  });

  test('tokens without a domain are a wrong command line', async () => {
    expect((await ask(['restrict', '--purpose', 'P', '--token', 'T'])).code).toBe(2);
  });
});

describe('erase', () => {
  const ERASE = ['erase', '--domain', 'clinic/ssn', '--purpose', 'PATRQT'];

  test('writes the certificate for its owner alone, and never over another', async () => {
    const certificate = join(folder, 'erased.note');
    const command = [...ERASE, '--yes', '--token', 'T1', '--certificate', certificate];
    const ran = await ask(command);
    expect([ran.code, ran.err]).toEqual([0, '']);
    expect(ran.out).toMatch(/^1 token erased; leaf \d+\n$/);
    expect(readFileSync(certificate, 'utf8')).toBe('erased\n\n— note\n');
    expect(statSync(certificate).mode & 0o777).toBe(0o600);
    server.engine.calls.length = 0;
    expect((await ask(command)).code).toBe(2);
    expect(server.engine.calls).toEqual([]);
    expect((await ask([...command, '--force', '--mode', 'unlink'])).code).toBe(0);
    expect(server.engine.calls).toMatchObject([{ mode: 'unlink' }]);
  });

  test('has one certificate a call of 10,000 items, one call after the other', async () => {
    let atWork = 0;
    server.engine.before = async () => {
      atWork++;
      await new Promise((resolve) => setTimeout(resolve, 50));
      expect(atWork).toBe(1);
      atWork--;
    };
    const tokens = file('many.txt', 'T\n'.repeat(10_001));
    const certificate = join(folder, 'many.note');
    const ran = await ask([
      ...[...ERASE, '--yes', '--file', tokens, '--certificate', certificate, '--json'],
    ]);
    expect(JSON.parse(ran.out)).toMatchObject({
      done: 'erased',
      items: 10_001,
      tokens: 10_001,
      failed: 0,
      certificates: [certificate, `${certificate}.2`],
    });
    expect(existsSync(`${certificate}.2`)).toBe(true);
    const calls = server.engine.calls as EraseCall[];
    expect(new Set(calls.map(({ requestId }) => requestId)).size).toBe(2);
  });

  test('tells the leaf where the certificate cannot be written', async () => {
    const certificate = join(folder, 'no-such-folder', 'erased.note');
    const ran = await ask([...ERASE, '--yes', '--token', 'T', '--certificate', certificate]);
    expect(ran.code).toBe(1);
    expect(ran.out).toMatch(/^1 token erased; leaf (\d+)\n$/);
    expect(ran.err).toMatch(/cannot be written: ENOENT; `lockstep erasure show \d+ --out FILE`/);
  });

  test.each([
    ['yes', 0],
    ['no', 1],
    ['y', 1],
    ['', 1],
  ])('asks on a terminal: %j', async (answer, code) => {
    const ran = await ask([...ERASE, '--subject', 'P-1'], { stdin: `${answer}\n`, terminal: true });
    expect(ran.code).toBe(code);
    expect(ran.err).toContain('every token of that patient in clinic/ssn for good');
    expect(ran.err).not.toContain('P-1');
    expect(server.engine.calls).toHaveLength(code === 0 ? 1 : 0);
  });

  test('takes a terminal that closes for a no', async () => {
    const ran = await ask([...ERASE, '--token', 'T'], { stdin: '', terminal: true });
    expect([ran.code, server.engine.calls.length]).toEqual([1, 0]);
  });

  test('needs --yes where nobody can be asked', async () => {
    const ran = await ask([...ERASE, '--token', 'T']);
    expect([ran.code, server.engine.calls.length]).toEqual([2, 0]);
    const piped = await ask([...ERASE, '--file', '-'], { stdin: 'T\n', terminal: true });
    expect([piped.code, server.engine.calls.length]).toEqual([2, 0]);
  });
});

describe('erasure show', () => {
  test('prints the certificate, or writes it', async () => {
    expect(await ask(['erasure', 'show', '5'])).toEqual({
      code: 0,
      out: 'gone\n\n— note\n',
      err: 'leaf 5: gone from the files\n',
    });
    const out = join(folder, 'second.note');
    const ran = await ask(['erasure', 'show', '5', '--out', out, '--json']);
    expect(JSON.parse(ran.out)).toEqual({ leafIndex: 5, compacted: true, file: out });
    expect(readFileSync(out, 'utf8')).toBe('gone\n\n— note\n');
    expect((await ask(['erasure', 'show', '6'])).err).toContain('RESOURCE_NOT_FOUND');
  });
});

describe('domain', () => {
  test('is made for shared subjects, and shows its fill with a warning', async () => {
    const create = ['domain', 'create', 'clinic/mrn', '--kind', 'static', '--format', 'digits:5'];
    expect((await ask([...create, '--subjects-shared'])).out).toContain('subjects shared');
    const domain = server.engine.domains.get('clinic/mrn')!;
    expect(domain.spec.subjectsShared).toBe(true);
    const show = async (fill: number): Promise<Ran> => {
      server.engine.domains.set('clinic/mrn', { ...domain, fill });
      return ask(['domain', 'show', 'clinic/mrn']);
    };
    const low = await show(0.7999);
    expect([low.err, /^fill +79.9 %$/m.test(low.out)]).toEqual(['', true]);
    const high = await show(0.8);
    expect(high.err).toContain('clinic/mrn is 80.0 % full');
    expect(high.code).toBe(0);
    expect((await show(0.99999)).out).toMatch(/^fill +99.9 %$/m);
  });
});
