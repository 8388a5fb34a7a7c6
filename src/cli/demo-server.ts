import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { type Connection, connect } from '../rpc/client.ts';
import { type Verbs, verbsOf } from '../rpc/verbs.ts';
import { loadConfig } from './config.ts';
import type { Config } from './config-schema.ts';
import { DEV_CALLER_HEADER } from './connection.ts';
import { type Frame, Refusal } from './frame.ts';
import { SERVER_FLAGS } from './server-flags.ts';

const MAIN = fileURLToPath(new URL('../main.ts', import.meta.url));
const START_MS_MAX = 30_000;
const STOP_MS_MAX = 20_000;

/** A temporary folder, and a server of its own process that lives in it. Whatever happens to this
 *  process short of SIGKILL, `close`, or the exit handler, ends the one and removes the other. */
export class DemoServer {
  readonly folder = mkdtempSync(join(tmpdir(), 'lockstep-demo-'));
  /** What the server writes: its log lines, and why it did not start. */
  readonly logFile = join(this.folder, 'server.log');
  readonly softHsmConf = join(this.folder, 'softhsm', 'softhsm2.conf');
  readonly #frame: Frame;
  readonly #keep: boolean;
  readonly #connections = new Map<string, Connection>();
  #child: ChildProcess | undefined;
  #port = 0;

  constructor(frame: Frame, keep: boolean) {
    this.#frame = frame;
    this.#keep = keep;
    process.on('exit', this.#onExit);
    process.on('SIGHUP', onHangUp);
  }

  /** Resolves when the server answers calls; makes token, roots and domains on the way. */
  async start(): Promise<void> {
    const log = openSync(this.logFile, 'a', 0o600);
    const free = ['--address', '127.0.0.1:0', '--admin-address', '127.0.0.1:0'];
    const args = [
      ...SERVER_FLAGS,
      MAIN,
      'serve',
      '--dev',
      '--folder',
      this.folder,
      ...free,
      '--json',
    ];
    const { env } = this.#frame.io;
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', log], env });
    closeSync(log);
    this.#child = child;
    const { port } = JSON.parse(await this.#firstLine(child)) as { readonly port: number };
    this.#port = port;
  }

  async #firstLine(child: ChildProcess): Promise<string> {
    let text = '';
    child.stdout?.setEncoding('utf8').on('data', (part: string) => {
      text += part;
    });
    const ended = once(child, 'exit').then(() => true);
    const limit = Date.now() + START_MS_MAX;
    while (!text.includes('\n')) {
      this.#frame.signal.throwIfAborted();
      const gone = await Promise.race([ended, sleep(20).then(() => false)]);
      if (gone || Date.now() > limit) throw new Refusal(`the server did not start${this.#why()}`);
    }
    return text;
  }

  /** The last thing the server said: texts of our own, which quote no value. */
  #why(): string {
    const last = readFileSync(this.logFile, 'utf8').trimEnd().split('\n').at(-1) ?? '';
    return last === '' ? '' : `: ${last.slice(0, 500)}`;
  }

  config(): Config {
    return loadConfig(join(this.folder, 'lockstep.toml'), {}).config;
  }

  /** The contract as one of the development callers, e.g. `clinician`. */
  as(caller: string): Verbs {
    let connection = this.#connections.get(caller);
    if (connection === undefined) {
      const address = `127.0.0.1:${this.#port}`;
      const headers = { [DEV_CALLER_HEADER]: caller };
      connection = connect({ address, transport: 'plaintext', headers });
      this.#connections.set(caller, connection);
    }
    return verbsOf(connection);
  }

  /** Drains and ends the server; resolves with its exit code, null where it had to be killed. */
  async stop(): Promise<number | null> {
    for (const connection of this.#connections.values()) connection.close();
    this.#connections.clear();
    const child = this.#child;
    if (child === undefined) return 0;
    if (child.exitCode === null && child.signalCode === null) {
      const exited = once(child, 'exit');
      child.kill('SIGTERM');
      const timer = setTimeout(() => child.kill('SIGKILL'), STOP_MS_MAX);
      await exited;
      clearTimeout(timer);
    }
    this.#child = undefined;
    return child.exitCode;
  }

  async close(): Promise<void> {
    await this.stop();
    this.#remove();
    process.off('exit', this.#onExit);
    process.off('SIGHUP', onHangUp);
  }

  #remove(): void {
    if (!this.#keep) rmSync(this.folder, { recursive: true, force: true, maxRetries: 3 });
  }

  /** A second Ctrl-C ends the process at once: nothing asynchronous runs any more. */
  readonly #onExit = (): void => {
    this.#child?.kill('SIGKILL');
    this.#remove();
  };
}

/** A closed terminal ends the demo as Ctrl-C does. */
const onHangUp = (): void => {
  process.emit('SIGINT');
};
