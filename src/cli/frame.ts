import type { Readable, Writable } from 'node:stream';
import type { Environment } from './config.ts';

/** Exit codes of every subcommand. */
export const EXIT = {
  ok: 0,
  /** Refused or failed, wholly or for some items; stderr says which. */
  failed: 1,
  /** The command line itself is wrong; nothing was done. */
  usage: 2,
  /** Stopped by Ctrl-C, as shells expect it. */
  interrupted: 130,
} as const;

/** What a command may touch of its process, so that tests can stand in for it. */
export interface Io {
  readonly stdin: Readable;
  readonly stdout: Writable;
  readonly stderr: Writable;
  readonly env: Environment;
  /** Whether progress can be drawn on stderr. */
  readonly stderrIsTerminal: boolean;
  /** Whether somebody can be asked on stdin. */
  readonly stdinIsTerminal?: boolean;
}

/** What a subcommand works with. `signal` fires at Ctrl-C and when nobody reads stdout any more. */
export interface Frame {
  readonly io: Io;
  readonly signal: AbortSignal;
  /** Wraps a subcommand's work as commander wants it; its result becomes the exit code. */
  readonly action: <Args extends readonly unknown[]>(
    work: (...args: Args) => Promise<number>,
  ) => (...args: Args) => Promise<void>;
}

/** A wrong command line: the text is shown, and the exit code is 2. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

/** Something was refused: the text is shown as it is, so it is never built from patient data. The
 *  exit code is 1. `fields` go into the answer of `--json`. */
export class Refusal extends Error {
  override readonly name = 'Refusal';
  readonly fields: Readonly<Record<string, unknown>>;
  constructor(text: string, fields: Readonly<Record<string, unknown>> = {}, cause?: unknown) {
    super(text, cause === undefined ? {} : { cause });
    this.fields = fields;
  }
}

/** Writes and waits where the reader is slow, so that memory stays flat. Resolves at once where
 *  the stream is gone: its 'error' handler has stopped the command already. */
export function write(stream: Writable, text: string): Promise<void> | undefined {
  if (stream.destroyed || stream.write(text)) return undefined;
  return new Promise((resolve) => {
    const done = (): void => {
      stream.off('drain', done).off('close', done).off('error', done);
      resolve();
    };
    stream.on('drain', done).on('close', done).on('error', done);
  });
}

export const printJson = (io: Io, answer: unknown): Promise<void> | undefined =>
  write(io.stdout, `${JSON.stringify(answer)}\n`);

/** A plain table: columns as wide as their widest cell, two spaces between. */
export function printTable(
  io: Io,
  rows: readonly (readonly string[])[],
): Promise<void> | undefined {
  const widths: number[] = [];
  for (const row of rows) {
    for (const [i, cell] of row.entries()) widths[i] = Math.max(widths[i] ?? 0, cell.length);
  }
  const lines = rows.map((row) =>
    row
      .map((cell, i) => cell.padEnd(widths[i] ?? 0))
      .join('  ')
      .trimEnd(),
  );
  return lines.length === 0 ? undefined : write(io.stdout, `${lines.join('\n')}\n`);
}
