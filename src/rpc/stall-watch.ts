import { CallError } from '../base/call-error.ts';

/** Ends a stream's waits when nothing moved for too long, or when the server goes. */
export class StallWatch {
  readonly #timer: NodeJS.Timeout;
  readonly #draining: AbortSignal;
  readonly #drain = (): void => this.#wakeReader?.(new CallError('DRAINING'));
  #wake: ((error: CallError) => void) | undefined;
  #wakeReader: ((error: CallError) => void) | undefined;
  stalled = false;

  constructor(stallMs: number, draining: AbortSignal) {
    this.#timer = setTimeout(() => {
      this.stalled = true;
      this.#wake?.(new CallError('STREAM_STALLED'));
    }, stallMs);
    this.#timer.unref();
    this.#draining = draining;
    draining.addEventListener('abort', this.#drain);
  }

  /** A batch came, or an answer went. */
  progress(): void {
    this.#timer.refresh();
  }

  /** Rejects with STREAM_STALLED where the watch runs out first. One wait at a time: each replaces
   *  the last, so that a stream of any length leaves nothing behind. */
  orStalled<T>(wait: Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      this.#wake = reject;
      if (this.stalled) reject(new CallError('STREAM_STALLED'));
      wait.then(resolve, reject);
    });
  }

  /** The same for the wait on the next batch, which a server that drains does not take any more. */
  orEnd<T>(wait: Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      this.#wake = reject;
      this.#wakeReader = reject;
      if (this.stalled) reject(new CallError('STREAM_STALLED'));
      if (this.#draining.aborted) reject(new CallError('DRAINING'));
      wait.then(resolve, reject);
    });
  }

  stop(): void {
    clearTimeout(this.#timer);
    this.#draining.removeEventListener('abort', this.#drain);
    this.#wake = undefined;
    this.#wakeReader = undefined;
  }
}
