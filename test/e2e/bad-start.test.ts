import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { softHsmLibrary } from '../softhsm.ts';
import { Installation } from './installation.ts';
import {
  cleanEnv,
  type Ended,
  lockstep,
  type ServerProcess,
  startServer,
  temporaryFolder,
} from './processes.ts';

const library = softHsmLibrary();
const run = library === undefined ? describe.skip : describe;
const SPY = ['/usr/lib/x86_64-linux-gnu/pkcs11-spy.so', '/usr/lib/pkcs11-spy.so'].find(existsSync);
if (SPY === undefined) console.warn('no pkcs11-spy.so (opensc-pkcs11): log-ins are not counted');
const spied = SPY === undefined ? test.skip : test;
const WRONG_PIN = 'wrong-pin-9157';

let installation: Installation;

/** Every file of a folder with its size and time, so that a start that fails is seen to write
 *  nothing. */
function filesOf(folder: string): string[] {
  const names = readdirSync(folder, { recursive: true, encoding: 'utf8' }).sort();
  return names.map((name) => {
    const { size, mtimeMs, ino } = statSync(join(folder, name));
    return `${name} ${size} ${mtimeMs} ${ino}`;
  });
}

/** A start that is refused: exit code 1, one line, no stack, no secret. */
function expectRefusal({ code, stdout, stderr }: Ended, text: RegExp): void {
  expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
  expect(stderr).toMatch(text);
  const ours = stderr.split('\n').filter((line) => line !== '' && !line.startsWith('{'));
  expect(ours).toHaveLength(1);
  expect(ours[0]).toMatch(/^lockstep: /);
  expect(stderr).not.toMatch(/\n\s+at |node:internal|\.ts:|internal fault/);
  expect(stderr).not.toContain(installation.pin());
  expect(stderr).not.toContain(WRONG_PIN);
}

run('a server that must not start', () => {
  beforeAll(async () => {
    installation = new Installation(library!);
    await installation.make();
  });
  afterAll(() => installation.remove());

  /** `lockstep serve` with these settings is refused and leaves the data folder as it was. */
  async function refused(env: Record<string, string>, text: RegExp): Promise<void> {
    const before = filesOf(installation.data);
    const ended = await installation.run(['serve'], { env: installation.env(env) });
    expectRefusal(ended, text);
    expect(filesOf(installation.data)).toEqual(before);
  }

  test('starts as it is, and stops: the control', async () => {
    const server = await installation.serve();
    expect(await server.stop()).toBe(0);
  });

  describe('module absent', () => {
    test('no such file', () =>
      refused({ LOCKSTEP_MODULE_LIBRARY: '/no/such/module.so' }, /module/i));

    test('a file that is no module', () => {
      const file = join(installation.folder, 'text.so');
      writeFileSync(file, 'no module');
      return refused({ LOCKSTEP_MODULE_LIBRARY: file }, /module/i);
    });

    test('a library that is not PKCS#11', () =>
      refused({ LOCKSTEP_MODULE_LIBRARY: '/lib/x86_64-linux-gnu/libc.so.6' }, /module/i));

    test('a token that the module does not have', () =>
      refused({ LOCKSTEP_MODULE_TOKEN: 'another' }, /CKR_TOKEN_NOT_PRESENT/));

    test('a checkpoint key that the token does not have', () =>
      refused({ LOCKSTEP_LOG_CHECKPOINT: 'another.checkpoint.v1' }, /CKR_|checkpoint/i));

    test('in development too, and the folder stays free of half an installation', async () => {
      const { path, remove } = temporaryFolder();
      const env = cleanEnv({ LOCKSTEP_PKCS11_MODULE: '/no/such/module.so' });
      const folder = join(path, 'dev');
      const args = ['serve', '--dev', '--folder', folder, '--address', '127.0.0.1:0'];
      expectRefusal(await lockstep(args, { env }), /module/i);
      expect(existsSync(join(folder, 'data'))).toBe(false);
      remove();
    });
  });

  describe('the PIN', () => {
    const pinFile = (): string => {
      const file = join(installation.folder, 'wrong-pin');
      writeFileSync(file, `${WRONG_PIN}\n`, { mode: 0o600 });
      return file;
    };

    test('wrong: refused', () =>
      refused({ LOCKSTEP_MODULE_PIN_SOURCE: pinFile() }, /CKR_PIN_INCORRECT/));

    test('no file: refused', () => refused({ LOCKSTEP_MODULE_PIN_SOURCE: '/no/such/pin' }, /pin/i));

    const logIns = async (pinSource: string | undefined): Promise<string[]> => {
      const output = join(installation.folder, `spy-${Date.now()}`);
      const env = {
        LOCKSTEP_MODULE_LIBRARY: SPY!,
        PKCS11SPY: library!,
        PKCS11SPY_OUTPUT: output,
        ...(pinSource === undefined ? {} : { LOCKSTEP_MODULE_PIN_SOURCE: pinSource }),
      };
      if (pinSource === undefined) {
        const server = await installation.serve(env);
        await server.stop();
      } else {
        await refused(env, /CKR_PIN_INCORRECT/);
      }
      const calls = readFileSync(output, 'latin1').split(/^\d+: /m);
      return calls
        .filter((call) => call.startsWith('C_Login\n'))
        .map((call) => /Returned: +\d+ +(\S+)/.exec(call)?.[1] ?? '');
    };

    spied('wrong: tried once, since a module locks after a few', async () => {
      expect(await logIns(undefined)).toEqual(['CKR_OK']);
      expect(await logIns(pinFile())).toEqual(['CKR_PIN_INCORRECT']);
    });
  });

  describe('vault in use', () => {
    let server: ServerProcess;
    beforeAll(async () => {
      server = await installation.serve();
    });
    afterAll(async () => {
      expect(await server.stop()).toBe(0);
    });

    test('a second server is refused, and the first one serves on', async () => {
      const ended = await installation.run(['serve']);
      expectRefusal(ended, /another process has it/);
      expect(server.alive()).toBe(true);
      const ready = await fetch(`http://${server.admin}/readyz`);
      expect(ready.status).toBe(200);
    });

    test('so is a second `init`, in use or not', async () => {
      expectRefusal(await installation.run(['init']), /./);
    });
  });

  test('an empty data folder: never taken for a new installation', async () => {
    const folder = join(installation.folder, 'empty');
    const env = installation.env({ LOCKSTEP_DATA_FOLDER: folder });
    expectRefusal(await installation.run(['serve'], { env }), /no installation/);
    expect(existsSync(folder)).toBe(false);
  });

  test('the address is taken', async () => {
    const server = await installation.serve();
    const { path, remove } = temporaryFolder();
    const env = installation.env({
      LOCKSTEP_SERVER_ADDRESS: server.address,
      LOCKSTEP_DATA_FOLDER: join(path, 'data'),
    });
    expect((await installation.run(['init'], { env })).code).toBe(0);
    expectRefusal(await installation.run(['serve'], { env }), /the address is in use/);
    expect(await server.stop()).toBe(0);
    remove();
  });

  test('a first start of --dev that was ended half-way is made whole by the next', async () => {
    const server = await installation.serve();
    const { path, remove } = temporaryFolder();
    const dev = ['--dev', '--folder', path, '--admin-address', '127.0.0.1:0', '--address'];
    expectRefusal(await lockstep(['serve', ...dev, server.address]), /the address is in use/);
    expect(await server.stop()).toBe(0);
    const second = await startServer([...dev, '127.0.0.1:0']);
    const listed = await lockstep(['domain', 'list', '--json', '--address', second.address]);
    expect((JSON.parse(listed.stdout) as { domains: unknown[] }).domains.length).toBe(12);
    expect(await second.stop()).toBe(0);
    remove();
  });
});
