import { CallError } from '../base/call-error.ts';
import type { Outlet } from './adapter.ts';
import type { CallContext } from './context.ts';

/** Gives what `source` yields, each once the transport took the one before, so that no more than
 *  one answer waits in memory. Ends by returning at the end of the source, or by throwing:
 *  CALL_CANCELLED when the client goes, DRAINING when the server does, STREAM_STALLED when an
 *  answer is not taken for `stallMs`. The source is closed then; a step under way in it ends by
 *  itself. */
export async function giveAll<T, O>(
  source: AsyncGenerator<T>,
  outlet: Outlet<O>,
  context: Pick<CallContext, 'draining'>,
  stallMs: number,
  write: (one: T) => O,
): Promise<void> {
  const stop = new Interrupt(outlet.gone, context.draining);
  try {
    for (;;) {
      const next = await stop.or(source.next());
      if (next.done === true) return;
      await within(outlet.send(write(next.value)), stallMs);
    }
  } finally {
    stop.release();
    // Not awaited: a source that waits for something is told when that comes. Its failure has
    // nobody to tell.
    source.return(undefined).catch(() => {});
  }
}

/** Ends a wait when the client or the server goes: one listener a stream, not one a wait. */
class Interrupt {
  readonly #gone: AbortSignal;
  readonly #draining: AbortSignal;
  #wake: ((error: CallError) => void) | undefined;
  readonly #onGone = (): void => this.#wake?.(new CallError('CALL_CANCELLED'));
  readonly #onDraining = (): void => this.#wake?.(new CallError('DRAINING'));

  constructor(gone: AbortSignal, draining: AbortSignal) {
    this.#gone = gone;
    this.#draining = draining;
    gone.addEventListener('abort', this.#onGone);
    draining.addEventListener('abort', this.#onDraining);
  }

  or<T>(wait: Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      this.#wake = reject;
      if (this.#gone.aborted) this.#onGone();
      else if (this.#draining.aborted) this.#onDraining();
      wait.then(resolve, reject);
    });
  }

  release(): void {
    this.#gone.removeEventListener('abort', this.#onGone);
    this.#draining.removeEventListener('abort', this.#onDraining);
    this.#wake = undefined;
  }
}

function within(sent: Promise<void>, stallMs: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new CallError('STREAM_STALLED')), stallMs);
    timer.unref();
    sent.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}
