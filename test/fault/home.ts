import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import {
  appendFileSync,
  closeSync,
  cpSync,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { text } from 'node:stream/consumers';
import { type Connection, connect } from '../../src/rpc/client.ts';

const MAIN = join(import.meta.dirname, '../../src/main.ts');
const LOOPBACK = '127.0.0.1:0';
const START_MS_MAX = 60_000;
/** The drain is 30 s, the log waits 10 s for a disk. */
const END_MS_MAX = 60_000;

/** The server did not come up. `message` is what it told its operator. */
export class Refused extends Error {
  override readonly name = 'Refused';
  readonly code: number | null;
  constructor(code: number | null, text: string) {
    super(text);
    this.code = code;
  }
}

export interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** A server in a process of its own. */
export class Server {
  readonly address: string;
  readonly admin: string;
  readonly exited: Promise<Ended>;
  readonly #child: ChildProcess;
  readonly #connections: Connection[] = [];

  constructor(child: ChildProcess, exited: Promise<Ended>, address: string, admin: string) {
    this.#child = child;
    this.exited = exited;
    this.address = address;
    this.admin = admin;
  }

  get pid(): number {
    return this.#child.pid!;
  }

  get alive(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  /** As the development caller `dev:NAME`. */
  connect(caller = 'dev'): Connection {
    const headers = { 'lockstep-dev-caller': caller };
    const connection = connect({ address: this.address, transport: 'plaintext', headers });
    this.#connections.push(connection);
    return connection;
  }

  async metrics(): Promise<string> {
    return (await fetch(`http://${this.admin}/metrics`)).text();
  }

  async ready(): Promise<boolean> {
    return (await fetch(`http://${this.admin}/readyz`)).ok;
  }

  /** Cuts every connection made here. */
  disconnect(): void {
    for (const connection of this.#connections.splice(0)) connection.close();
  }

  signal(name: NodeJS.Signals): void {
    this.#child.kill(name);
  }

  /** Rejects where it does not end in time; it is killed then. */
  async end(name: NodeJS.Signals = 'SIGTERM'): Promise<Ended> {
    this.signal(name);
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      this.signal('SIGKILL');
    }, END_MS_MAX);
    const ended = await this.exited;
    clearTimeout(timer);
    if (late) throw new Error(`the server did not end after ${name}`);
    for (const connection of this.#connections) connection.close();
    return ended;
  }
}

export interface StartOptions {
  /** As an operator starts it, from the configuration alone; else `--dev`, which serves callers by
   *  header. */
  readonly production?: boolean;
  readonly config?: string;
  readonly env?: Readonly<Record<string, string>>;
  /** Main file of another build. */
  readonly main?: string;
  /** A command that starts it, as the child of ours. */
  readonly wrapper?: readonly string[];
}

/** A development installation in a folder of its own, and whoever serves it. */
export class Home {
  readonly folder: string;
  /** What every server started here wrote to stderr. */
  readonly stderr: string;
  readonly #started: ChildProcess[] = [];
  /** A copy stands where its vault was not made: an operator adopts it before the first start. */
  #moved: boolean;

  constructor(folder: string, moved = false) {
    this.folder = folder;
    this.#moved = moved;
    this.stderr = `${folder}.stderr`;
  }

  get config(): string {
    return join(this.folder, 'lockstep.toml');
  }

  get tokens(): string {
    return join(this.folder, 'softhsm', 'tokens');
  }

  data(...names: string[]): string {
    return join(this.folder, 'data', ...names);
  }

  /** The same installation once more; its server must be stopped. The data folder may be there,
   *  e.g. as a mount. */
  copyTo(folder: string): Home {
    cpSync(this.folder, folder, { recursive: true });
    const home = new Home(folder, true);
    for (const file of [home.config, join(folder, 'softhsm', 'softhsm2.conf')]) {
      writeFileSync(file, readFileSync(file, 'utf8').replaceAll(this.folder, folder));
    }
    return home;
  }

  /** Rejects with `Refused`. */
  async start(options: StartOptions = {}): Promise<Server> {
    mkdirSync(this.folder, { recursive: true });
    const stderr = openSync(this.stderr, 'a', 0o600);
    const from = readFileSync(this.stderr).length;
    const { main = MAIN, wrapper = [] } = options;
    const [command, ...words] = [...wrapper, process.execPath, main, 'serve', '--json'];
    const child = spawn(command!, [...words, ...this.#arguments(options)], {
      stdio: ['ignore', 'pipe', stderr],
      env: {
        ...process.env,
        SOFTHSM2_CONF: join(this.folder, 'softhsm', 'softhsm2.conf'),
        ...options.env,
      },
    });
    closeSync(stderr);
    this.#started.push(child);
    const exited = new Promise<Ended>((resolve) =>
      child.on('exit', (code, signal) => resolve({ code, signal })),
    );
    const line = await firstLine(child, exited);
    if (line === undefined) {
      const { code } = await exited;
      throw new Refused(code, lastWords(readFileSync(this.stderr, 'utf8').slice(from)));
    }
    const { port, admin } = JSON.parse(line) as { port: number; admin: string };
    this.#moved = false; // `--dev` adopts by itself.
    return new Server(child, exited, `127.0.0.1:${port}`, admin);
  }

  #arguments(options: StartOptions): string[] {
    if (options.production === true) return ['--config', options.config ?? this.config];
    return ['--dev', '--folder', this.folder, '--address', LOOPBACK, '--admin-address', LOOPBACK];
  }

  /** One command of `lockstep` on the installation, to its end. Rejects with `Refused`. */
  run(...words: readonly string[]): Promise<string> {
    return this.runWith(this.config, ...words);
  }

  /** The same with another configuration, over the same token. */
  async runWith(config: string, ...words: readonly string[]): Promise<string> {
    const child = spawn(process.execPath, [MAIN, ...words, '--config', config, '--json'], {
      env: { ...process.env, SOFTHSM2_CONF: join(this.folder, 'softhsm', 'softhsm2.conf') },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.#started.push(child);
    const [out, err, code] = await Promise.all([
      text(child.stdout),
      text(child.stderr),
      new Promise<number | null>((resolve) => child.on('exit', resolve)),
    ]);
    appendFileSync(this.stderr, err, { mode: 0o600 });
    if (code !== 0) throw new Refused(code, lastWords(err));
    return out;
  }

  /** `lockstep vault adopt`, as an operator does after a move. Rejects with `Refused`. */
  async adopt(): Promise<void> {
    await this.run('vault', 'adopt', '--note', 'a copy for a test');
    this.#moved = false;
  }

  /** Why an operator's start is refused; undefined where it serves, and then it is stopped. */
  async refusal(options: StartOptions = { production: true }): Promise<Refused | undefined> {
    try {
      if (this.#moved && options.production === true) await this.adopt();
      const server = await this.start(options);
      await server.end();
      return undefined;
    } catch (error) {
      if (error instanceof Refused) return error;
      throw error;
    }
  }

  /** One command line of ours, to its end; the JSON that it answers with. */
  command(words: readonly string[]): Record<string, unknown> {
    const { status, stdout, stderr } = spawnSync(process.execPath, [MAIN, ...words], {
      encoding: 'utf8',
      env: {
        ...process.env,
        SOFTHSM2_CONF: join(this.folder, 'softhsm', 'softhsm2.conf'),
      },
    });
    if (status !== 0) throw new Error(`${words.slice(0, 2).join(' ')}: ${lastWords(stderr)}`);
    return JSON.parse(stdout) as Record<string, unknown>;
  }

  /** Ends whatever still runs here. */
  killAll(): void {
    for (const child of this.#started) {
      if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL');
    }
  }

  get made(): boolean {
    return existsSync(this.data('catalogue.json'));
  }
}

/** The line that says it is up; undefined where it ended before, or took too long and was ended. */
async function firstLine(child: ChildProcess, exited: Promise<Ended>): Promise<string | undefined> {
  const lines = createInterface({ input: child.stdout! });
  const timer = setTimeout(() => child.kill('SIGKILL'), START_MS_MAX);
  try {
    return await Promise.race([
      new Promise<string>((resolve) => lines.once('line', resolve)),
      exited.then(() => undefined),
    ]);
  } finally {
    clearTimeout(timer);
  }
}

/** The line for the operator: JSON with `error`. Anything else, e.g. a stack, comes as it is. */
function lastWords(stderr: string): string {
  const line = stderr.trimEnd().split('\n').at(-1) ?? '';
  try {
    const { error } = JSON.parse(line) as { error?: unknown };
    if (typeof error === 'string') return error;
  } catch {
    // Not ours: shown below.
  }
  return `not a line for operators: ${line.slice(0, 200)}`;
}
