import assert from 'node:assert';
import { createHash } from 'node:crypto';
import { closeSync, fsyncSync, linkSync, openSync, rmSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { type MessagePort, parentPort, workerData } from 'node:worker_threads';
import { encryptStream } from './age.ts';

export interface WriterStart {
  readonly recipients: readonly string[];
  /** Written here, then given its name; both in one folder. */
  readonly temporary: string;
  readonly path: string;
}

export type ToWriter =
  /** To be written, in order; the buffer was given away. */
  | { readonly kind: 'bytes'; readonly bytes: Uint8Array<ArrayBuffer> }
  /** Asks for SHA-256 over all bytes sent so far. */
  | { readonly kind: 'digest' }
  /** The last bytes. */
  | { readonly kind: 'end'; readonly bytes: Uint8Array<ArrayBuffer> }
  | { readonly kind: 'abort' };

export type FromWriter =
  /** One message of bytes has been taken in. */
  | { readonly kind: 'taken' }
  | { readonly kind: 'digest'; readonly hex: string }
  /** The file is durable under its name. */
  | { readonly kind: 'done'; readonly fileBytes: number }
  /** Nothing is left of the file. `code` is the system's, e.g. ENOSPC. */
  | { readonly kind: 'failed'; readonly code: string };

/** The thread that hashes, encrypts and writes a backup: age-encryption is JavaScript, and on the
 *  thread that serves calls it would hold them up. Here writing may block. */
async function main(): Promise<void> {
  assert(parentPort !== null, 'the backup is written in a thread of its own');
  const port = parentPort;
  const start = workerData as WriterStart;
  const send = (message: FromWriter): void => port.postMessage(message);
  try {
    send({ kind: 'done', fileBytes: await writeFile(port, start, send) });
  } catch (error) {
    rmSync(start.temporary, { force: true });
    const code = error instanceof Error && 'code' in error ? String(error.code) : 'failed';
    send({ kind: 'failed', code });
  }
  port.close();
}

async function writeFile(
  port: MessagePort,
  { recipients, temporary, path }: WriterStart,
  send: (message: FromWriter) => void,
): Promise<number> {
  const cipher = await encryptStream(plainStream(port, send), recipients);
  const file = openSync(temporary, 'wx', 0o600);
  let written = 0;
  try {
    for await (const chunk of cipher) {
      for (let done = 0; done < chunk.length; ) done += writeSync(file, chunk, done);
      written += chunk.length;
    }
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
  // A link and not a rename: that would replace a file of this name that came meanwhile.
  linkSync(temporary, path);
  rmSync(temporary);
  const folder = openSync(dirname(path), 'r');
  try {
    fsyncSync(folder);
  } finally {
    closeSync(folder);
  }
  return written;
}

/** What comes through the port, hashed on its way. */
function plainStream(
  port: MessagePort,
  send: (message: FromWriter) => void,
): ReadableStream<Uint8Array> {
  const hash = createHash('sha256');
  const waiting: ToWriter[] = [];
  let wake: (() => void) | undefined;
  port.on('message', (message: ToWriter) => {
    waiting.push(message);
    wake?.();
  });
  const next = async (): Promise<ToWriter> => {
    while (waiting.length === 0) {
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
    return waiting.shift()!;
  };
  return new ReadableStream<Uint8Array>({
    async pull(controller) {
      for (;;) {
        const message = await next();
        if (message.kind === 'digest') send({ kind: 'digest', hex: hash.copy().digest('hex') });
        else if (message.kind === 'abort') throw new Error('given up');
        else {
          controller.enqueue(message.bytes);
          if (message.kind === 'end') return controller.close();
          hash.update(message.bytes);
          return send({ kind: 'taken' });
        }
      }
    },
  });
}

void main();
