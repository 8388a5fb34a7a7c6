/** One value or token on its way through a command. */
export interface Item {
  /** Line of the input, or place among the arguments; from 1. */
  readonly line: number;
  readonly value: string;
  /** Patient and context of this item alone, where the input has columns for them. */
  readonly subject?: string;
  readonly context?: string;
  /** What the value is paired with, in an import. */
  readonly token?: string;
  /** The whole CSV row that the value stands in. */
  readonly row?: readonly string[];
}

export interface ItemFailure {
  /** Place in the batch, from 0; ascending. */
  readonly index: number;
  readonly reason: string;
  readonly retryable: boolean;
}

/** `outputs` is as long as the batch, empty where `failures` names an item. */
export interface BatchAnswer {
  readonly outputs: readonly string[];
  readonly failures: readonly ItemFailure[];
  /** As many as outputs: what JSON lines say of an item instead of its output. */
  readonly fields?: readonly Readonly<Record<string, unknown>>[];
}

/** Rejects where the call failed as a whole. */
export type BatchCall = (batch: readonly Item[], signal: AbortSignal) => Promise<BatchAnswer>;

export interface AnsweredBatch extends BatchAnswer {
  readonly items: readonly Item[];
}

export interface PumpOptions {
  readonly signal: AbortSignal;
  readonly itemsMax?: number;
  readonly bytesMax?: number;
  readonly batchesAhead?: number;
  /** A batch that has items and waits longer than this for more goes out as it is. */
  readonly pauseMs?: number;
}

const ITEMS_MAX = 1_000;
// Half of what a request may be, so that subjects, contexts and framing fit beside the values.
const BYTES_MAX = 1024 * 1024;
const BATCHES_AHEAD = 4;
const PAUSE_MS = 100;

/** Sends items in batches, several at once, and yields the answers in the order of the items. It
 *  holds at most `batchesAhead` + 1 batches, however long the input is. The first call that fails
 *  ends it, after the answers before it; calls under way then are cancelled. */
export async function* pump(
  chunks: AsyncIterable<readonly Item[]>,
  call: BatchCall,
  options: PumpOptions,
): AsyncGenerator<AnsweredBatch> {
  const stop = new AbortController();
  const signal = AbortSignal.any([options.signal, stop.signal]);
  const flying: Promise<AnsweredBatch>[] = [];
  const batchesAhead = options.batchesAhead ?? BATCHES_AHEAD;
  try {
    for await (const items of batches(chunks, options)) {
      signal.throwIfAborted();
      const answer = call(items, signal).then((got) => ({ items, ...got }));
      // A rejection is met when its turn comes; until then it is not an unhandled one.
      answer.catch(() => {});
      flying.push(answer);
      if (flying.length >= batchesAhead) yield (await flying.shift())!;
    }
    while (flying.length > 0) yield (await flying.shift())!;
  } finally {
    stop.abort();
    await Promise.allSettled(flying);
  }
}

/** Cuts a stream of items into batches by count, by bytes and by pauses. */
async function* batches(
  chunks: AsyncIterable<readonly Item[]>,
  options: PumpOptions,
): AsyncGenerator<readonly Item[]> {
  const itemsMax = options.itemsMax ?? ITEMS_MAX;
  const bytesMax = options.bytesMax ?? BYTES_MAX;
  const source = chunks[Symbol.asyncIterator]();
  let batch: Item[] = [];
  let bytes = 0;
  try {
    let next = source.next();
    for (;;) {
      const step = batch.length === 0 ? await next : await orPause(next, options.pauseMs);
      if (step === 'pause') {
        yield batch;
        batch = [];
        bytes = 0;
        continue;
      }
      if (step.done === true) break;
      for (const item of step.value) {
        const size = sizeOf(item);
        if (batch.length === itemsMax || (batch.length > 0 && bytes + size > bytesMax)) {
          yield batch;
          batch = [];
          bytes = 0;
        }
        batch.push(item);
        bytes += size;
      }
      next = source.next();
    }
    if (batch.length > 0) yield batch;
  } finally {
    await source.return?.();
  }
}

/** Three bytes a UTF-16 unit is the most that UTF-8 takes. */
const sizeOf = ({ value, subject = '', context = '', token = '' }: Item): number =>
  3 * (value.length + subject.length + context.length + token.length) + 16;

async function orPause<T>(next: Promise<T>, pauseMs = PAUSE_MS): Promise<T | 'pause'> {
  let timer: NodeJS.Timeout | undefined;
  const pause = new Promise<'pause'>((resolve) => {
    timer = setTimeout(resolve, pauseMs, 'pause');
  });
  try {
    return await Promise.race([next, pause]);
  } finally {
    clearTimeout(timer);
  }
}
