import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';
import type { LogReport } from '../audit/fsck.ts';
import { loadConfig } from './config.ts';
import { CONFIG_FILE, configPath } from './config-command.ts';
import type { Config } from './config-schema.ts';
import { EXIT, type Frame, printJson, printTable, Refusal, UsageError, write } from './frame.ts';
import { openProgress } from './progress.ts';

/** Inside the data folder. */
const LOG_FOLDER = 'log';

interface VerifyOptions {
  readonly config?: string;
  readonly folder?: string;
  readonly verifier?: string;
  readonly older?: string;
  readonly json?: boolean;
}

/** `lockstep log verify|key`: the whole log read again, by the public key alone, and that key. */
export function addLog(program: Command, frame: Frame): void {
  const group = program.command('log').description('The log that cannot be rewritten');
  group
    .command('verify')
    .description('Reads every leaf, tile and checkpoint again; safe beside a running server')
    .option('--config <file>', `default: LOCKSTEP_CONFIG, else ${CONFIG_FILE}`)
    .option('--folder <folder>', 'the log, with --verifier: no config')
    .option('--verifier <key or file>', "public key, NAME+HASH+KEY; default: the module's")
    .option('--older <file>', 'a checkpoint kept elsewhere, from which the log must have grown')
    .option('--json', 'answer in JSON')
    .action(frame.action((options: VerifyOptions) => verify(frame, options)));
  group
    .command('key')
    .description("Prints the log's public key out of the module, for auditors and witnesses")
    .option('--config <file>', `default: LOCKSTEP_CONFIG, else ${CONFIG_FILE}`)
    .option('--json', 'answer in JSON')
    .action(frame.action((options: VerifyOptions) => printKey(frame, options)));
}

async function printKey(frame: Frame, options: VerifyOptions): Promise<number> {
  const { config } = loadConfig(configPath(frame.io, options.config), frame.io.env);
  const verifier = await moduleVerifier(config);
  if (options.json === true) await printJson(frame.io, { verifier });
  else await write(frame.io.stdout, `${verifier}\n`);
  return EXIT.ok;
}

/** As Go's `note` writes it. Whoever rewrites the log cannot put another key into the module. */
async function moduleVerifier(config: Config): Promise<string> {
  const [{ openPkcs11Module }, { ModuleError }, { verifierKey }] = await Promise.all([
    import('../keys/pkcs11.ts'),
    import('../keys/key.ts'),
    import('../audit/note.ts'),
  ]);
  const { library, token, pin_source: pinSource } = config.module;
  try {
    const module = openPkcs11Module({ library, token, pinSource });
    try {
      return verifierKey(config.log.origin, module.publicKey(config.log.checkpoint));
    } finally {
      module.close();
    }
  } catch (cause) {
    if (cause instanceof ModuleError) throw new Refusal(cause.message, { code: cause.code }, cause);
    throw cause;
  }
}

async function verify(frame: Frame, options: VerifyOptions): Promise<number> {
  const { folder, verifier } = await placesOf(frame, options);
  const older = options.older === undefined ? {} : { older: readFile(options.older) };
  const [{ fsckLog }, { AuditError }, { NoteError }] = await Promise.all([
    import('../audit/fsck.ts'),
    import('../audit/audit-error.ts'),
    import('../audit/note.ts'),
  ]);
  const progress = openProgress(frame.io, undefined);
  try {
    const onProgress = (done: number): void => {
      frame.signal.throwIfAborted();
      progress.at(done, 0);
    };
    const report = await fsckLog(folder, verifier, { ...older, onProgress });
    progress.stop();
    await print(frame, report, options);
    return report.ok ? EXIT.ok : EXIT.failed;
  } catch (cause) {
    progress.stop();
    const ours = cause instanceof AuditError || cause instanceof NoteError;
    if (ours) throw new Refusal(cause.message, {}, cause);
    throw cause;
  }
}

async function placesOf(
  frame: Frame,
  options: VerifyOptions,
): Promise<{ folder: string; verifier: string }> {
  const given = options.verifier === undefined ? undefined : verifierText(options.verifier);
  if (options.folder !== undefined) {
    if (given === undefined) throw new UsageError('--folder needs --verifier');
    return { folder: options.folder, verifier: given };
  }
  const { config } = loadConfig(configPath(frame.io, options.config), frame.io.env);
  const folder = join(config.data.folder, LOG_FOLDER);
  return { folder, verifier: given ?? (await moduleVerifier(config)) };
}

/** The key itself, or a file that holds it. */
const verifierText = (text: string): string =>
  /^[^\s+/]\S*\+[0-9a-f]{8}\+\S+$/.test(text) ? text : readFile(text).toString('utf8').trim();

function readFile(path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (cause) {
    const code = cause instanceof Error && 'code' in cause ? cause.code : 'failed';
    throw new Refusal(`${path} cannot be read: ${code}`, {}, cause);
  }
}

async function print(frame: Frame, report: LogReport, options: VerifyOptions): Promise<void> {
  if (options.json === true) {
    await printJson(frame.io, report);
    return;
  }
  await printTable(frame.io, [
    ['verdict', report.ok ? 'whole' : `in doubt from leaf ${report.firstBadIndex ?? 0} on`],
    ['leaves under the checkpoint', String(report.size)],
    ['leaves in the journal', String(report.entries)],
    ['sealed bodies from leaf', String(report.bodiesFrom)],
    ['checkpoints proven', String(report.checkpoints)],
    ['bytes of an unfinished append', String(report.tornBytes)],
  ]);
  const lines = report.findings.map(({ index, what }) => `leaf ${index}: ${what}\n`);
  if (lines.length > 0) await write(frame.io.stderr, lines.join(''));
}
