import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type AnsweredBatch, type BatchCall, type Item, pump } from '../../src/cli/pump.ts';

const signal = new AbortController().signal;
const itemOf = (line: number): Item => ({ line, value: `v${line}` });

async function* chunksOf(sizes: readonly number[]): AsyncGenerator<readonly Item[]> {
  let line = 0;
  for (const size of sizes) yield Array.from({ length: size }, () => itemOf(++line));
}

/** A call that answers after so many turns of the event loop, so that later ones overtake. */
const slowCall =
  (turns: (batch: number) => number, seen: number[] = []): BatchCall =>
  async (items) => {
    const wait = turns(seen.push(items.length) - 1);
    for (let i = 0; i < wait; i++) await new Promise(setImmediate);
    return { outputs: items.map((item) => `t${item.line}`), failures: [] };
  };

async function gather(batches: AsyncIterable<AnsweredBatch>): Promise<AnsweredBatch[]> {
  const all: AnsweredBatch[] = [];
  for await (const batch of batches) all.push(batch);
  return all;
}

describe('pump', () => {
  test('keeps the order whatever the chunks and however late the answers', () =>
    fc.assert(
      fc.asyncProperty(
        fc.array(fc.nat(30), { maxLength: 12 }),
        fc.integer({ min: 1, max: 9 }),
        fc.integer({ min: 1, max: 5 }),
        fc.func(fc.nat(6)),
        async (sizes, itemsMax, batchesAhead, turns) => {
          const seen: number[] = [];
          const options = { signal, itemsMax, batchesAhead, pauseMs: 1_000 };
          const all = await gather(pump(chunksOf(sizes), slowCall(turns, seen), options));
          const count = sizes.reduce((sum, size) => sum + size, 0);
          const outputs = all.flatMap((batch) => batch.outputs);
          expect(outputs).toEqual(Array.from({ length: count }, (_, i) => `t${i + 1}`));
          // Full batches, only the last one may be shorter.
          expect(seen.slice(0, -1).every((size) => size === itemsMax)).toBe(true);
          expect(seen).toHaveLength(Math.ceil(count / itemsMax));
        },
      ),
      { numRuns: 60 },
    ));

  test('has no more batches under way than allowed, and reads no further ahead', async () => {
    let read = 0;
    async function* chunks(): AsyncGenerator<readonly Item[]> {
      for (let i = 0; i < 1_000; i++) {
        read += 10;
        yield Array.from({ length: 10 }, (_, j) => itemOf(i * 10 + j));
      }
    }
    let flying = 0;
    let most = 0;
    const call: BatchCall = async (items) => {
      most = Math.max(most, ++flying);
      await new Promise(setImmediate);
      flying--;
      return { outputs: items.map(() => ''), failures: [] };
    };
    let written = 0;
    for await (const batch of pump(chunks(), call, { signal, itemsMax: 10, batchesAhead: 3 })) {
      written += batch.items.length;
      expect(read - written).toBeLessThanOrEqual(40);
    }
    expect(written).toBe(10_000);
    expect(most).toBe(3);
  });

  test('cuts a batch by its bytes too', async () => {
    async function* chunks(): AsyncGenerator<readonly Item[]> {
      yield [100, 100, 100, 5_000, 1].map((size, i) => ({ line: i, value: 'x'.repeat(size) }));
    }
    const seen: number[] = [];
    await gather(
      pump(
        chunks(),
        slowCall(() => 0, seen),
        { signal, bytesMax: 700 },
      ),
    );
    expect(seen).toEqual([2, 1, 1, 1]);
  });

  test('sends what it has when the input pauses', async () => {
    let resume = (): void => {};
    async function* chunks(): AsyncGenerator<readonly Item[]> {
      yield [itemOf(1)];
      await new Promise<void>((resolve) => {
        resume = resolve;
      });
      yield [itemOf(2)];
    }
    const options = { signal, pauseMs: 1, batchesAhead: 1 };
    const batches = pump(
      chunks(),
      slowCall(() => 0),
      options,
    );
    expect((await batches.next()).value?.outputs).toEqual(['t1']);
    resume();
    expect((await batches.next()).value?.outputs).toEqual(['t2']);
    expect((await batches.next()).done).toBe(true);
  });

  test('ends at the first call that fails, after the answers before it', async () => {
    const cancelled: number[] = [];
    const call: BatchCall = async (items, stop) => {
      const line = items[0]?.line ?? 0;
      stop.addEventListener('abort', () => cancelled.push(line));
      if (line === 2) throw new Error('refused');
      await new Promise(setImmediate);
      return { outputs: items.map((item) => `t${item.line}`), failures: [] };
    };
    const outputs: string[] = [];
    const options = { signal, itemsMax: 1, batchesAhead: 4 };
    const run = async (): Promise<void> => {
      for await (const batch of pump(chunksOf([9]), call, options)) outputs.push(...batch.outputs);
    };
    await expect(run()).rejects.toThrow('refused');
    expect(outputs).toEqual(['t1']);
    expect(cancelled).toContain(3);
  });

  test('stops reading when it is stopped', async () => {
    const stop = new AbortController();
    let closed = false;
    async function* chunks(): AsyncGenerator<readonly Item[]> {
      try {
        for (let line = 1; ; line++) yield [itemOf(line)];
      } finally {
        closed = true;
      }
    }
    const run = async (): Promise<void> => {
      const options = { signal: stop.signal, itemsMax: 1 };
      for await (const batch of pump(
        chunks(),
        slowCall(() => 1),
        options,
      )) {
        if (batch.items[0]?.line === 5) stop.abort(new Error('stopped'));
      }
    };
    await expect(run()).rejects.toThrow('stopped');
    expect(closed).toBe(true);
  });
});
