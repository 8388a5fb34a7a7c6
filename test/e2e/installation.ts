import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createTestToken, type TestToken } from '../softhsm.ts';
import {
  cleanEnv,
  type Ended,
  lockstep,
  type RunOptions,
  type ServerProcess,
  startServer,
  temporaryFolder,
} from './processes.ts';

export interface InstallationOptions {
  /** The `[server]` table, line by line. */
  readonly server?: readonly string[];
  /** `[[callers]]` tables, as they stand. */
  readonly callers?: string;
}

/** An installation as an operator makes it: a token, `lockstep.toml`, `keys init`, `init`. */
export class Installation {
  readonly folder: string;
  readonly config: string;
  readonly token: TestToken;
  readonly #remove: () => void;

  constructor(library: string, options: InstallationOptions = {}) {
    const { path, remove } = temporaryFolder();
    this.folder = path;
    this.#remove = remove;
    this.token = createTestToken(library);
    this.config = join(path, 'lockstep.toml');
    writeFileSync(this.config, tomlOf(this.token, options), { mode: 0o600 });
  }

  /** For each command and server: the token is SoftHSM's. */
  env(extra: Readonly<Record<string, string>> = {}): NodeJS.ProcessEnv {
    return cleanEnv({ SOFTHSM2_CONF: this.token.conf, LOCKSTEP_CONFIG: this.config, ...extra });
  }

  run(args: readonly string[], options: RunOptions = {}): Promise<Ended> {
    return lockstep(args, { env: this.env(), ...options });
  }

  /** The ceremony and the empty vault. */
  async make(): Promise<void> {
    for (const args of [['keys', 'init'], ['init']]) {
      const { code, stderr } = await this.run(args);
      if (code !== 0) throw new Error(`lockstep ${args.join(' ')}: ${stderr}`);
    }
  }

  serve(extra: Readonly<Record<string, string>> = {}): Promise<ServerProcess> {
    return startServer([], this.env(extra));
  }

  get data(): string {
    return join(this.folder, 'data');
  }

  pin(): string {
    return readFileSync(this.token.pinSource, 'utf8').trim();
  }

  remove(): void {
    this.token.remove();
    this.#remove();
  }
}

const tomlOf = (token: TestToken, { server, callers = '' }: InstallationOptions): string =>
  `
[server]
address = "127.0.0.1:0"
${(server ?? ['plaintext = "loopback"']).join('\n')}

[admin]
address = "127.0.0.1:0"

[module]
library = ${JSON.stringify(token.library)}
token = ${JSON.stringify(token.token)}
pin_source = ${JSON.stringify(token.pinSource)}

[data]
folder = "data"

[log]
origin = "lockstep.test/log"

[limits]
drain_s = 2

${callers}`;
