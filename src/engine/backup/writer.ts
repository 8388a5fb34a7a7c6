import { Worker } from 'node:worker_threads';
import { CallError } from '../../base/call-error.ts';
import type { FromWriter, ToWriter, WriterStart } from './backup-worker.ts';

/** Messages that the thread has not taken in yet, at most: memory stays flat. */
const AHEAD_MAX = 4;

/** The main thread's end of the thread that writes a backup. One call at a time. Methods reject
 *  with `CallError`: STORE_FULL, RESOURCE_EXISTS, STORE_UNAVAILABLE; nothing is left of the file
 *  then. */
export class BackupWriter {
  readonly #worker: Worker;
  readonly #gone: Promise<void>;
  #ahead = 0;
  #digest: string | undefined;
  #fileBytes: number | undefined;
  #failure: CallError | undefined;
  #wake: (() => void) | undefined;

  constructor(start: WriterStart) {
    this.#worker = new Worker(new URL('./backup-worker.ts', import.meta.url), {
      workerData: start,
      name: 'backup',
    });
    this.#gone = new Promise((resolve) => this.#worker.once('exit', () => resolve()));
    this.#worker.on('message', (message: FromWriter) => this.#take(message));
    this.#worker.on('error', (cause) => this.#fail(new CallError('STORE_UNAVAILABLE', { cause })));
    this.#worker.on('exit', () => {
      if (this.#fileBytes === undefined) this.#fail(new CallError('STORE_UNAVAILABLE'));
    });
  }

  #take(message: FromWriter): void {
    if (message.kind === 'taken') this.#ahead -= 1;
    else if (message.kind === 'digest') this.#digest = message.hex;
    else if (message.kind === 'done') this.#fileBytes = message.fileBytes;
    else this.#fail(errorOf(message.code));
    this.#wake?.();
  }

  #fail(error: CallError): void {
    this.#failure ??= error;
    this.#wake?.();
  }

  /** Gives the bytes' buffer away; resolves when more may come. */
  async send(bytes: Uint8Array<ArrayBuffer>): Promise<void> {
    this.#ahead += 1;
    this.#post({ kind: 'bytes', bytes }, [bytes.buffer]);
    await this.#until(() => this.#ahead < AHEAD_MAX);
  }

  /** SHA-256 over all that was sent, hex. */
  async digest(): Promise<string> {
    this.#digest = undefined;
    this.#post({ kind: 'digest' });
    await this.#until(() => this.#digest !== undefined);
    return this.#digest!;
  }

  /** Resolves with the file's length once it is durable under its name. */
  async end(bytes: Uint8Array<ArrayBuffer>): Promise<number> {
    this.#post({ kind: 'end', bytes }, [bytes.buffer]);
    await this.#until(() => this.#fileBytes !== undefined);
    await this.#gone;
    return this.#fileBytes!;
  }

  /** Removes what was written; nothing after `end` has resolved. */
  async abort(): Promise<void> {
    this.#post({ kind: 'abort' });
    await this.#gone;
  }

  #post(message: ToWriter, given: ArrayBuffer[] = []): void {
    this.#worker.postMessage(message, given);
  }

  async #until(so: () => boolean): Promise<void> {
    for (;;) {
      if (this.#failure !== undefined) throw this.#failure;
      if (so()) return;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }
}

function errorOf(code: string): CallError {
  if (code === 'ENOSPC' || code === 'EDQUOT') return new CallError('STORE_FULL', { cause: code });
  if (code === 'EEXIST') return new CallError('RESOURCE_EXISTS');
  return new CallError('STORE_UNAVAILABLE', { cause: code });
}
