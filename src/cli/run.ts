import { Command, CommanderError } from 'commander';
import { addBackup } from './backup.ts';
import { ConfigError } from './config.ts';
import { addConfig } from './config-command.ts';
import { addDemo } from './demo.ts';
import { addDetokenize } from './detokenize.ts';
import { addDomain } from './domain.ts';
import { addErase } from './erase.ts';
import { addErasure } from './erasure.ts';
import { addErasureVerify } from './erasure-verify.ts';
import { addExchange } from './exchange.ts';
import { addExport } from './export.ts';
import { addFormat } from './format.ts';
import { EXIT, type Frame, type Io, Refusal, UsageError, write } from './frame.ts';
import { addGrant } from './grant.ts';
import { addImport } from './import.ts';
import { addInspect } from './inspect.ts';
import { addJob } from './job.ts';
import { addKeys } from './keys.ts';
import { addLog } from './log.ts';
import { addRestore } from './restore.ts';
import { addRestrict } from './restrict.ts';
import { addServe } from './serve.ts';
import { addSubject } from './subject.ts';
import { addTokenize } from './tokenize.ts';
import { addTokenizeMultiple } from './tokenize-multiple.ts';
import { addVault } from './vault.ts';
import { addVaultOffline } from './vault-offline.ts';
import { addVaultRepair } from './vault-repair.ts';

/** Adds a subcommand, or a group of them, to the program. */
export type Subcommand = (program: Command, frame: Frame) => void;

/** In the order of `lockstep --help`. */
const SUBCOMMANDS: readonly Subcommand[] = [
  addServe,
  addDemo,
  addTokenize,
  addTokenizeMultiple,
  addDetokenize,
  addExchange,
  addInspect,
  addRestrict,
  addErase,
  addErasure,
  addErasureVerify,
  addSubject,
  addImport,
  addExport,
  addVault,
  addJob,
  addDomain,
  addFormat,
  addGrant,
  addKeys,
  addLog,
  addBackup,
  addRestore,
  addVaultOffline,
  addVaultRepair,
  addConfig,
];

const EXIT_HELP = `
Exit codes: 0 done; 1 refused or failed, wholly or for some items; 2 wrong command line;
130 stopped by Ctrl-C. Answers go to stdout, everything else to stderr.`;

/** Runs one command line, without node and script name: `['config', 'check']`. Resolves with the
 *  exit code and never rejects. `extra` are subcommands of other files, e.g. serve. */
export async function run(
  argv: readonly string[],
  options: { readonly io?: Io; readonly extra?: readonly Subcommand[] } = {},
): Promise<number> {
  const io = options.io ?? processIo();
  const stop = new AbortController();
  let exitCode: number = EXIT.ok;
  const frame: Frame = {
    io,
    signal: stop.signal,
    action:
      (work) =>
      async (...args) => {
        exitCode = await work(...args);
      },
  };
  const program = buildProgram(frame, options.extra ?? []);
  const release = listen(io, stop);
  try {
    await program.parseAsync(argv, { from: 'user' });
    return exitCode;
  } catch (cause) {
    return await report(io, stop.signal, cause, argv.includes('--json'));
  } finally {
    release();
  }
}

function buildProgram(frame: Frame, extra: readonly Subcommand[]): Command {
  const program = new Command('lockstep')
    .description('Batched tokenization of health data, with every key inside a PKCS#11 module')
    .addHelpText('after', EXIT_HELP)
    .showHelpAfterError('(--help shows what is possible)')
    .exitOverride()
    .configureOutput({
      writeOut: (text) => frame.io.stdout.write(text),
      writeErr: (text) => frame.io.stderr.write(text),
    });
  // Subcommands inherit exitOverride and the outputs when they are made through their parent.
  for (const add of [...SUBCOMMANDS, ...extra]) add(program, frame);
  return program;
}

/** Ctrl-C stops the work and lets it clean up; a second one ends the process at once. */
function listen(io: Io, stop: AbortController): () => void {
  const onInterrupt = (): void => {
    if (stop.signal.aborted) process.exit(EXIT.interrupted);
    stop.abort(INTERRUPT);
  };
  const onGone = (): void => stop.abort(GONE);
  process.on('SIGINT', onInterrupt).on('SIGTERM', onInterrupt);
  io.stdout.on('error', onGone);
  io.stderr.on('error', onGone);
  return () => {
    process.off('SIGINT', onInterrupt).off('SIGTERM', onInterrupt);
    io.stdout.off('error', onGone);
    io.stderr.off('error', onGone);
  };
}

const INTERRUPT = new Error('interrupted');
const GONE = new Error('nobody reads the output');

async function report(io: Io, signal: AbortSignal, cause: unknown, json: boolean): Promise<number> {
  // commander has said what was wrong, or printed the help, by itself.
  if (cause instanceof CommanderError) return cause.exitCode === 0 ? EXIT.ok : EXIT.usage;
  if (signal.reason === GONE) return EXIT.failed;
  const { code, text, fields } = outcomeOf(signal, cause);
  const line = json ? JSON.stringify({ error: text, ...fields }) : `lockstep: ${text}`;
  await write(io.stderr, `${line}\n`);
  return code;
}

interface Outcome {
  readonly code: number;
  readonly text: string;
  readonly fields?: Readonly<Record<string, unknown>>;
}

function outcomeOf(signal: AbortSignal, cause: unknown): Outcome {
  if (signal.reason === INTERRUPT) return { code: EXIT.interrupted, text: 'stopped' };
  if (cause instanceof UsageError) return { code: EXIT.usage, text: cause.message };
  if (cause instanceof Refusal) {
    return { code: EXIT.failed, text: cause.message, fields: cause.fields };
  }
  if (cause instanceof ConfigError) {
    return { code: EXIT.failed, text: cause.message, fields: { faults: cause.faults } };
  }
  // A foreign message may quote input, so only the error's name and code are shown.
  const name = cause instanceof Error ? cause.name : typeof cause;
  const codeText = cause instanceof Error && 'code' in cause ? ` ${String(cause.code)}` : '';
  return { code: EXIT.failed, text: `an internal fault: ${name}${codeText}` };
}

function processIo(): Io {
  return {
    stdin: process.stdin,
    stdout: process.stdout,
    stderr: process.stderr,
    env: process.env,
    stderrIsTerminal: process.stderr.isTTY === true,
    stdinIsTerminal: process.stdin.isTTY === true,
  };
}
