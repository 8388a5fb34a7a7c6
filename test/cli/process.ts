import { PassThrough, Readable } from 'node:stream';
import { run, type Subcommand } from '../../src/cli/run.ts';

export interface Ran {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** One command line as a person would run it, with streams in place of the process's own. */
export async function lockstep(
  argv: readonly string[],
  options: {
    readonly stdin?: string | Readable;
    readonly env?: Readonly<Record<string, string>>;
    readonly extra?: readonly Subcommand[];
    readonly stdout?: PassThrough;
    /** Whether stdin and stderr are a terminal; a bar shows only after a second. */
    readonly terminal?: boolean;
  } = {},
): Promise<Ran> {
  const stdin = options.stdin ?? '';
  const stdout = options.stdout ?? new PassThrough();
  const stderr = new PassThrough();
  const [out, err] = [gather(stdout), gather(stderr)];
  const io = {
    stdin: typeof stdin === 'string' ? Readable.from([Buffer.from(stdin)]) : stdin,
    stdout,
    stderr,
    env: options.env ?? {},
    stderrIsTerminal: options.terminal === true,
    stdinIsTerminal: options.terminal === true,
  };
  const code = await run(argv, { io, ...(options.extra && { extra: options.extra }) });
  stdout.end();
  stderr.end();
  return { code, out: await out, err: await err };
}

async function gather(stream: PassThrough): Promise<string> {
  let text = '';
  try {
    for await (const part of stream) text += String(part);
  } catch {
    // A reader that went away is what some tests are about.
  }
  return text;
}
