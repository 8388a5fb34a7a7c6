import { cpSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { lockstep as inProcess } from '../cli/process.ts';
import { softHsmLibrary } from '../softhsm.ts';
import {
  cleanEnv,
  type Ended,
  lockstep,
  type RunOptions,
  type ServerProcess,
  startDevServer,
  type TemporaryFolder,
  temporaryFolder,
} from './processes.ts';

const run = softHsmLibrary() === undefined ? describe.skip : describe;
let folder: TemporaryFolder;
let server: ServerProcess;

/** `lockstep …` against the development server, as a caller of it. */
const cli = (args: readonly string[], options: RunOptions = {}): Promise<Ended> =>
  lockstep(args, {
    env: cleanEnv({
      LOCKSTEP_ADDRESS: server.address,
      LOCKSTEP_CONFIG: join(folder.path, 'lockstep.toml'),
      SOFTHSM2_CONF: join(folder.path, 'softhsm/softhsm2.conf'),
    }),
    cwd: folder.path,
    ...options,
  });

/** Its stdout, where it did all of it and said nothing else. */
async function done(args: readonly string[], options: RunOptions = {}): Promise<string> {
  const { code, stdout, stderr } = await cli(args, options);
  expect({ code, stderr }, args.join(' ')).toEqual({ code: 0, stderr: '' });
  return stdout;
}

const json = async (args: readonly string[]): Promise<unknown> =>
  JSON.parse(await done([...args, '--json']));

run('the command line, against a development server', () => {
  beforeAll(async () => {
    folder = temporaryFolder();
    server = await startDevServer(folder.path);
  });
  afterAll(async () => {
    expect(await server.stop()).toBe(0);
    folder.remove();
  });

  describe('values', () => {
    test('tokenize, inspect, exchange and detokenize of arguments', async () => {
      const values = ['529-31-0047', '231-84-6605'];
      const tokens = await done(['tokenize', '--domain', 'ssn', ...values]);
      const made = tokens.trim().split('\n');
      expect(tokens).toMatch(/^(9\d\d-\d\d-\d{4}\n){2}$/);
      expect(await done(['inspect', '--domain', 'ssn', ...made, '999-99-9990'])).toBe(
        'live\nlive\nunknown\n',
      );
      const into = ['--target-domain', 'study7', '--purpose', 'HRESCH'];
      const exchanged = await done(['exchange', '--domain', 'ssn', ...into, ...made]);
      expect(exchanged).toMatch(/^(9\d\d-\d\d-\d{4}\n){2}$/);
      expect(exchanged).not.toBe(tokens);
      const reveal = ['detokenize', '--domain', 'ssn', '--purpose', 'TREAT', ...made];
      expect(await done(reveal)).toBe('***-**-0047\n***-**-6605\n');
      expect(await done([...reveal, '--view', 'plain'])).toBe(`${values.join('\n')}\n`);
      const lookup = ['tokenize', '--lookup', '--domain', 'ssn', ...values];
      expect(await done(lookup)).toBe(tokens);
    });

    test('lines of stdin: order kept, failures by line and reason, never by value', async () => {
      const lines = Array.from({ length: 2_500 }, (_, i) =>
        i % 500 === 7 ? `kanarie-${i}` : String(600_000_000 + i),
      );
      const stdin = `${lines.join('\r\n')}\r\n`;
      const { code, stdout, stderr } = await cli(['tokenize', '--domain', 'account'], { stdin });
      expect(code).toBe(1);
      const tokens = stdout.split('\n');
      expect(tokens).toHaveLength(2_501);
      expect(tokens.flatMap((token, i) => (token === '' ? [i] : []))).toEqual([
        ...[7, 507, 1_007, 1_507, 2_007, 2_500],
      ]);
      expect(stderr).toBe(
        `${[8, 508, 1_008, 1_508, 2_008].map((n) => `line ${n}: VALUE_MALFORMED\n`).join('')}2500 items, 5 failed\n`,
      );
      // Equal to one by one.
      const some = [0, 1_499, 2_499];
      const alone = await done(['tokenize', '--domain', 'account', ...some.map((i) => lines[i]!)]);
      expect(alone).toBe(some.map((i) => `${tokens[i]}\n`).join(''));
    });

    test('--json: one object a line, failures in their places', async () => {
      const args = ['tokenize', '--domain', 'ssn', '--json', '529-31-0047', 'kanarie', ''];
      const { code, stdout, stderr } = await cli(args);
      expect(code).toBe(1);
      expect(
        stdout
          .trim()
          .split('\n')
          .map((line) => JSON.parse(line)),
      ).toEqual([
        { line: 1, output: expect.stringMatching(/^9/) },
        { line: 2, reason: 'VALUE_MALFORMED', retryable: false },
        { line: 3, reason: 'VALUE_EMPTY', retryable: false },
      ]);
      expect(JSON.parse(stderr)).toEqual({ items: 3, failed: 2, empty: 0 });
      expect(stdout + stderr).not.toContain('kanarie');
    });

    test('a call that is refused: exit code 1, the reason, no value', async () => {
      const args = ['detokenize', '--domain', 'ssn', '--purpose', 'HLEGAL', 'kanarie'];
      const { code, stdout, stderr } = await cli(args);
      expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
      expect(stderr).toBe('lockstep: ACCESS_DENIED: policy does not permit this\n');
      const { code: usage } = await cli(['detokenize', '--domain', 'ssn', 'kanarie']);
      expect(usage).toBe(2);
    });
  });

  test('a CSV column of 25,000 rows there and back', async () => {
    const rows = Array.from({ length: 25_000 }, (_, i) => {
      const account = i % 5_000 === 4_999 ? 'kanarie' : String(700_000_000 + i);
      return [String(i), `"Müller, ""Zoë"" ${i}"`, i % 1_000 === 3 ? '' : account];
    });
    const head = 'id,name,account\n';
    const input = join(folder.path, 'in.csv');
    writeFileSync(input, head + rows.map((row) => `${row.join(',')}\n`).join(''));
    const tokens = join(folder.path, 'tokens.csv');
    const columns = ['--domain', 'account', '--column', 'account'];
    const there = await cli(['tokenize', ...columns, '--csv', input, '--out', tokens]);
    expect(there).toMatchObject({ code: 1, stdout: '' });
    const failed = [5_001, 10_001, 15_001, 20_001, 25_001];
    expect(there.stderr).toBe(
      `${failed.map((n) => `line ${n}: VALUE_MALFORMED\n`).join('')}25000 items, 5 failed, 25 empty\n`,
    );
    const made = readFileSync(tokens, 'utf8');
    expect(made).not.toContain('kanarie');
    const cells = made.split('\n').map((line) => line.split(','));
    for (const [i, [id, name = '', account = '']] of rows.entries()) {
      const [gotId, ...rest] = cells[i + 1]!;
      expect([gotId, rest.slice(0, -1).join(',')]).toEqual([id, name]);
      expect(rest.at(-1)).toMatch(/^\d{9}$/.test(account) ? /^\d{9}$/ : /^$/);
      if (account !== '') expect(rest.at(-1)).not.toBe(account);
    }
    // A grant, since a day's reveals are 10,000.
    const grant = ['grant', 'bulk', '--dev-caller', 'officer', '--caller', 'dev:dev', '--json'];
    const given = await done([
      ...grant,
      ...['--domain', 'clinic/account', '--count', '30000', '--until', '1h'],
    ]);
    expect(JSON.parse(given)).toMatchObject({ domain: 'clinic/account', count: 30_000 });
    const reveal = ['detokenize', '--purpose', 'TREAT', '--view', 'plain', '--csv', '-'];
    const back = await cli([...reveal, ...columns], { stdin: made });
    const wanted = rows.map((row) => `${row.join(',').replace('kanarie', '')}\n`).join('');
    expect(back).toEqual({
      code: 0,
      stdout: head + wanted,
      stderr: '25000 items, 0 failed, 30 empty\n',
    });
  });

  test('domain create, list, show, disable', async () => {
    const officer = ['--dev-caller', 'officer'];
    const spec = ['--kind', 'fpe', '--format', 'digits:10', '--display-name', 'Loyalty cards'];
    const created = await json(['domain', 'create', 'clinic/cards', ...spec, ...officer]);
    expect(created).toMatchObject({ id: 'clinic/cards', kind: 'fpe', disabled: false });
    expect(await json(['domain', 'show', 'cards', ...officer])).toEqual(created);
    const listed = (await json(['domain', 'list', ...officer])) as { domains: { id: string }[] };
    expect(listed.domains.map(({ id }) => id)).toContain('clinic/cards');
    expect(await done(['domain', 'list', ...officer])).toMatch(/^clinic\/cards +fpe +digits:10 /m);
    const again = await cli(['domain', 'create', 'clinic/cards', ...spec, ...officer]);
    expect(again).toMatchObject({ code: 1, stderr: expect.stringContaining('RESOURCE_EXISTS') });
    const value = ['tokenize', '--domain', 'cards', '1234567890'];
    const token = await done(value);
    await done(['domain', 'disable', 'clinic/cards', ...officer]);
    expect((await cli(value)).stderr).toMatch(/^lockstep: DOMAIN_DISABLED: /);
    await done(['domain', 'disable', 'clinic/cards', '--undo', ...officer]);
    expect(await done(value)).toBe(token);
    const small = ['domain', 'create', 'clinic/zip', '--kind', 'fpe', '--format', 'digits:5'];
    expect((await cli([...small, ...officer])).stderr).toMatch(/^lockstep: FORMAT_TOO_SMALL: /);
    const denied = await cli(['domain', 'create', 'clinic/mine', ...spec, '--dev-caller', 'ehr']);
    expect(denied.stderr).toMatch(/^lockstep: ACCESS_DENIED: /);
  });

  test('format test', async () => {
    const args = ['format', 'test', 'npi', '1234567893', '1234567890'];
    const { code, stdout } = await cli([...args, '--json']);
    expect(code).toBe(1);
    const report = JSON.parse(stdout) as { values: { verdict: string }[]; size: string };
    expect(report.values.map(({ verdict }) => verdict)).toEqual(['VALID', 'VALUE_CHECK_FAILED']);
    expect(report.size).toBe('200000000');
    expect(await done(['format', 'test', 'ssn'])).toMatch(/^members +[\d,]+ /m);
    expect((await cli(['format', 'test', 'nosuch'])).code).toBe(1);
  });

  test('config check and print, keys list', async () => {
    expect(await done(['config', 'check'])).toMatch(/lockstep\.toml: good\n$/);
    expect(await json(['config', 'check'])).toMatchObject({ ok: true, faults: [] });
    const printed = await done(['config', 'print']);
    expect(printed).toMatch(/^server\.address +"127\.0\.0\.1:0" +file$/m);
    expect(printed).not.toContain(readFileSync(join(folder.path, 'softhsm/pin'), 'utf8').trim());
    const { objects, faults } = (await json(['keys', 'list'])) as {
      objects: { label: string }[];
      faults: unknown[];
    };
    expect(faults).toEqual([]);
    const labels = objects.map(({ label }) => label.replace(/^lockstep\.head\..*/, 'head'));
    // The head tells a rollback of vault and log.
    expect(new Set(labels)).toEqual(
      new Set(['lockstep.root.v1', 'lockstep.checkpoint.v1', 'head']),
    );
    expect(await done(['keys', 'list'])).toMatch(/^lockstep\.root\.v1 /m);
  });

  test('log verify: the log is whole; a changed leaf is named', async () => {
    expect(await done(['log', 'verify'])).toMatch(/^verdict +whole$/m);
    const verifier = (await done(['log', 'key'])).trim();
    const copy = join(folder.path, 'copy');
    cpSync(join(folder.path, 'data/log'), copy, { recursive: true });
    const there = ['log', 'verify', '--folder', copy, '--verifier', verifier];
    expect(await json(there)).toMatchObject({ ok: true, findings: [] });
    // The name of its domain, in the leaf that made the fourth one.
    const place = flipIn(join(copy, 'journal'), 'clinic/npi');
    const { code, stdout, stderr } = await cli([...there, '--json']);
    expect({ code, stderr }).toEqual({ code: 1, stderr: '' });
    expect(JSON.parse(stdout)).toMatchObject({ ok: false, firstBadIndex: 3 });
    expect((await cli(there)).stderr).toMatch(/^leaf 3: /m);
    expect(place).toBeGreaterThan(0);
  });

  test('--help of each', async () => {
    // In this process: two dozen starts of another one show nothing more.
    const commands = [
      ...['', 'init', 'serve', 'tokenize', 'detokenize', 'exchange', 'inspect', 'domain'],
      ...['domain create', 'domain list', 'domain show', 'domain disable', 'format'],
      ...['format test', 'grant', 'grant bulk', 'keys', 'keys init', 'keys list', 'log'],
      ...['log verify', 'log key', 'config', 'config check', 'config print'],
    ];
    for (const command of commands) {
      const args = command.split(' ').filter((word) => word !== '');
      const { code, out: help, err } = await inProcess([...args, '--help']);
      expect([code, err]).toEqual([0, '']);
      expect(help).toMatch(new RegExp(`^Usage: lockstep ${command}`.trimEnd()));
      const group = args.length < 2 && /\nCommands:\n/.test(help);
      expect(/--json/.test(help), command).toBe(!group);
    }
    expect((await inProcess(['no-such-command'])).code).toBe(2);
  });
});

/** Changes one byte at the first place of a text in the segments of a journal; its offset. */
function flipIn(journal: string, text: string): number {
  for (const name of readdirSync(journal).sort()) {
    const file = join(journal, name);
    const bytes = readFileSync(file);
    const at = bytes.indexOf(text);
    if (at < 0) continue;
    bytes[at] = bytes[at]! ^ 1;
    writeFileSync(file, bytes);
    return at;
  }
  throw new Error('the journal does not have that text');
}
