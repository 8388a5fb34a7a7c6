import { afterEach, describe, expect, test } from 'vitest';
import { columnOf, stringsOf } from '../../src/base/column.ts';
import { defaultsFor } from '../../src/codec/domain-check.ts';
import type { EncodeJob } from '../../src/engine/job.ts';
import { KeyLane, type KeyLaneOptions } from '../../src/engine/key-lane.ts';

let lane: KeyLane | undefined;
const heard: string[] = [];
let moduleCalls = 0;

afterEach(async () => {
  await lane?.close();
  lane = undefined;
  heard.length = 0;
});

async function start(moduleDelayMs = 0, limits: Partial<KeyLaneOptions['limits']> = {}) {
  const started = await KeyLane.start({
    start: {
      module: { kind: 'insecure-memory' },
      root: 'root',
      checkpointKey: 'checkpoint',
      catalogue: undefined,
      moduleDelayMs,
    },
    limits: { jobsWaitingMax: 1_000, moduleCallMsMax: 60_000, ...limits },
    metrics: {
      keyJob: (end) => {
        moduleCalls += end.moduleCalls;
      },
    },
    onHang: () => heard.push('hang'),
    onDeath: () => heard.push('death'),
  });
  lane = started.lane;
  const wish = { kind: 'fpe', format: 'digits:9', safety: 'valid', note: 'x' } as const;
  const spec = defaultsFor({ id: 'clinic/account', ...wish }, 0);
  await lane.control({ control: 'put-domain', spec });
  moduleCalls = 0;
  heard.length = 0;
  return lane;
}

const encode = (values: readonly string[], domain = 'clinic/account'): EncodeJob => ({
  op: 'encode',
  domain,
  values: columnOf(values),
  context: undefined,
  subject: undefined,
  delivery: 'best-effort',
  seal: false,
});

const call = (more = {}) => ({ deadlineMs: Date.now() + 60_000, cancelled: () => false, ...more });

describe('concurrent calls', () => {
  test('cross the module in few batches, and each gets its own answer', async () => {
    const keys = await start(0.1);
    const values = Array.from({ length: 64 }, (_, i) => String(100_000_000 + i));
    const alone = stringsOf((await keys.run(encode(values), call())).column);
    moduleCalls = 0;
    const answers = await Promise.all(values.map((value) => keys.run(encode([value]), call())));
    expect(answers.flatMap(({ column }) => stringsOf(column))).toEqual(alone);
    // At most two go before the others can gather, and 11 calls is what one batch takes.
    expect(moduleCalls).toBeLessThanOrEqual(3 * 11);
    expect(moduleCalls % 11).toBe(0);
  });

  test('of whom nobody waits any more do not reach the module', async () => {
    const keys = await start();
    const late = keys.run(encode(['123456789']), call({ deadlineMs: Date.now() - 1 }));
    const gone = keys.run(encode(['123456789']), call({ cancelled: () => true }));
    await expect(late).rejects.toMatchObject({ reason: 'DEADLINE_PASSED' });
    await expect(gone).rejects.toMatchObject({ reason: 'CALL_CANCELLED' });
    expect(moduleCalls).toBe(0);
    expect(stringsOf((await keys.run(encode(['123456789']), call())).column)).toHaveLength(1);
  });

  test('past the bound are refused, with a time to come back', async () => {
    const keys = await start(1, { jobsWaitingMax: 4 });
    const answers = await Promise.allSettled(
      Array.from({ length: 12 }, () => keys.run(encode(['123456789']), call())),
    );
    const refused = answers.filter((answer) => answer.status === 'rejected');
    expect(refused.length).toBeGreaterThan(0);
    for (const { reason } of refused) {
      expect(reason).toMatchObject({ reason: 'OVERLOADED', retryDelayMs: 1_000 });
    }
    expect(answers.filter((answer) => answer.status === 'fulfilled').length).toBeGreaterThan(3);
  });
});

describe('a module that does not answer', () => {
  test('is told of while jobs run, and once', async () => {
    const keys = await start(20, { moduleCallMsMax: 60 });
    await keys.run(encode(['123456789']), call());
    expect(heard).toEqual(['hang']);
  });

  test('is told of for rare calls too', async () => {
    const slow = await start(150, { moduleCallMsMax: 60 });
    await slow.control({ control: 'sign', message: new Uint8Array(1) });
    expect(heard).toEqual(['hang']);
  });

  test('and one that answers in time is not', async () => {
    const keys = await start(1, { moduleCallMsMax: 2_000 });
    for (let i = 0; i < 5; i++) await keys.run(encode(['123456789']), call());
    await keys.control({ control: 'sign', message: new Uint8Array(1) });
    expect(heard).toEqual([]);
  });
});

describe('a worker that dies', () => {
  test('fails what is under way and what comes, is told of once, and can be closed', async () => {
    const keys = await start(1);
    const jobs = [
      keys.run(encode(['123456789'], 'clinic/absent'), call()),
      keys.run(encode(['123456789']), call()),
      keys.run(encode(['123456789']), call()),
      keys.control({ control: 'sign', message: new Uint8Array(1) }),
    ];
    for (const job of jobs)
      await expect(job).rejects.toMatchObject({ reason: 'MODULE_UNAVAILABLE' });
    const later = keys.run(encode(['123456789']), call());
    await expect(later).rejects.toMatchObject({ reason: 'MODULE_UNAVAILABLE' });
    const control = keys.control({ control: 'sign', message: new Uint8Array(1) });
    await expect(control).rejects.toMatchObject({ reason: 'MODULE_UNAVAILABLE' });
    expect(keys.dead).toBe(true);
    await keys.close();
    expect(heard).toEqual(['death']);
  });

  test('closing is no death', async () => {
    const keys = await start();
    const last = keys.run(encode(['123456789']), call());
    await keys.close();
    expect((await last).errors).toEqual([]);
    expect(heard).toEqual([]);
    await keys.close();
  });
});
