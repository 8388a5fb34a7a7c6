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
const PATIENTS = ['--domain', 'patients', '--purpose', 'HOPERAT'];
/** Of patients P-1, P-1 and P-2, bound to them. */
const VALUES = ['529310047', '231846605', '622003001'];
let tokens: [string, string, string];

const reveal = (domain: string, token: string, subject: string): Promise<Ended> =>
  cli([
    ...['detokenize', '--domain', domain, '--purpose', 'TREAT', '--view', 'plain'],
    ...['--subject', subject, token],
  ]);
const lines = (text: string): string[] => text.trim().split('\n');

run('the vault from the command line', () => {
  beforeAll(async () => {
    folder = temporaryFolder();
    server = await startDevServer(folder.path);
    for (const id of ['clinic/legacy', 'clinic/patients']) {
      await done(['domain', 'create', id, '--kind', 'static', '--format', 'digits:9']);
    }
    const file = join(folder.path, 'patients.csv');
    const rows = VALUES.map((value, i) => `P-${i < 2 ? 1 : 2},${value}\n`);
    writeFileSync(file, `patient,mrn\n${rows.join('')}`);
    const columns = ['--csv', file, '--column', 'mrn', '--subject-column', 'patient'];
    const made = lines(await done(['tokenize', '--domain', 'patients', ...columns]));
    const [, first, second, third] = made.map((row) => row.split(',')[1]!);
    tokens = [first!, second!, third!];
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
    expect((await reveal('legacy', '900000002', 'P-1')).stdout).toBe('231846605\n');
  });

  test('and exported, but for what was erased, which is never taken in again', async () => {
    const exported = async (): Promise<string[]> =>
      lines(await done(['export', ...LEGACY])).toSorted();
    const all = ['231846605,900000002', '529310047,900000001', '622003001,900000003'];
    expect(await exported()).toEqual([...all, 'value,token']);
    await done(['erase', ...LEGACY, '--token', '900000003', '--yes']);
    expect(await exported()).toEqual([...all.slice(0, 2), 'value,token']);
    const stdin = 'value,token,patient\n622003001,900000003,P-2\n';
    const again = await cli(['import', ...LEGACY, '--subject-column', 'patient', '-'], { stdin });
    expect(again.stderr).toBe('row 1 (line 2): TOKEN_TAKEN\n1 pairs, 1 failed\n');
    await done(['erase', ...LEGACY, '--token', '900000001', '--token', '900000002', '--yes']);
  });

  test('a token that is stopped reveals nothing until it is allowed again', async () => {
    const [, , token] = tokens;
    const restrict = ['restrict', ...PATIENTS, '--token', token];
    expect(await done(restrict)).toMatch(/^1 token stopped; leaf \d+\n$/);
    expect(await done(['inspect', '--domain', 'patients', token])).toBe('restricted\n');
    const stopped = await reveal('patients', token, 'P-2');
    expect(stopped.stderr).toContain('line 1: TOKEN_RESTRICTED\n');
    await done([...restrict, '--lift']);
    expect((await reveal('patients', token, 'P-2')).stdout).toBe('622003001\n');
  });

  test('a patient of two ids is one, until that is taken back', async () => {
    const listed = async (subject: string): Promise<string[]> => {
      const ask = ['subject', 'tokens', subject, '--purpose', 'PATRQT', '--domain', 'patients'];
      return lines(await done([...ask, '--json']))
        .map((row) => (JSON.parse(row) as { token: string }).token)
        .toSorted();
    };
    const [first, second, third] = tokens;
    expect(await listed('P-1')).toEqual([first, second].toSorted());
    const merged = await json(['subject', 'merge', 'P-1', 'P-2', '--note', 'A40']);
    expect(merged).toMatchObject({ moved: 1 });
    expect(await listed('P-1')).toEqual([first, second, third].toSorted());
    expect((await reveal('patients', third, 'P-1')).stdout).toBe('622003001\n');
    await done(['subject', 'unmerge', (merged as { merge: string }).merge]);
    expect(await listed('P-1')).toEqual([first, second].toSorted());
  });

  test('an erased patient is gone, with certificates that stand without the server', async () => {
    const certificate = join(folder.path, 'first.note');
    const erase = ['erase', '--subject', 'P-1', '--purpose', 'PATRQT', '--yes'];
    const told = (await json([...erase, '--certificate', certificate])) as { leaves: [number] };
    expect(told).toMatchObject({ tokens: 2, failed: 0, certificates: [certificate] });
    const gone = await reveal('patients', tokens[0], 'P-1');
    expect(gone.stderr).toContain('line 1: TOKEN_NOT_FOUND\n');
    expect((await reveal('patients', tokens[2], 'P-2')).stdout).toBe('622003001\n');

    const key = (await done(['log', 'key'])).trim();
    const verify = (file: string): Promise<unknown> =>
      json(['erasure', 'verify', file, '--verifier', key]);
    const first = (await verify(certificate)) as { stage: unknown };
    await done(['vault', 'compact']);
    const second = join(folder.path, 'second.note');
    const shown = await json(['erasure', 'show', String(told.leaves[0]), '--out', second]);
    expect(shown).toEqual({ leafIndex: told.leaves[0], compacted: true, file: second });
    const after = (await verify(second)) as { stage: unknown };
    expect(after.stage).not.toEqual(first.stage);
    writeFileSync(second, readFileSync(second, 'utf8').replace('PATRQT', 'TREAT'));
    expect((await cli(['erasure', 'verify', second, '--verifier', key])).code).toBe(1);
  });

  test('rules end a token, and inspect shows them', async () => {
    const made = await done([
      'tokenize',
      '--domain',
      'patients',
      '--reveals-max',
      '1',
      '123456789',
    ]);
    const token = made.trim();
    const show = ['inspect', '--domain', 'patients', '--details', token];
    expect(await done(show)).toMatch(/^live\tmade \S+\t0 of 1 reveals\n$/);
    expect((await reveal('patients', token, '')).stdout).toBe('123456789\n');
    const ended = await reveal('patients', token, '');
    expect(ended.stderr).toContain('line 1: TOKEN_ENDED\n');
    expect(await done(show)).toMatch(/^ended\tmade \S+\t1 of 1 reveals\n$/);
  });

  test('an officer sees the vault and its jobs', async () => {
    const officer = ['--dev-caller', 'officer'];
    const vault = await json(['vault', 'status', ...officer]);
    expect(vault).toMatchObject({ state: 'serving', liveTokens: 2 });
    const check = await json(['vault', 'check', '--deep', ...officer]);
    expect(check).toMatchObject({ kind: 'check', state: 'done', result: { faults: '0' } });
    const { jobs } = (await json(['job', 'list', ...officer])) as { jobs: { kind: string }[] };
    expect(jobs.map(({ kind }) => kind)).toEqual(['check', 'compaction']);
    const refused = await cli(['vault', 'status', '--dev-caller', 'clinician']);
    expect([refused.code, refused.stdout]).toEqual([1, '']);
    expect(refused.stderr).toContain('ACCESS_DENIED');
  });

  test('a value of a dynamic domain has several tokens, and they are listed', async () => {
    const many = ['tokenize-multiple', '--domain', 'visit', '--purpose', 'TREAT'];
    const made = (await done([...many, '--count', '3', '123456789'])).trim().split('\t');
    expect(new Set(made).size).toBe(3);
    const again = (await done([...many, '--count', '0', '123456789'])).trim().split('\t');
    expect(again).toEqual(made);
  });
});
