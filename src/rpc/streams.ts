import { CallError } from '../base/call-error.ts';
import type { Delivery } from '../base/domain.ts';
import type { ItemError } from '../base/reason.ts';
import type { Pipe } from './adapter.ts';
import type { BatchFields } from './columns.ts';
import type { CallContext } from './context.ts';
import { StallWatch } from './stall-watch.ts';
import { deliveryOf } from './validate.ts';
import { LEN, malformed, unknownField, VARINT, WireReader } from './wire.ts';

/** One message of a request stream. The batch is parsed by the pump, so that a bad one is answered
 *  in-band, as the unary call would be. */
export interface StreamBatch {
  readonly seq: number;
  readonly bytes: Uint8Array;
}

/** What became of one batch. */
export type StreamAnswer<A> =
  | { readonly seq: number; readonly answer: A }
  | { readonly seq: number; readonly error: CallError };

/** Both request wrappers: `seq` is field 1, `batch` field 2. Throws `CallError`. */
export function readStreamBatch(bytes: Uint8Array): StreamBatch {
  const wire = new WireReader(bytes);
  const parts: Uint8Array[] = [];
  let seq = 0;
  while (!wire.done) {
    const tag = wire.tag();
    if (tag === 8 + VARINT) seq = wire.varint();
    else if (tag === 16 + LEN) parts.push(wire.slice());
    else if (tag >>> 3 > 2) throw unknownField('');
    else throw malformed();
  }
  // Parts of one inner message merge, and merging is what appending their bytes does.
  return { seq, bytes: parts.length === 1 ? parts[0]! : Buffer.concat(parts) };
}

/** What a pump needs of its verb. */
export interface Verb<A> {
  /** Throws `CallError`. */
  readonly read: (bytes: Uint8Array) => BatchFields;
  readonly run: (fields: BatchFields) => Promise<A>;
  /** An error that may not cross as it is; logs it. */
  readonly errorOf: (error: unknown) => CallError;
}

/** Runs the batches of one stream, several at a time, and answers them in their order. Reading
 *  ahead is bounded by the window of the transport (`StreamWindow`), so memory is too. Ends by
 *  returning (all is answered, or a batch stopped in ORDERED_STOP) or by throwing a `CallError`. */
export async function pump<A extends { readonly errors: readonly ItemError[] }>(
  pipe: Pipe<StreamBatch, StreamAnswer<A>>,
  context: CallContext,
  stallMs: number,
  verb: Verb<A>,
): Promise<void> {
  const watch = new StallWatch(stallMs, context.draining);
  const incoming = pipe.incoming[Symbol.asyncIterator]();
  const line = new AnswerLine(pipe, watch);
  try {
    for (let expected: number | undefined; ; ) {
      const next = await watch.orEnd(incoming.next());
      if (next.done === true) break;
      watch.progress();
      const { seq, bytes } = next.value;
      if (seq === 0 || (expected ?? seq) !== seq) throw new CallError('STREAM_OUT_OF_TURN');
      expected = seq + 1;
      const work = attempt(seq, bytes, verb);
      line.add(work.outcome);
      // Nothing may run behind a batch that can stop the stream.
      if (work.delivery === 'ordered-stop' && stops(await watch.orStalled(work.outcome))) break;
    }
    await watch.orStalled(line.sent);
  } catch (error) {
    // What was accepted before is answered before the stream says why it ends.
    if (!watch.stalled) await watch.orStalled(line.sent);
    throw error;
  } finally {
    watch.stop();
  }
}

/** Sends answers in the order in which their batches came, each when it is ready. */
class AnswerLine<A> {
  readonly #pipe: Pipe<StreamBatch, StreamAnswer<A>>;
  readonly #watch: StallWatch;
  /** Settles when all answers so far have been taken by the transport. */
  sent: Promise<void> = Promise.resolve();

  constructor(pipe: Pipe<StreamBatch, StreamAnswer<A>>, watch: StallWatch) {
    this.#pipe = pipe;
    this.#watch = watch;
  }

  add(outcome: Promise<StreamAnswer<A>>): void {
    this.sent = this.#sendAfter(this.sent, outcome);
    // A client that has gone is noticed where `sent` is awaited.
    this.sent.catch(() => {});
  }

  async #sendAfter(before: Promise<void>, outcome: Promise<StreamAnswer<A>>): Promise<void> {
    await before;
    await this.#pipe.send(await outcome);
    this.#watch.progress();
  }
}

interface Work<A> {
  /** Undefined where the batch does not even parse. */
  readonly delivery: Delivery | undefined;
  /** Never rejects. */
  readonly outcome: Promise<StreamAnswer<A>>;
}

function attempt<A>(seq: number, bytes: Uint8Array, verb: Verb<A>): Work<A> {
  const fail = (error: unknown): StreamAnswer<A> => ({ seq, error: verb.errorOf(error) });
  try {
    const fields = verb.read(bytes);
    const delivery = deliveryOf(fields.delivery);
    const outcome = verb.run(fields).then((answer) => ({ seq, answer }), fail);
    return { delivery, outcome };
  } catch (error) {
    return { delivery: undefined, outcome: Promise.resolve(fail(error)) };
  }
}

function stops<A extends { readonly errors: readonly ItemError[] }>(
  outcome: StreamAnswer<A>,
): boolean {
  return 'answer' in outcome && outcome.answer.errors.length > 0;
}
