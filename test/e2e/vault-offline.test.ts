import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { softHsmLibrary } from '../softhsm.ts';
import { Installation } from './installation.ts';

const library = softHsmLibrary();

describe.skipIf(library === undefined)('an officer at the vault, offline', () => {
  let home: Installation;
  let older: string;
  let checkpoint: string;

  beforeAll(async () => {
    home = new Installation(library!);
    await home.make();
    older = join(home.folder, 'older');
    cpSync(home.data, older, { recursive: true });
    await serveOnce();
    checkpoint = join(home.folder, 'checkpoint');
    cpSync(join(home.data, 'log', 'checkpoint'), checkpoint);
  });
  afterAll(() => home.remove());

  async function serveOnce(): Promise<void> {
    const server = await home.serve();
    await server.stop();
  }

  /** What an operator reads who starts it; '' where it serves. */
  async function refusal(): Promise<string> {
    try {
      await serveOnce();
      return '';
    } catch (error) {
      return error instanceof Error ? error.message : String(error);
    }
  }

  test('nothing to do is done at once', async () => {
    for (const command of ['adopt', 'accept-rollback']) {
      const { code, stdout } = await home.run(['vault', command, '--note', 'as it is']);
      expect(code).toBe(0);
      expect(stdout).toMatch(/^nothing to do: /);
    }
    const json = await home.run(['vault', 'adopt', '--note', 'as it is', '--json']);
    expect(JSON.parse(json.stdout)).toEqual({ accepted: [] });
  });

  test('an older folder is refused until its rollback is accepted, with the reason', async () => {
    const newer = join(home.folder, 'newer');
    cpSync(home.data, newer, { recursive: true });
    rmSync(home.data, { recursive: true });
    mkdirSync(home.data, { mode: 0o700 });
    execFileSync('cp', ['-a', `${older}/.`, home.data]);
    // Put back by `cp`, it lies in another place too.
    expect(await refusal()).toContain('`lockstep vault adopt --note TEXT` adopts it');
    const adopt = await home.run(['vault', 'adopt', '--note', 'from the snapshot']);
    expect(adopt.code).toBe(1);
    expect(adopt.stderr).toMatch(/the vault is older than the module's head \(rollback\) by/);
    expect(adopt.stderr).toContain('`lockstep vault accept-rollback --note TEXT --moved`');
    const note = 'from the snapshot';
    const words = ['vault', 'accept-rollback', '--note', note, '--moved', '--json'];
    const { code, stdout } = await home.run(words);
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({
      accepted: [
        { verb: 'RollbackAccepted', leafIndex: 0, closed: [] },
        { verb: 'VaultAdopted', leafIndex: 1 },
      ],
    });
    expect(await refusal()).toBe('');
  });

  test('a checkpoint kept elsewhere is held against the log', async () => {
    const server = await home.run(['serve', '--checkpoint', join(home.folder, 'absent')]);
    expect(server).toMatchObject({ code: 1 });
    expect(server.stderr).toContain('cannot be read: ENOENT');
    const log = readFileSync(join(home.data, 'log', 'checkpoint'), 'utf8');
    writeFileSync(checkpoint, log.replace(/^(.*\n)\d+\n/, '$17\n'));
    const forged = await home.run(['serve', '--checkpoint', checkpoint]);
    expect(forged).toMatchObject({ code: 1 });
  });

  test('what is missing or too long is a usage error or a refusal', async () => {
    expect(await home.run(['vault', 'adopt'])).toMatchObject({ code: 2 });
    const long = await home.run(['vault', 'accept-rollback', '--note', 'x'.repeat(501)]);
    expect(long.code).toBe(1);
    expect(long.stderr).toContain('must be 1 to 500 bytes');
    const help = await home.run(['vault', 'accept-rollback', '--help']);
    expect(help.code).toBe(0);
    expect(help.stdout).toContain('--moved');
  });
});
