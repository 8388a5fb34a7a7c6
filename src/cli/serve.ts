import { existsSync } from 'node:fs';
import type { Command } from 'commander';
import { loadConfig } from './config.ts';
import { CONFIG_FILE, configPath } from './config-command.ts';
import { makeDevDomains, prepareDevelopment } from './development.ts';
import { EXIT, type Frame, printJson, Refusal, write } from './frame.ts';
import { makeInstallation, type Serving, type ServingOptions, startServing } from './serving.ts';
import { refusing } from './start-refusal.ts';
import { readCheckpoint } from './vault-offline.ts';

const DEV_FOLDER = '.lockstep';
const LINGER_MS = 2_000;

interface ServeOptions {
  readonly config?: string;
  readonly checkpoint?: string;
  readonly dev?: boolean;
  readonly folder: string;
  readonly address: string;
  readonly adminAddress: string;
  readonly json?: boolean;
}

/** `lockstep init` and `lockstep serve`. */
export function addServe(program: Command, frame: Frame): void {
  program
    .command('init')
    .description('Makes a new installation in an empty data folder: catalogue, vault and log')
    .option('--config <file>', `default: LOCKSTEP_CONFIG, else ${CONFIG_FILE}`)
    .option('--json', 'answer in JSON')
    .action(frame.action((options: ServeOptions) => init(frame, options)));
  program
    .command('serve')
    .description('Serves gRPC until SIGTERM or Ctrl-C; a second one ends it at once')
    .option('--config <file>', `default: LOCKSTEP_CONFIG, else ${CONFIG_FILE}`)
    .option(
      '--checkpoint <file>',
      'a checkpoint kept elsewhere, from which the log must have grown',
    )
    .option('--dev', 'a development server: SoftHSM, loopback, callers by header, all set up')
    .option('--folder <folder>', 'where --dev keeps its installation', DEV_FOLDER)
    .option('--address <host:port>', 'where --dev listens', '127.0.0.1:50051')
    .option('--admin-address <host:port>', 'metrics and health of --dev', '127.0.0.1:9464')
    .option('--json', 'say in JSON when it is ready')
    .action(frame.action((options: ServeOptions) => serve(frame, options)));
}

async function init(frame: Frame, options: ServeOptions): Promise<number> {
  const { config } = loadConfig(configPath(frame.io, options.config), frame.io.env);
  await refusing(() => makeInstallation(config));
  if (options.json === true) await printJson(frame.io, { folder: config.data.folder });
  else await write(frame.io.stdout, `made an installation in ${config.data.folder}\n`);
  return EXIT.ok;
}

async function serve(frame: Frame, options: ServeOptions): Promise<number> {
  const serving =
    options.dev === true
      ? await refusing(() => serveDevelopment(frame, options))
      : await refusing(() => startServing(productionOptions(frame, options)));
  if (!frame.signal.aborted) {
    await announce(frame, options, serving);
    await new Promise((resolve) => frame.signal.addEventListener('abort', resolve));
  }
  await serving.stop();
  // Everything is closed. Should a library still hold on to something, the process ends anyway.
  setTimeout(() => process.exit(EXIT.ok), LINGER_MS).unref();
  return EXIT.ok;
}

function productionOptions(frame: Frame, options: ServeOptions): ServingOptions {
  const { config } = loadConfig(configPath(frame.io, options.config), frame.io.env);
  const checkpoint = readCheckpoint(options.checkpoint);
  return { config, development: false, create: false, checkpoint };
}

async function serveDevelopment(frame: Frame, options: ServeOptions): Promise<Serving> {
  const { config, fresh } = prepareDevelopment(options.folder, softHsmLibrary(frame), {
    server: options.address,
    admin: options.adminAddress,
  });
  const serving = await startServing({
    config,
    development: true,
    create: fresh,
    checkpoint: readCheckpoint(options.checkpoint),
    // Whoever tries Lockstep out may move the folder about.
    accept: { moved: 'a development server was started in another place' },
  });
  try {
    await makeDevDomains(serving.engine);
  } catch (error) {
    await serving.stop();
    throw error;
  }
  return serving;
}

async function announce(frame: Frame, options: ServeOptions, serving: Serving): Promise<void> {
  const { port } = serving.rpc;
  if (options.json === true) {
    await printJson(frame.io, { ready: true, port, admin: serving.adminAddress });
  } else if (options.dev === true) {
    const text = `serving on port ${port}, metrics on ${serving.adminAddress}; Ctrl-C stops it\n`;
    await write(frame.io.stdout, text);
  }
}

const SOFTHSM_PATHS = [
  '/usr/lib/softhsm/libsofthsm2.so',
  '/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so',
  '/usr/lib64/pkcs11/libsofthsm2.so',
  '/usr/local/lib/softhsm/libsofthsm2.so',
];

function softHsmLibrary(frame: Frame): string {
  const named = frame.io.env['LOCKSTEP_PKCS11_MODULE'];
  const found = named === undefined || named === '' ? SOFTHSM_PATHS.find(existsSync) : named;
  if (found === undefined) {
    throw new Refusal(
      'SoftHSM is not installed: apt-get install softhsm2, or name it in LOCKSTEP_PKCS11_MODULE',
    );
  }
  return found;
}
