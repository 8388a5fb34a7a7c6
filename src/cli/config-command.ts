import { accessSync, constants, statSync } from 'node:fs';
import type { Command } from 'commander';
import { type LoadedConfig, loadConfig, printConfig, variableOf } from './config.ts';
import { EXIT, type Frame, type Io, printJson, printTable, write } from './frame.ts';

/** The file that a command reads unless told otherwise. */
export const CONFIG_FILE = 'lockstep.toml';

export const configPath = (io: Io, option: string | undefined): string =>
  option ?? io.env['LOCKSTEP_CONFIG'] ?? CONFIG_FILE;

interface ConfigOptions {
  readonly config?: string;
  readonly json?: boolean;
}

/** `lockstep config check|print`. */
export function addConfig(program: Command, frame: Frame): void {
  const group = program
    .command('config')
    .description(`Checks and shows ${CONFIG_FILE}; LOCKSTEP_… variables come before the file`);
  const add = (name: string, description: string) =>
    group
      .command(name)
      .description(description)
      .option('--config <file>', `default: LOCKSTEP_CONFIG, else ${CONFIG_FILE}`)
      .option('--json', 'answer in JSON');
  add('check', 'Says whether a server would start with it; reads no secret').action(
    frame.action((options: ConfigOptions) => check(frame.io, options)),
  );
  add(
    'print',
    'Shows every field in force, and whether file, environment or default set it',
  ).action(frame.action((options: ConfigOptions) => print(frame.io, options)));
}

async function check(io: Io, options: ConfigOptions): Promise<number> {
  const loaded = loadConfig(configPath(io, options.config), io.env);
  const faults = fileFaults(loaded);
  if (options.json === true) {
    await printJson(io, { file: loaded.file, ok: faults.length === 0, faults });
  } else if (faults.length === 0) {
    await write(io.stdout, `${loaded.file}: good\n`);
  } else {
    const lines = faults.map((fault) => `${fault.path}: ${fault.text}\n`);
    await write(io.stderr, lines.join(''));
  }
  return faults.length === 0 ? EXIT.ok : EXIT.failed;
}

async function print(io: Io, options: ConfigOptions): Promise<number> {
  const loaded = loadConfig(configPath(io, options.config), io.env);
  const rows = printConfig(loaded);
  if (options.json === true) {
    await printJson(io, { file: loaded.file, fields: rows });
    return EXIT.ok;
  }
  await printTable(
    io,
    rows.map((row) => [
      row.path,
      JSON.stringify(row.value),
      row.source === 'environment' ? variableOf(row.path) : row.source,
    ]),
  );
  return EXIT.ok;
}

/** Files that a start needs, and the PIN's file, which nobody else may read. */
function fileFaults({ config }: LoadedConfig): { path: string; text: string }[] {
  const wanted: [string, string | undefined][] = [
    ['server.cert', config.server.cert],
    ['server.key', config.server.key],
    ['server.client_ca', config.server.client_ca],
    ['module.library', config.module.library],
    ['module.pin_source', config.module.pin_source],
    ['policy.folder', config.policy.folder],
  ];
  const faults: { path: string; text: string }[] = [];
  for (const [path, file] of wanted) {
    if (file === undefined) continue;
    const text = readFault(file) ?? (OWNERS_ONLY.has(path) ? modeFault(file) : undefined);
    if (text !== undefined) faults.push({ path, text });
  }
  return faults;
}

const OWNERS_ONLY: ReadonlySet<string> = new Set(['module.pin_source', 'server.key']);

function readFault(file: string): string | undefined {
  try {
    accessSync(file, constants.R_OK);
    return undefined;
  } catch (cause) {
    const code = cause instanceof Error && 'code' in cause ? cause.code : 'failed';
    return `${file} cannot be read: ${code}`;
  }
}

function modeFault(file: string): string | undefined {
  const others = statSync(file).mode & 0o007;
  return others === 0 ? undefined : `${file} is open to everybody; chmod o= closes it`;
}
