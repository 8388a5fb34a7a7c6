import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';

const SETUP = fileURLToPath(new URL('../../keys/setup.mjs', import.meta.url));

describe('keys/setup.mjs', () => {
  let root: string;
  let library: string;
  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), 'lockstep-setup-'));
    library = join(root, 'module.so');
    writeFileSync(library, '');
    mkdirSync(join(root, 'keys'));
    mkdirSync(join(root, 'bin'));
    copyFileSync(SETUP, join(root, 'keys/setup.mjs'));
    writeFileSync(join(root, 'package-lock.json'), '{"packages":{}}');
  });
  afterEach(() => rmSync(root, { recursive: true, force: true }));

  /** A checkout whose packages are there, as the script sees it. */
  function installed(): void {
    mkdirSync(join(root, 'node_modules/.bin'), { recursive: true });
    symlinkSync(process.execPath, join(root, 'node_modules/.bin/node'));
    const native = join(root, 'node_modules/pkcs11js/build/Release');
    mkdirSync(native, { recursive: true });
    writeFileSync(join(native, 'pkcs11.node'), '');
  }

  /** A program that notes its name and arguments in `calls` and exits with `code`. */
  function program(name: string, code: number): void {
    const path = join(root, 'bin', name);
    writeFileSync(path, `#!/bin/sh\necho "${name} $*" >> ${root}/calls\nexit ${code}\n`);
    chmodSync(path, 0o755);
  }

  const calls = (): string =>
    existsSync(join(root, 'calls')) ? readFileSync(join(root, 'calls'), 'utf8') : '';

  const environment = (changed: NodeJS.ProcessEnv = {}): NodeJS.ProcessEnv => ({
    PATH: join(root, 'bin'),
    LOCKSTEP_PKCS11_MODULE: library,
    ...changed,
  });

  const setup = (args: string[], env = environment()) =>
    spawnSync(process.execPath, [join(root, 'keys/setup.mjs'), ...args], { env, encoding: 'utf8' });

  test('with nothing to do it says nothing, runs the command and passes its exit code on', () => {
    installed();
    const script = 'console.log(process.argv[1], process.env.LOCKSTEP_PKCS11_MODULE)';
    const { stdout, stderr, status } = setup(['node', '-e', `${script};process.exit(7)`, 'a b']);
    expect(stdout).toBe(`a b ${library}\n`);
    expect(stderr).toBe('');
    expect(status).toBe(7);
  });

  test('the node of the command is the one of node_modules', () => {
    installed();
    program('node', 1);
    const { stdout } = setup(['node', '-p', '1 + 1']);
    expect(stdout).toBe('2\n');
    expect(calls()).toBe('');
  });

  test('a lockfile that changed is installed from again, one that did not is not', () => {
    installed();
    expect(setup(['node', '-v']).status).toBe(0);
    program('npm', 0);
    program('python3', 0);
    program('make', 0);
    program('c++', 0);
    expect(setup(['node', '-v']).stderr).toBe('');
    expect(calls()).toBe('');
    const more = { packages: { 'node_modules/new': { version: '1.0.0', integrity: 'x' } } };
    writeFileSync(join(root, 'package-lock.json'), JSON.stringify(more));
    const { status, stderr } = setup(['node', '-v']);
    expect(calls()).toMatch(/^npm install --no-save --include=dev/);
    expect(status).toBe(1); // This npm installed nothing.
    expect(stderr).toContain('npm installed something else than package-lock.json says');
  });

  test('a failed installation names the missing tools', () => {
    program('npm', 1);
    const { status, stderr } = setup(['node', '-v']);
    expect(status).toBe(1);
    expect(stderr).toContain('Missing on this machine: python3, make, g++');
  });

  test.skipIf(process.getuid?.() !== 0)('as root on Debian the missing tools are installed', () => {
    program('npm', 1);
    program('apt-get', 0);
    const { stderr } = setup(['node', '-v']);
    expect(calls().split('\n').slice(0, 3)).toEqual([
      'apt-get update',
      'apt-get install -y --no-install-recommends python3 make g++',
      expect.stringContaining('npm install'),
    ]);
    expect(stderr).toContain('setup: installing python3, make, g++ (apt-get)');
  });

  test('a module that is named and not there is an error, and so is no command', () => {
    installed();
    const env = environment({ LOCKSTEP_PKCS11_MODULE: join(root, 'none.so') });
    const absent = setup(['node', '-v'], env);
    expect([absent.status, absent.stderr]).toEqual([1, expect.stringContaining('none.so')]);
    const bare = setup([]);
    expect([bare.status, bare.stderr]).toEqual([1, expect.stringContaining('usage')]);
    const unknown = setup(['no-such-program']);
    expect([unknown.status, unknown.stderr]).toEqual([1, expect.stringContaining('ENOENT')]);
  });

  test('SIGTERM reaches the command, and its own ending is ours', async () => {
    installed();
    const script = `process.on('SIGTERM', () => process.exit(5)); console.log('ready');
      setInterval(() => {}, 1000)`;
    const polite = await started(['node', '-e', script]);
    polite.kill('SIGTERM');
    expect(await once(polite, 'exit')).toEqual([5, null]);
    const plain = await started([
      'node',
      '-e',
      "console.log('ready'); setInterval(() => {}, 1000)",
    ]);
    plain.kill('SIGTERM');
    expect(await once(plain, 'exit')).toEqual([null, 'SIGTERM']);
  });

  async function started(args: string[]): Promise<ChildProcess> {
    const path = join(root, 'keys/setup.mjs');
    const stdio = ['ignore', 'pipe', 'inherit'] as const;
    const child = spawn(process.execPath, [path, ...args], {
      env: environment(),
      stdio: [...stdio],
    });
    await once(child.stdout!, 'data');
    return child;
  }
});
