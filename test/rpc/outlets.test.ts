import { expect, test } from 'vitest';
import { CallError } from '../../src/base/call-error.ts';
import { giveAll } from '../../src/rpc/outlets.ts';

/** A source that gives one number and then waits until it is let go. */
function silent(): { source: AsyncGenerator<number>; letGo: () => void; closed: () => boolean } {
  let letGo = (): void => {};
  let closed = false;
  const wait = new Promise<void>((resolve) => {
    letGo = resolve;
  });
  async function* numbers(): AsyncGenerator<number> {
    try {
      yield 1;
      await wait;
      yield 2;
    } finally {
      closed = true;
    }
  }
  return { source: numbers(), letGo, closed: () => closed };
}

function outlet(): { given: number[]; gone: AbortController; send(one: number): Promise<void> } {
  const given: number[] = [];
  return {
    given,
    gone: new AbortController(),
    send: async (one) => void given.push(one),
  };
}

const same = (one: number): number => one;

test('a client that has gone already is given nothing', async () => {
  const { source } = silent();
  const out = outlet();
  out.gone.abort();
  const to = { send: out.send, gone: out.gone.signal };
  const draining = new AbortController().signal;
  await expect(giveAll(source, to, { draining }, 1_000, same)).rejects.toEqual(
    new CallError('CALL_CANCELLED'),
  );
  expect(out.given).toEqual([]);
});

test.each([
  ['the client goes', 'CALL_CANCELLED'],
  ['the server drains', 'DRAINING'],
] as const)('a wait on the source ends when %s; the source is closed later', async (_name, why) => {
  const { source, letGo, closed } = silent();
  const out = outlet();
  const draining = new AbortController();
  const to = { send: out.send, gone: out.gone.signal };
  const giving = giveAll(source, to, { draining: draining.signal }, 1_000, same);
  await expect.poll(() => out.given).toEqual([1]);
  (why === 'DRAINING' ? draining : out.gone).abort();
  await expect(giving).rejects.toEqual(new CallError(why));
  expect(closed()).toBe(false);
  letGo();
  await expect.poll(closed).toBe(true);
  expect(out.given).toEqual([1]);
});

test('an answer that is not taken in time ends it', async () => {
  const { source } = silent();
  const gone = new AbortController().signal;
  const to = { send: () => new Promise<void>(() => {}), gone };
  await expect(giveAll(source, to, { draining: gone }, 20, same)).rejects.toEqual(
    new CallError('STREAM_STALLED'),
  );
});
