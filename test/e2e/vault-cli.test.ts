import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
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

/** Its stdout, where it did all of it. */
async function done(args: readonly string[], options: RunOptions = {}): Promise<string> {
  const { code, stdout, stderr } = await cli(args, options);
  expect(code, `${args.join(' ')}: ${stdout}${stderr}`).toBe(0);
  return stdout;
}

const json = async (args: readonly string[]): Promise<unknown> =>
  JSON.parse(await done([...args, '--json']));

const LEGACY = ['--domain', 'legacy', '--purpose', 'HOPERAT'];
const reveal = (token: string, subject: string): Promise<Ended> =>
  cli(
    ['detokenize', '--domain', 'legacy', '--purpose', 'TREAT', '--view', 'plain'].concat([
      ...['--subject', subject, token],
    ]),
  );

/** Each test goes on where the one before ended: one patient's year. */
run('the vault from the command line', () => {
  beforeAll(async () => {
    folder = temporaryFolder();
    server = await startDevServer(folder.path);
    await done(['domain', 'create', 'clinic/legacy', '--kind', 'static', '--format', 'digits:9']);
  });
  afterAll(async () => {
    expect(await server.stop()).toBe(0);
    folder.remove();
  });

  test('pairs of gPAS are imported and keep their tokens; collisions are told by row', async () => {
    const file = join(folder.path, 'gpas.csv');
    const rows = ['529310047;900000001;P-1', '231846605;900000002;P-1', '622003001;900000003;P-2'];
    writeFileSync(file, `Originalwert;Pseudonym;Patient\n${rows.join('\n')}\n`);
    const load = ['import', ...LEGACY, '--from', 'gpas', '--subject-column', 'Patient', file];
    expect((await cli(load)).stderr).toBe('3 pairs, 0 failed\n');
    // Again is no error: an import that broke is simply repeated.
    expect((await cli(load)).stderr).toBe('3 pairs, 0 failed\n');
    writeFileSync(file, 'Originalwert;Pseudonym;Patient\n777003002;900000001;P-9\n');
    const taken = await cli(load);
    expect([taken.code, taken.stderr]).toEqual([
      1,
      'row 1 (line 2): TOKEN_TAKEN\n1 pairs, 1 failed\n',
    ]);
    expect((await reveal('900000002', 'P-1')).stdout).toBe('231846605\n');
  });

  test('and exported', async () => {
    const out = await done(['export', ...LEGACY]);
    const [names, ...rows] = out.trim().split('\n');
    expect(names).toBe('value,token');
    expect(rows.toSorted()).toEqual([
      '231846605,900000002',
      '529310047,900000001',
      '622003001,900000003',
    ]);
  });

  test('a token that is stopped reveals nothing until it is allowed again', async () => {
    const restrict = ['restrict', ...LEGACY, '--token', '900000003'];
    expect(await done(restrict)).toMatch(/^1 token stopped; leaf \d+\n$/);
    expect(await done(['inspect', '--domain', 'legacy', '900000003'])).toBe('restricted\n');
    expect((await reveal('900000003', 'P-2')).stderr).toContain('line 1: TOKEN_RESTRICTED\n');
    await done([...restrict, '--lift']);
    expect((await reveal('900000003', 'P-2')).stdout).toBe('622003001\n');
  });

  test('a patient of two ids is one, until that is taken back', async () => {
    const tokens = async (subject: string): Promise<string[]> => {
      const out = await done(['subject', 'tokens', subject, '--purpose', 'PATRQT', '--json']);
      const rows = out.split('\n').filter((line) => line !== '');
      return rows.map((row) => (JSON.parse(row) as { token: string }).token).toSorted();
    };
    expect(await tokens('P-1')).toEqual(['900000001', '900000002']);
    const { merge, moved } = (await json(['subject', 'merge', 'P-1', 'P-2'])) as {
      merge: string;
      moved: number;
    };
    expect(moved).toBe(1);
    expect(await tokens('P-1')).toEqual(['900000001', '900000002', '900000003']);
    await done(['subject', 'unmerge', merge]);
    expect(await tokens('P-1')).toEqual(['900000001', '900000002']);
  });

  test('an erased patient is gone, with certificates that stand without the server', async () => {
    const certificate = join(folder.path, 'first.note');
    const erase = ['erase', '--subject', 'P-1', '--purpose', 'PATRQT', '--yes'];
    const told = (await json([...erase, '--certificate', certificate])) as {
      tokens: number;
      leaves: [number];
    };
    expect(told).toMatchObject({ tokens: 2, failed: 0, certificates: [certificate] });
    expect((await reveal('900000001', 'P-1')).stderr).toContain('line 1: TOKEN_NOT_FOUND\n');
    expect((await done(['export', ...LEGACY])).trim().split('\n')).toHaveLength(2);
    // What was erased is never taken in again.
    const again = await cli(['import', ...LEGACY, '-'], {
      stdin: 'value,token\n529310047,900000001\n',
    });
    expect(again.stderr).toBe('row 1 (line 2): TOKEN_TAKEN\n1 pairs, 1 failed\n');

    const key = (await done(['log', 'key'])).trim();
    const verify = (file: string): Promise<unknown> =>
      json(['erasure', 'verify', file, '--verifier', key]);
    const first = await verify(certificate);
    await done(['vault', 'compact']);
    const second = join(folder.path, 'second.note');
    const shown = await json(['erasure', 'show', String(told.leaves[0]), '--out', second]);
    expect(shown).toEqual({ leafIndex: told.leaves[0], compacted: true, file: second });
    const after = await verify(second);
    expect((first as { stage: unknown }).stage).not.toEqual((after as { stage: unknown }).stage);
    writeFileSync(second, readFileSync(second, 'utf8').replace('PATRQT', 'TREAT'));
    expect((await cli(['erasure', 'verify', second, '--verifier', key])).code).toBe(1);
  });

  test('rules end a token, and inspect shows them', async () => {
    const made = await done(['tokenize', '--domain', 'legacy', '--reveals-max', '1', '123456789']);
    const token = made.trim();
    const show = ['inspect', '--domain', 'legacy', '--details', token];
    expect(await done(show)).toMatch(/^live\tmade \S+\t0 of 1 reveals\n$/);
    expect((await reveal(token, '')).stdout).toBe('123456789\n');
    expect((await reveal(token, '')).stderr).toContain('line 1: TOKEN_ENDED\n');
    expect(await done(show)).toMatch(/^ended\tmade \S+\t1 of 1 reveals\n$/);
  });

  test('a value of a dynamic domain has several tokens, and they are listed', async () => {
    const many = ['tokenize-multiple', '--domain', 'visit', '--purpose', 'TREAT'];
    const made = (await done([...many, '--count', '3', '123456789'])).trim().split('\t');
    expect(new Set(made).size).toBe(3);
    const listed = (await done([...many, '--count', '0', '123456789'])).trim().split('\t');
    expect(listed).toEqual(made);
  });

  test('an officer sees the vault and its jobs', async () => {
    const officer = ['--dev-caller', 'officer'];
    expect(await json(['vault', 'status', ...officer])).toMatchObject({
      state: 'serving',
      liveTokens: 5,
    });
    const check = await json(['vault', 'check', '--deep', ...officer]);
    expect(check).toMatchObject({ kind: 'check', state: 'done', result: { faults: '0' } });
    const { jobs } = (await json(['job', 'list', ...officer])) as { jobs: { kind: string }[] };
    expect(jobs.map(({ kind }) => kind)).toEqual(['check', 'compaction']);
    const refused = await cli(['vault', 'status', '--dev-caller', 'clinician']);
    expect([refused.code, refused.stdout]).toEqual([1, '']);
    expect(refused.stderr).toContain('ACCESS_DENIED');
  });
});
