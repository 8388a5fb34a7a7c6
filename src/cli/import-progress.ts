import { readFileSync } from 'node:fs';
import { type FileHandle, open, rename, writeFile } from 'node:fs/promises';
import { type Io, Refusal, write } from './frame.ts';
import type { AnsweredBatch } from './pump.ts';

/** How far an earlier run got; 0 where there was none. */
export function readPosition(file: string): number {
  try {
    const { rows }: { rows?: unknown } = JSON.parse(readFileSync(file, 'utf8'));
    if (typeof rows === 'number' && Number.isSafeInteger(rows) && rows >= 0) return rows;
  } catch (cause) {
    if (isCode(cause, 'ENOENT')) return 0;
    if (!(cause instanceof SyntaxError)) throw faultOf(file, 'read', cause);
  }
  throw new Refusal(`${file} is not a position file of an import`);
}

/** Whole or not at all, so that a crash leaves the last position. */
export async function writePosition(file: string, rows: number): Promise<void> {
  const partial = `${file}.partial`;
  try {
    await writeFile(partial, `${JSON.stringify({ rows })}\n`, { mode: 0o600, flush: true });
    await rename(partial, file);
  } catch (cause) {
    throw faultOf(file, 'written', cause);
  }
}

/** Where failed pairs are told: by row and reason, never by value or token. */
export interface FailureSink {
  /** `firstRow` is the row of the batch's first pair. */
  write(batch: AnsweredBatch, firstRow: number): Promise<void>;
  close(): Promise<void>;
}

/** NDJSON at the end of a file, or lines on stderr, or NDJSON on stdout. */
export async function openFailures(
  io: Io,
  file: string | undefined,
  json: boolean,
): Promise<FailureSink> {
  let handle: FileHandle | undefined;
  try {
    handle = file === undefined ? undefined : await open(file, 'a', 0o600);
  } catch (cause) {
    throw faultOf(file ?? '', 'written', cause);
  }
  return {
    async write(batch, firstRow) {
      if (batch.failures.length === 0) return;
      const asJson = json || handle !== undefined;
      const lines = batch.failures.map(({ index, reason }) => {
        const row = firstRow + index;
        const line = batch.items[index]?.line ?? 0;
        return asJson
          ? JSON.stringify({ row, line, reason })
          : `row ${row} (line ${line}): ${reason}`;
      });
      const text = `${lines.join('\n')}\n`;
      try {
        if (handle === undefined) await write(json ? io.stdout : io.stderr, text);
        else await handle.appendFile(text);
      } catch (cause) {
        throw faultOf(file ?? '', 'written', cause);
      }
    },
    async close() {
      await handle?.close();
    },
  };
}

const isCode = (cause: unknown, code: string): boolean =>
  cause instanceof Error && 'code' in cause && cause.code === code;

function faultOf(file: string, what: string, cause: unknown): Refusal {
  const code = cause instanceof Error && 'code' in cause ? String(cause.code) : 'failed';
  return new Refusal(`${file} cannot be ${what}: ${code}`, {}, cause);
}
