import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const STOP_MS = 20_000;

/** A process that said it is ready. */
export interface Running {
  readonly pid: number;
  /** The object of its first line on stdout. */
  readonly ready: Readonly<Record<string, unknown>>;
  /** Rejects where it ended by itself before. */
  stop(): Promise<void>;
}

/** One temporary folder and the processes of one bench. Whatever way the bench ends, short of a
 *  SIGKILL, they are gone afterwards. */
export class Scratch {
  readonly folder = mkdtempSync(join(tmpdir(), 'lockstep-bench-'));
  readonly #children = new Set<ChildProcess>();
  #count = 0;

  constructor() {
    process.once('exit', () => this.#clear());
    for (const [signal, code] of [
      ['SIGINT', 130],
      ['SIGTERM', 143],
      ['SIGHUP', 129],
    ] as const) {
      process.once(signal, () => process.exit(code));
    }
  }

  /** A path in the folder that nobody had before. */
  path(name: string): string {
    this.#count += 1;
    return join(this.folder, `${this.#count}-${name}`);
  }

  /** Starts a program and waits for its first line of JSON on stdout. */
  async start(program: string, args: readonly string[]): Promise<Running> {
    const child = this.#spawn(program, args);
    const line = await firstLine(child, program);
    child.stdout?.resume();
    const pid = child.pid!;
    return {
      pid,
      ready: JSON.parse(line) as Record<string, unknown>,
      stop: () => stopped(child, program),
    };
  }

  /** Runs a program to its end and answers its stdout. */
  async run(
    program: string,
    args: readonly string[],
    options: { readonly env?: NodeJS.ProcessEnv; readonly cwd?: string } = {},
  ): Promise<string> {
    const child = this.#spawn(program, args, options);
    const out: Buffer[] = [];
    const err: Buffer[] = [];
    child.stdout?.on('data', (chunk: Buffer) => out.push(chunk));
    child.stderr?.on('data', (chunk: Buffer) => err.push(chunk));
    const code = await ended(child);
    if (code !== 0) {
      const why = Buffer.concat(err).toString('utf8').slice(-2_000);
      throw new Error(`${program} ended with ${code}: ${why}`);
    }
    return Buffer.concat(out).toString('utf8');
  }

  #spawn(
    program: string,
    args: readonly string[],
    options: { readonly env?: NodeJS.ProcessEnv; readonly cwd?: string } = {},
  ): ChildProcess {
    const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'pipe'], ...options });
    // An open stdin that ends with us is how our own scripts see that the bench is gone.
    child.stdin?.on('error', () => {});
    this.#children.add(child);
    child.once('exit', () => this.#children.delete(child));
    return child;
  }

  #clear(): void {
    for (const child of this.#children) child.kill('SIGKILL');
    rmSync(this.folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 50 });
  }
}

function firstLine(child: ChildProcess, program: string): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = '';
    let complaint = '';
    child.stderr?.on('data', (chunk: Buffer) => {
      complaint = (complaint + chunk.toString('utf8')).slice(-2_000);
    });
    child.stdout?.on('data', (chunk: Buffer) => {
      text += chunk.toString('utf8');
      // A server may log before it is ready.
      const line = text.split('\n').find((each) => each.startsWith('{"ready"'));
      if (line !== undefined && text.endsWith('\n')) resolve(line);
    });
    child.once('error', reject);
    child.once('exit', (code) =>
      reject(new Error(`${program} ended with ${code} before it was ready: ${complaint}`)),
    );
  });
}

function ended(child: ChildProcess): Promise<number | string> {
  return new Promise((resolve, reject) => {
    if (child.exitCode !== null) resolve(child.exitCode);
    child.once('error', reject);
    child.once('close', (code, signal) => resolve(code ?? signal ?? 'nothing'));
  });
}

async function stopped(child: ChildProcess, program: string): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) {
    throw new Error(`${program} ended by itself: ${child.exitCode ?? child.signalCode}`);
  }
  const end = ended(child);
  child.kill('SIGTERM');
  const cut = setTimeout(() => child.kill('SIGKILL'), STOP_MS);
  await end;
  clearTimeout(cut);
}
