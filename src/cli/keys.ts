import type { Command } from 'commander';
import type { TokenObject } from '../keys/pkcs11-objects.ts';
import { loadConfig } from './config.ts';
import { CONFIG_FILE, configPath } from './config-command.ts';
import { EXIT, type Frame, type Io, printJson, printTable, Refusal, write } from './frame.ts';

interface KeysOptions {
  readonly config?: string;
  readonly library?: string;
  readonly token?: string;
  readonly pinSource?: string;
  readonly ifMissing?: boolean;
  readonly json?: boolean;
}

/** `lockstep keys init|list`: the ceremony, and what it left in the module. */
export function addKeys(program: Command, frame: Frame): void {
  const group = program
    .command('keys')
    .description('Makes and shows the root keys in the PKCS#11 module');
  const add = (name: string, description: string) =>
    group
      .command(name)
      .description(description)
      .option('--config <file>', `default: LOCKSTEP_CONFIG, else ${CONFIG_FILE}`)
      .option('--library <file>', 'the PKCS#11 library, with --token and --pin-source: no config')
      .option('--token <label>', 'label of the token')
      .option('--pin-source <file>', 'file that holds the PIN')
      .option('--json', 'answer in JSON');
  add('init', 'Makes the root that wraps keys and the key pair that signs checkpoints')
    .option('--if-missing', 'leave what is there and make the rest')
    .action(frame.action((options: KeysOptions) => init(frame.io, options)));
  add(
    'list',
    'Every object of the token with its flags; fails where a root is not as it must be',
  ).action(frame.action((options: KeysOptions) => list(frame.io, options)));
}

async function init(io: Io, options: KeysOptions): Promise<number> {
  // The module's native code is loaded by the commands that need it alone.
  const { initialiseRoots } = await import('../keys/roots.ts');
  const access = accessOf(io, options);
  const { made, objects } = await refusing(() =>
    initialiseRoots(access, { ifMissing: options.ifMissing === true }),
  );
  if (options.json === true) await printJson(io, { made, objects });
  else if (made.length === 0) await write(io.stdout, 'the roots are there already\n');
  else await write(io.stdout, made.map((label) => `made ${label}\n`).join(''));
  return EXIT.ok;
}

async function list(io: Io, options: KeysOptions): Promise<number> {
  const { lintRoots, listObjects } = await import('../keys/roots.ts');
  const access = accessOf(io, options);
  const objects = await refusing(() => listObjects(access));
  const faults = lintRoots(objects, access.rootBackup);
  if (options.json === true) {
    await printJson(io, { objects, faults });
  } else {
    await printTable(io, [['label', 'kind', 'type', 'id', 'flags'], ...objects.map(row)]);
    if (faults.length > 0) await write(io.stderr, `${faults.join('\n')}\n`);
  }
  return faults.length === 0 ? EXIT.ok : EXIT.failed;
}

const row = (object: TokenObject): string[] => [
  object.label,
  object.kind,
  object.type,
  object.id,
  Object.entries(object.flags)
    .flatMap(([name, set]) => (set === true ? [name] : []))
    .join(' '),
];

interface Access {
  readonly library: string;
  readonly token: string;
  readonly pinSource: string;
  readonly rootBackup?: 'none' | 'wrapped';
}

function accessOf(io: Io, options: KeysOptions): Access {
  const { library, token, pinSource } = options;
  if (library !== undefined && token !== undefined && pinSource !== undefined) {
    return { library, token, pinSource };
  }
  const { config } = loadConfig(configPath(io, options.config), io.env);
  return {
    library: library ?? config.module.library,
    token: token ?? config.module.token,
    pinSource: pinSource ?? config.module.pin_source,
    rootBackup: config.module.root_backup,
  };
}

/** The officers' errors are made for them: labels, attribute names and CKR codes, never a key. */
async function refusing<T>(work: () => T): Promise<T> {
  const [{ RootError }, { ModuleError }] = await Promise.all([
    import('../keys/roots.ts'),
    import('../keys/key.ts'),
  ]);
  try {
    return work();
  } catch (cause) {
    if (cause instanceof RootError) throw new Refusal(cause.message, {}, cause);
    if (cause instanceof ModuleError) throw new Refusal(cause.message, { code: cause.code }, cause);
    throw cause;
  }
}
