import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Connection, connect } from '../../src/rpc/client.ts';

const MAIN = join(import.meta.dirname, '../../src/main.ts');
const START_MS = 20_000;
const STOP_MS = 25_000;
const RUN_MS = 25_000;

/** What still runs when the tests end, however they do, ends with them. */
const running = new Set<ChildProcess>();
process.once('exit', () => {
  for (const child of running) child.kill('SIGKILL');
});

function track<Child extends ChildProcess>(child: Child): Child {
  running.add(child);
  child.once('close', () => running.delete(child));
  return child;
}

/** A fresh folder that `remove` takes away again. */
export interface TemporaryFolder {
  readonly path: string;
  remove(): void;
}

export function temporaryFolder(): TemporaryFolder {
  const path = mkdtempSync(join(tmpdir(), 'lockstep-e2e-'));
  const remove = (): void => rmSync(path, { recursive: true, force: true, maxRetries: 5 });
  return { path, remove };
}

/** Half of a short command's time is reading its sources; with a cache it is a third less. */
const COMPILED = join(import.meta.dirname, '../../node_modules/.cache/lockstep-e2e');

/** Environment without the settings of whoever runs the tests; the module's path stays. */
export function cleanEnv(extra: Readonly<Record<string, string>> = {}): NodeJS.ProcessEnv {
  const kept = Object.entries(process.env).filter(
    ([name]) => !name.startsWith('LOCKSTEP_') || name === 'LOCKSTEP_PKCS11_MODULE',
  );
  return { ...Object.fromEntries(kept), NODE_COMPILE_CACHE: COMPILED, ...extra };
}

export interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  readonly env?: NodeJS.ProcessEnv;
  readonly cwd?: string;
  /** Written to stdin, which then ends. */
  readonly stdin?: string | Uint8Array;
}

/** Any program to its end; one that takes too long is killed, and its code is null. */
export function runProgram(
  program: string,
  args: readonly string[],
  { env = cleanEnv(), cwd = tmpdir(), stdin = '' }: RunOptions = {},
): Promise<Ended> {
  const stdio = ['pipe', 'pipe', 'pipe'] as const;
  const limit = { timeout: RUN_MS, killSignal: 'SIGKILL' } as const;
  const child = track(spawn(program, args, { env, cwd, stdio: [...stdio], ...limit }));
  const heard = listen(child);
  // Whoever does not read stdin closes it early.
  child.stdin.on('error', () => {});
  child.stdin.end(stdin);
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code) => resolve({ code, ...heard }));
  });
}

/** `lockstep …` in a process of its own. */
export const lockstep = (args: readonly string[], options: RunOptions = {}): Promise<Ended> =>
  runProgram(process.execPath, [MAIN, ...args], options);

function listen(child: ChildProcess): { stdout: string; stderr: string } {
  const heard = { stdout: '', stderr: '' };
  child.stdout?.setEncoding('utf8').on('data', (text: string) => {
    heard.stdout += text;
  });
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    heard.stderr += text;
  });
  return heard;
}

/** A server in a process of its own. */
export interface ServerProcess {
  readonly pid: number;
  readonly port: number;
  readonly address: string;
  /** Of metrics and health, `host:port`. */
  readonly admin: string;
  /** All it has written so far, to stdout and stderr. */
  output(): string;
  alive(): boolean;
  /** SIGTERM, and its exit code; rejects where it does not end in time. */
  stop(): Promise<number | null>;
  /** SIGKILL. */
  kill(): Promise<void>;
}

/** Starts `lockstep serve …` and waits until it says that it is ready. */
export async function startServer(
  args: readonly string[],
  env: NodeJS.ProcessEnv = cleanEnv(),
): Promise<ServerProcess> {
  const stdio = ['ignore', 'pipe', 'pipe'] as const;
  const options = { env, cwd: tmpdir(), stdio: [...stdio] };
  const child = track(spawn(process.execPath, [MAIN, 'serve', ...args, '--json'], options));
  const heard = listen(child);
  const output = (): string => heard.stdout + heard.stderr;
  const ended = new Promise<number | null>((resolve) => child.once('close', resolve));
  const { port, admin } = await readiness(child, heard);
  const limited = (): Promise<number | null> => within(STOP_MS, ended, output);
  return {
    pid: child.pid!,
    port,
    address: `127.0.0.1:${port}`,
    admin,
    output,
    alive: () => child.exitCode === null && child.signalCode === null,
    stop() {
      child.kill('SIGTERM');
      return limited();
    },
    async kill() {
      child.kill('SIGKILL');
      await limited();
    },
  };
}

interface Ready {
  readonly ready: true;
  readonly port: number;
  readonly admin: string;
}

function readiness(child: ChildProcess, heard: { readonly stdout: string }): Promise<Ready> {
  return new Promise((resolve, reject) => {
    const fail = (why: string): void => {
      child.kill('SIGKILL');
      reject(new Error(`the server ${why}: ${JSON.stringify(heard)}`));
    };
    const late = setTimeout(() => fail('was not ready in time'), START_MS);
    child.once('exit', (code) => {
      clearTimeout(late);
      fail(`ended with ${code}`);
    });
    child.stdout?.on('data', () => {
      const line = heard.stdout.split('\n').find((each) => each.startsWith('{"ready":true'));
      if (line === undefined || !heard.stdout.endsWith('\n')) return;
      clearTimeout(late);
      child.removeAllListeners('exit');
      resolve(JSON.parse(line) as Ready);
    });
  });
}

async function within<T>(ms: number, work: Promise<T>, output: () => string): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`it did not end: ${output()}`)), ms);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** A development server on free ports of loopback, its installation in `folder`. */
export const startDevServer = (folder: string): Promise<ServerProcess> =>
  startServer([
    ...['--dev', '--folder', folder],
    ...['--address', '127.0.0.1:0', '--admin-address', '127.0.0.1:0'],
  ]);

/** A client of a development server, as one of its callers. */
export const devClient = (server: ServerProcess, caller = 'dev'): Connection =>
  connect({
    address: server.address,
    transport: 'plaintext',
    headers: { 'lockstep-dev-caller': caller },
  });

/** A gauge of the admin port that has one series. */
export async function metric(server: ServerProcess, name: string): Promise<number> {
  const text = await (await fetch(`http://${server.admin}/metrics`)).text();
  const match = new RegExp(`^${name}(?:\\{[^}]*\\})? (\\S+)`, 'm').exec(text);
  return Number(match?.[1] ?? Number.NaN);
}
