import { createReadStream, statSync } from 'node:fs';
import { addAbortSignal, type Readable } from 'node:stream';
import { Refusal } from './frame.ts';
import type { Item } from './pump.ts';

/** Where items come from, in chunks as they were read. */
export interface Source {
  readonly chunks: AsyncIterable<readonly Item[]>;
  /** Size of the input; undefined for a pipe. */
  readonly bytesTotal: number | undefined;
  readonly bytesRead: () => number;
}

/** Texts from the command line: the place among them counts as the line. */
export function fromArguments(values: readonly string[]): Source {
  async function* chunks(): AsyncGenerator<readonly Item[]> {
    yield values.map((value, i) => ({ line: i + 1, value }));
  }
  return { chunks: chunks(), bytesTotal: undefined, bytesRead: () => 0 };
}

/** One value a line; LF and CRLF end a line, and so does the end of the file. */
export function fromLines(input: TextInput): Source {
  async function* chunks(): AsyncGenerator<readonly Item[]> {
    let rest = '';
    let line = 0;
    for await (const text of input.texts) {
      const lines = (rest + text).split('\n');
      rest = lines.pop() ?? '';
      if (rest.length > LINE_MAX) throw new Refusal(`line ${line + lines.length + 1} is too long`);
      yield lines.map((value) => ({ line: ++line, value: withoutReturn(value) }));
    }
    if (rest !== '') yield [{ line: ++line, value: withoutReturn(rest) }];
  }
  return { chunks: chunks(), bytesTotal: input.bytesTotal, bytesRead: input.bytesRead };
}

const withoutReturn = (line: string): string => (line.endsWith('\r') ? line.slice(0, -1) : line);

// Far above the longest value, so that a file without line ends does not fill the memory.
const LINE_MAX = 1024 * 1024;

/** Checked UTF-8 in pieces, its byte order mark left where it was. */
export interface TextInput {
  readonly texts: AsyncIterable<string>;
  readonly bytesTotal: number | undefined;
  readonly bytesRead: () => number;
}

/** `-` is stdin. Bytes that are not UTF-8 end the reading with a Refusal: decoded loosely, two
 *  patients' names could become one text. `signal` ends a wait for more. */
export function openText(path: string, stdin: Readable, signal: AbortSignal): TextInput {
  const bytesTotal = path === '-' ? undefined : fileSize(path);
  const stream = addAbortSignal(signal, path === '-' ? stdin : createReadStream(path));
  let bytes = 0;
  async function* texts(): AsyncGenerator<string> {
    const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
    try {
      for await (const part of stream) {
        const chunk: Uint8Array = typeof part === 'string' ? Buffer.from(part) : part;
        bytes += chunk.length;
        yield decoder.decode(chunk, { stream: true });
      }
      yield decoder.decode();
    } catch (cause) {
      if (!(cause instanceof TypeError)) throw readFault(path, cause);
      throw new Refusal(`the input is not UTF-8, at or before byte ${bytes}`, {}, cause);
    }
  }
  return { texts: texts(), bytesTotal, bytesRead: () => bytes };
}

function fileSize(path: string): number | undefined {
  try {
    const found = statSync(path);
    return found.isFile() ? found.size : undefined;
  } catch (cause) {
    throw readFault(path, cause);
  }
}

function readFault(path: string, cause: unknown): Error {
  const code = cause instanceof Error && 'code' in cause ? cause.code : undefined;
  if (typeof code !== 'string' || code === 'ABORT_ERR') {
    return cause instanceof Error ? cause : new Error('thrown');
  }
  return new Refusal(`${path === '-' ? 'stdin' : path} cannot be read: ${code}`, {}, cause);
}
