import { expect, test } from 'vitest';
import { CallError } from '../../src/base/call-error.ts';
import { systemClock } from '../../src/base/clock.ts';
import { openLogger } from '../../src/base/logger.ts';
import { JobBook, type JobControl } from '../../src/engine/job-book.ts';
import { isUlid, ulid } from '../../src/engine/ulid.ts';
import type { JobView } from '../../src/engine/vault-calls.ts';
import { MemoryStore } from '../../src/storage/memory-store.ts';
import { initVault, openVault } from '../../src/vault/vault.ts';
import { heldClock } from './harness.ts';

const logger = openLogger({ level: 'silent' });
const identity = 'test-installation';
const DAY_MS = 86_400_000;

async function newBook(clock = systemClock) {
  const store = new MemoryStore();
  const vault = await initVault(store, { identity });
  return { store, vault, book: await JobBook.open(vault, clock, logger) };
}

/** The book as a start finds it, whatever was under way. */
async function reopened(store: MemoryStore, clock = systemClock): Promise<JobBook> {
  const vault = await openVault(new MemoryStore({ contents: store.contents }), { identity });
  return JobBook.open(vault, clock, logger);
}

const never = ({ signal }: JobControl): Promise<void> =>
  new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)));

async function watched(book: JobBook, id: string): Promise<JobView[]> {
  const views: JobView[] = [];
  for await (const view of book.watch(id)) views.push(view);
  return views;
}

test('a job tells its progress, ends with results, is there after a restart', async () => {
  const { store, book } = await newBook();
  const job = book.start('check', 'vault', async ({ progress, result }) => {
    progress(1, 0);
    progress(7, 9);
    result('faults', '0');
    result('rows', '9');
  });
  expect(isUlid(job.id)).toBe(true);
  expect(job).toMatchObject({ kind: 'check', target: 'vault', state: 'running', endedMs: 0 });
  const views = await watched(book, job.id);
  const done = { state: 'done', done: 7, total: 9, result: { faults: '0', rows: '9' } };
  expect(views.at(-1)).toMatchObject(done);
  expect(views.at(-1)!.endedMs).toBeGreaterThanOrEqual(job.createdMs);
  await book.stored();
  expect((await reopened(store)).get(job.id)).toEqual(book.get(job.id));
});

test('one at a time of a kind and target: a second start gives the running one', async () => {
  const { book } = await newBook();
  const first = book.start('backup', 'vault', never);
  expect(book.start('backup', 'vault', never).id).toBe(first.id);
  const others = [book.start('check', 'vault', never), book.start('backup', 'other', never)];
  expect(new Set([first, ...others].map(({ id }) => id)).size).toBe(3);
  await book.close();
  expect(() => book.start('backup', 'vault', never)).toThrow(new CallError('DRAINING'));
});

test('a job that fails says why; anything but a CallError is INTERNAL', async () => {
  const { book } = await newBook();
  const full = book.start('backup', 'vault', async () => {
    throw new CallError('STORE_FULL');
  });
  const odd = book.start('check', 'vault', async () => {
    throw new RangeError('of 529-31-0047');
  });
  expect((await watched(book, full.id)).at(-1)).toMatchObject({
    state: 'failed',
    reason: 'STORE_FULL',
  });
  const failed = (await watched(book, odd.id)).at(-1);
  expect(failed).toMatchObject({ state: 'failed', reason: 'INTERNAL' });
  expect(JSON.stringify(failed)).not.toContain('529');
});

test('a cancelled job shows as cancelled; one that has ended stays as it is', async () => {
  const { book } = await newBook();
  const job = book.start('backup', 'vault', never);
  const watching = watched(book, job.id);
  expect(book.cancel(job.id).state).toBe('running');
  expect((await watching).at(-1)).toMatchObject({ state: 'cancelled', reason: undefined });
  const quick = book.start('backup', 'vault', async () => {});
  await watched(book, quick.id);
  expect(book.cancel(quick.id).state).toBe('done');
  expect(() => book.cancel(ulid(0))).toThrow(new CallError('RESOURCE_NOT_FOUND'));
  await expect(watched(book, ulid(0))).rejects.toThrow(new CallError('RESOURCE_NOT_FOUND'));
});

test('work that ends well in spite of a cancel is done', async () => {
  const { book } = await newBook();
  const job = book.start('backup', 'vault', ({ signal }) =>
    never({ signal } as JobControl).catch(() => {}),
  );
  await book.stored();
  book.cancel(job.id);
  expect((await watched(book, job.id)).at(-1)!.state).toBe('done');
});

test('a job that ran at a crash shows as failed, one at an orderly end as well', async () => {
  const { store, book } = await newBook();
  const job = book.start('backup', 'vault', never);
  await book.stored();
  const crashed = await reopened(store);
  expect(crashed.get(job.id)).toMatchObject({ state: 'failed', reason: 'STORE_UNAVAILABLE' });
  expect(crashed.get(job.id)!.endedMs).toBeGreaterThan(0);
  const watching = watched(book, job.id);
  await book.close();
  expect((await watching).at(-1)).toMatchObject({ state: 'failed', reason: 'DRAINING' });
  expect((await reopened(store)).get(job.id)).toEqual(book.get(job.id));
});

test('pages go from the newest job to the oldest, each once', async () => {
  const clock = heldClock(1_800_000_000_000);
  const { book } = await newBook(clock);
  const made: string[] = [];
  for (let i = 0; i < 25; i++) {
    if (i === 10) clock.ms -= 60_000; // Ids ascend all the same.
    const job = book.start('check', i % 5 === 0 ? 'other' : 'vault', async () => {});
    await watched(book, job.id);
    made.unshift(job.id);
  }
  const pages = (target: string): string[] => {
    const ids: string[] = [];
    for (;;) {
      const page = book.list(target, ids.at(-1) ?? '', 4);
      if (page.length === 0) return ids;
      ids.push(...page.map(({ id }) => id));
    }
  };
  expect(pages('')).toEqual(made);
  expect(pages('other')).toHaveLength(5);
  expect(pages('vault')).toEqual(made.filter((_, i) => (24 - i) % 5 !== 0));
});

test('jobs are forgotten after 30 days and beyond 1,000, running ones never', async () => {
  const clock = heldClock(1_800_000_000_000);
  const { store, book } = await newBook(clock);
  const running = book.start('backup', 'vault', never);
  for (let i = 0; i < 1_010; i++) {
    await watched(book, book.start('check', 'vault', async () => {}).id);
  }
  expect(book.list('', '', 2_000)).toHaveLength(1_000);
  expect(book.get(running.id)?.state).toBe('running');
  clock.ms += 31 * DAY_MS;
  const late = book.start('check', 'vault', async () => {});
  await watched(book, late.id);
  expect(book.list('', '', 2_000).map(({ id }) => id)).toEqual([late.id, running.id]);
  await book.stored();
  expect((await reopened(store, clock)).list('', '', 2_000)).toHaveLength(2);
  await book.close();
});

test('a watcher hears at most once a second, and of the end at once', async () => {
  const { book } = await newBook();
  const gate = Promise.withResolvers<void>();
  let tell: JobControl['progress'] = () => {};
  const job = book.start('backup', 'vault', ({ progress }) => {
    tell = progress;
    return gate.promise;
  });
  const watching = watched(book, job.id);
  for (let i = 1; i <= 500; i++) {
    tell(i, 500);
    if (i % 100 === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  gate.resolve();
  const views = await watching;
  expect(views.length).toBeLessThanOrEqual(3);
  expect(views.at(-1)).toMatchObject({ state: 'done', done: 500, total: 500 });
});
