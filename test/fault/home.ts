import { type ChildProcess, spawn } from 'node:child_process';
import {
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
}

/** A development installation in a folder of its own, and whoever serves it. */
export class Home {
  readonly folder: string;
  /** What every server started here wrote to stderr. */
  readonly stderr: string;
  readonly #started: ChildProcess[] = [];

  constructor(folder: string) {
    this.folder = folder;
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
    const home = new Home(folder);
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
    const child = spawn(process.execPath, [MAIN, 'serve', '--json', ...this.#arguments(options)], {
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
    return new Server(child, exited, `127.0.0.1:${port}`, admin);
  }

  #arguments(options: StartOptions): string[] {
    if (options.production === true) return ['--config', options.config ?? this.config];
    return ['--dev', '--folder', this.folder, '--address', LOOPBACK, '--admin-address', LOOPBACK];
  }

  /** Why an operator's start is refused; undefined where it serves, and then it is stopped. */
  async refusal(options: StartOptions = { production: true }): Promise<Refused | undefined> {
    try {
      const server = await this.start(options);
      await server.end();
      return undefined;
    } catch (error) {
      if (error instanceof Refused) return error;
      throw error;
    }
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
