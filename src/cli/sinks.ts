import { createWriteStream, existsSync } from 'node:fs';
import { rename, rm } from 'node:fs/promises';
import type { Writable } from 'node:stream';
import { finished } from 'node:stream/promises';
import { type CsvHeader, csvHeaderLine, csvLine } from './csv.ts';
import { type Io, Refusal, UsageError, write } from './frame.ts';
import type { AnsweredBatch } from './pump.ts';

/** Where outputs go, batch by batch, in order. A failed item gives an empty line or cell, so that
 *  lines of input and output stay side by side and no plain value slips through. */
export interface Sink {
  write(batch: AnsweredBatch): Promise<void>;
}

/** One output a line. */
export function toLines(stream: Writable): Sink {
  return {
    async write(batch) {
      await write(stream, batch.outputs.map((output) => `${output}\n`).join(''));
    },
  };
}

/** One JSON object a line: `line` and `output` (or the fields that the verb gave), or `line`,
 *  `reason` and `retryable`. */
export function toJsonLines(stream: Writable): Sink {
  return {
    async write(batch) {
      let failure = 0;
      let text = '';
      for (const [i, item] of batch.items.entries()) {
        const failed = batch.failures[failure];
        if (failed?.index === i) {
          failure++;
          const { reason, retryable } = failed;
          text += `${JSON.stringify({ line: item.line, reason, retryable })}\n`;
        } else {
          const fields = batch.fields?.[i] ?? { output: batch.outputs[i] ?? '' };
          text += `${JSON.stringify({ line: item.line, ...fields })}\n`;
        }
      }
      await write(stream, text);
    },
  };
}

/** The rows as they came, one column replaced. */
export function toCsv(
  stream: Writable,
  header: () => CsvHeader | undefined,
  delimiter: string,
): Sink & { finish(): Promise<void> } {
  let begun = false;
  const begin = (): string => {
    const known = header();
    if (begun || known === undefined) return '';
    begun = true;
    return csvHeaderLine(known, delimiter);
  };
  return {
    async write(batch) {
      let text = begin();
      const { column = 0, lineEnd = '\n' } = header() ?? {};
      for (const [i, item] of batch.items.entries()) {
        text += csvLine((item.row ?? []).with(column, batch.outputs[i] ?? ''), delimiter, lineEnd);
      }
      await write(stream, text);
    },
    /** A file of a first row alone keeps it. */
    async finish() {
      await write(stream, begin());
    },
  };
}

export interface Output {
  readonly stream: Writable;
  /** Puts a finished file in its place; without it `abandon` leaves none behind. */
  commit(): Promise<void>;
  abandon(): Promise<void>;
}

/** stdout, or a file that appears whole or not at all, readable by its owner alone. */
export function openOutput(io: Io, path: string | undefined, force: boolean): Output {
  if (path === undefined || path === '-') {
    return { stream: io.stdout, async commit() {}, async abandon() {} };
  }
  if (!force && existsSync(path)) {
    throw new UsageError(`${path} exists; --force replaces it`);
  }
  const partial = `${path}.partial`;
  const stream = createWriteStream(partial, { mode: 0o600, flags: force ? 'w' : 'wx' });
  let fault: unknown;
  stream.on('error', (cause) => {
    fault = cause;
  });
  const refuse = (cause: unknown): never => {
    const code = cause instanceof Error && 'code' in cause ? cause.code : 'failed';
    throw new Refusal(`${partial} cannot be written: ${code}`, {}, cause);
  };
  return {
    stream,
    async commit() {
      if (fault !== undefined) refuse(fault);
      await finished(stream.end()).catch(refuse);
      await rename(partial, path).catch(refuse);
    },
    async abandon() {
      const ours = !(fault instanceof Error && 'code' in fault && fault.code === 'EEXIST');
      stream.destroy();
      if (ours) await rm(partial, { force: true });
    },
  };
}
