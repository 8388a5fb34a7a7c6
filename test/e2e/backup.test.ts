import { readdirSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { softHsmLibrary } from '../softhsm.ts';
import {
  cleanEnv,
  lockstep,
  type ServerProcess,
  startDevServer,
  type TemporaryFolder,
  temporaryFolder,
} from './processes.ts';

const run = softHsmLibrary() === undefined ? describe.skip : describe;

run('a night of an operator: back up, verify, drill, lose everything, restore', () => {
  let folder: TemporaryFolder;
  let server: ServerProcess;
  let recipient: string;
  const at = (...names: string[]): string => join(folder.path, ...names);
  const keys = (): string[] => ['--identity', at('identity')];

  async function answer(args: readonly string[]): Promise<string> {
    const env = cleanEnv({
      LOCKSTEP_ADDRESS: server.address,
      LOCKSTEP_CONFIG: at('lockstep.toml'),
      SOFTHSM2_CONF: at('softhsm/softhsm2.conf'),
    });
    const { code, stdout, stderr } = await lockstep(args, { env, cwd: folder.path });
    expect({ code, stderr }, args.join(' ')).toEqual({ code: 0, stderr: '' });
    return stdout;
  }
  const done = async (args: readonly string[]): Promise<unknown> =>
    JSON.parse(await answer([...args, '--json']));
  const tokenize = (...values: string[]): Promise<string> =>
    answer(['tokenize', '--domain', 'ssn', ...values]);

  beforeAll(async () => {
    folder = temporaryFolder();
    server = await startDevServer(folder.path);
  });
  afterAll(async () => {
    await server.stop();
    folder.remove();
  });

  test('all of it', async () => {
    const made = await tokenize('529-31-0047', '231-84-6605');
    const pair = await done(['backup', 'keygen', '--output', at('identity')]);
    recipient = (pair as { recipient: string }).recipient;
    const created = await done([
      ...['backup', 'create', '--file', 'night.age', '--recipient', recipient],
    ]);
    expect(created).toMatchObject({ file: 'night.age', records: '2' });
    expect(readdirSync(at('data', 'backups'))).toEqual(['night.age']);
    expect(await server.stop()).toBe(0);
    renameSync(at('data'), at('lost'));
    const backup = at('lost', 'backups', 'night.age');
    const verified = await done(['backup', 'verify', backup, ...keys()]);
    expect(verified).toMatchObject({ whole: true, records: { 'clinic/ssn': 2 } });
    const drilled = await done(['backup', 'drill', backup, ...keys(), '--folder', folder.path]);
    expect(drilled).toMatchObject({ good: true, faults: 0, domains: [{ sampled: 2, opened: 2 }] });
    const { signer } = verified as { signer: string };
    const log = ['--log', at('lost', 'log')];
    const restored = await done(['restore', backup, ...keys(), ...log, '--verifier', signer]);
    expect(restored).toMatchObject({ newSigner: false, folder: at('data') });
    server = await startDevServer(folder.path);
    expect(await tokenize('529-31-0047', '231-84-6605')).toEqual(made);
  });
});
