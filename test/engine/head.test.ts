import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { openLogger } from '../../src/base/logger.ts';
import { HeadKeeper, type HeadLane, type HeadSources } from '../../src/engine/head.ts';
import { type Head, markName, readHead, writeHead } from '../../src/engine/head-object.ts';
import type { Control } from '../../src/engine/job.ts';
import { KeyRing } from '../../src/engine/key-ring.ts';
import { insecureMemoryModule } from '../../src/keys/insecure-memory.ts';
import type { KeyModule } from '../../src/keys/key.ts';

const ROOT = 'lockstep.root.v1';

function rig() {
  const module = insecureMemoryModule();
  return { module, ring: KeyRing.make(module, ROOT) };
}

const headOf = (more: Partial<Head> = {}): Head => ({
  epoch: 1,
  owner: new Uint8Array(16).fill(1),
  commit: 10,
  size: 20,
  root: new Uint8Array(32).fill(2),
  catalogue: 3,
  marks: new Map([[markName('clinic/ssn'), { below: 400, unordered: false }]]),
  ...more,
});

/** All objects that there would be after a crash between making the new one and destroying the
 *  old: `readData` and `replaceData` of a module that destroys nothing. */
function hoarding(inner: KeyModule): KeyModule & { objects: Uint8Array[] } {
  const objects: Uint8Array[] = [];
  return {
    ...inner,
    objects,
    keepsData: true,
    readData: () => objects,
    replaceData(_, change) {
      const next = change([...objects]);
      if (next !== undefined) objects.unshift(next);
    },
  };
}

describe('the head as a data object', () => {
  test('what was written is read, with any numbers and marks', () =>
    fc.assert(
      fc.property(
        fc.record({
          epoch: fc.maxSafeNat(),
          owner: fc.uint8Array({ minLength: 16, maxLength: 16 }),
          commit: fc.maxSafeNat(),
          size: fc.maxSafeNat(),
          root: fc.uint8Array({ minLength: 32, maxLength: 32 }),
          catalogue: fc.maxSafeNat(),
          marks: fc
            .dictionary(fc.string(), fc.record({ below: fc.maxSafeNat(), unordered: fc.boolean() }))
            .map((marks) => {
              const named = Object.entries(marks).map(
                ([id, mark]) => [markName(id), mark] as const,
              );
              return new Map(named);
            }),
        }),
        (head) => {
          const { module, ring } = rig();
          expect(readHead(module, ring)).toEqual({ head: undefined, kept: false, forged: 0 });
          expect(writeHead(module, ring, head)).toEqual({ taken: false });
          expect(readHead(module, ring)).toEqual({ head, kept: false, forged: 0 });
        },
      ),
      { numRuns: 30 },
    ));

  test('no bit of it can be changed, and another installation’s is none', () => {
    const { module, ring } = rig();
    const label = `lockstep.head.${ring.installation}`;
    writeHead(module, ring, headOf());
    const [good] = module.readData(label);
    const refused = { head: undefined, kept: false, forged: 1 };
    for (let at = 0; at < good!.length; at++) {
      const bad = Uint8Array.from(good!);
      bad[at]! ^= 1 << (at % 8);
      module.replaceData(label, () => bad);
      expect(readHead(module, ring), `byte ${at}`).toEqual(refused);
    }
    for (const bytes of [new Uint8Array(0), good!.subarray(0, -1), good!.subarray(1)]) {
      module.replaceData(label, () => bytes);
      expect(readHead(module, ring)).toEqual(refused);
    }
    const other = KeyRing.make(module, ROOT);
    writeHead(module, other, headOf());
    const [theirs] = module.readData(`lockstep.head.${other.installation}`);
    module.replaceData(label, () => theirs);
    expect(readHead(module, ring)).toEqual(refused);
    module.replaceData(label, () => good);
    expect(readHead(module, ring).head).toEqual(headOf());
  });

  test('of several that a crash left, the last written counts, and a planted one never', () => {
    const { module, ring } = rig();
    const hoard = hoarding(module);
    for (const commit of [1, 2, 3]) writeHead(hoard, ring, headOf({ commit }));
    hoard.objects.push(Buffer.from('planted'));
    hoard.objects.reverse();
    expect(readHead(hoard, ring)).toEqual({ head: headOf({ commit: 3 }), kept: true, forged: 1 });
    // A later epoch outranks however many writes of an earlier one.
    const later = headOf({ epoch: 2, commit: 1 });
    writeHead(hoard, ring, later);
    expect(readHead(hoard, ring).head).toEqual(later);
  });

  test('a later epoch, and the same one of another owner, are not overwritten', () => {
    const { module, ring } = rig();
    const there = headOf({ epoch: 5 });
    writeHead(module, ring, there);
    for (const ours of [
      headOf({ epoch: 4 }),
      headOf({ epoch: 5, owner: new Uint8Array(16).fill(9) }),
    ]) {
      expect(writeHead(module, ring, ours)).toEqual({ taken: true });
      expect(readHead(module, ring).head).toEqual(there);
    }
    expect(writeHead(module, ring, headOf({ epoch: 5, commit: 11 }))).toEqual({ taken: false });
    expect(writeHead(module, ring, headOf({ epoch: 6 }))).toEqual({ taken: false });
  });
});

/** As the key worker answers, in this thread, one turn later; it may be held up. */
function laneOf(module: KeyModule, ring: KeyRing) {
  const state = { writes: 0, held: Promise.resolve() };
  const control = async (asked: Control): Promise<unknown> => {
    await state.held;
    if (asked.control === 'read-head') return readHead(module, ring);
    if (asked.control !== 'write-head') throw new Error('not asked of a head');
    state.writes++;
    return writeHead(module, ring, asked.head);
  };
  return Object.assign(state, { lane: { control } as HeadLane });
}

const logger = openLogger({ level: 'silent' });
const sources = (commit = 0): HeadSources => ({
  commit: () => commit,
  log: () => ({ size: 0, root: new Uint8Array(32) }),
  catalogue: () => 1,
});
const MOST = 1_000_000_000;

describe('who keeps the head', () => {
  async function keeping(more: { lost?: () => void } = {}) {
    const { module, ring } = rig();
    const way = laneOf(module, ring);
    const open = (onLost = more.lost ?? (() => {})) =>
      HeadKeeper.open({ lane: way.lane, logger, onLost });
    return { way, open, read: () => readHead(module, ring).head };
  }
  const begin = (head: HeadKeeper, epoch: number, commit = 0): Promise<void> =>
    head.begin(epoch, sources(commit), async () => {});

  test('each beginning is an epoch of its own, above that of vault and module', async () => {
    const { open, read } = await keeping();
    const first = await open();
    expect(first.found).toBeUndefined();
    const saved: number[] = [];
    await first.begin(0, sources(), async (epoch) => {
      // The vault has it first: a module that is ahead of its vault means a rollback.
      expect(read()).toBeUndefined();
      saved.push(epoch);
    });
    first.stop();
    const second = await open();
    await begin(second, 7);
    second.stop();
    const third = await open();
    await begin(third, 2);
    third.stop();
    expect(saved).toEqual([1]);
    expect(third.found?.epoch).toBe(8);
    expect(read()?.epoch).toBe(9);
  });

  test('marks are durable before they may be used, a block ahead, and never go back', async () => {
    const { way, open, read } = await keeping();
    const head = await open();
    await begin(head, 0);
    const below = (id: string) => read()?.marks.get(markName(id))?.below ?? 0;
    const before = way.writes;
    await head.reserve('clinic/ssn', 100, MOST, false);
    expect(below('clinic/ssn')).toBe(100 + 1_048_576);
    expect(head.reserve('clinic/ssn', 1_048_676, MOST, false)).toBeUndefined();
    expect(way.writes).toBe(before + 1);
    await head.reserve('clinic/ssn', 1_048_677, MOST, false);
    expect(below('clinic/ssn')).toBe(2 * 1_048_576 + 101);
    await head.reserve('clinic/small', 10, 1_000, false);
    expect(below('clinic/small')).toBe(10 + 4);
    await head.reserve('clinic/small', 999, 1_000, false);
    expect(below('clinic/small')).toBe(1_000);
    expect(head.reserve('clinic/drawn', 0, 1_000, false)).toBeUndefined();
    await head.reserve('clinic/drawn', 0, 1_000, true);
    expect(head.markOf('clinic/drawn')).toEqual({ below: 0, unordered: true });
    expect(head.reserve('clinic/drawn', 0, 1_000, true)).toBeUndefined();
    await head.end(new Map([['clinic/ssn', 5]]));
    expect(below('clinic/ssn')).toBe(5);
    expect(below('clinic/small')).toBe(1_000);
  });

  test('concurrent reservations share writes, and each is in one before it resolves', () =>
    fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.integer({ min: 0, max: 2 }), fc.nat({ max: 5_000_000 })), {
          maxLength: 40,
        }),
        async (asked) => {
          const { open, read } = await keeping();
          const head = await open();
          await begin(head, 0);
          await Promise.all(
            asked.map(async ([domain, upTo]) => {
              await head.reserve(`clinic/${domain}`, upTo, MOST, false);
              const mark = read()?.marks.get(markName(`clinic/${domain}`))?.below ?? 0;
              expect(mark).toBeGreaterThanOrEqual(upTo);
            }),
          );
          head.stop();
        },
      ),
      { numRuns: 40 },
    ));

  test('until it begins, marks alone may change: by the rest a rollback is told', async () => {
    const { open, read } = await keeping();
    const first = await open();
    await begin(first, 0, 77);
    first.stop();
    const second = await open();
    await second.reserve('clinic/ssn', 9, MOST, false);
    expect(read()).toMatchObject({ epoch: 1, commit: 77, owner: first.found?.owner ?? {} });
    await begin(second, 1, 3);
    second.stop();
    expect(read()).toMatchObject({ epoch: 2, commit: 3 });
    expect(read()?.marks.size).toBe(1);
  });

  test('who is overtaken writes nothing more, says so once, and the other goes on', async () => {
    const { open, read } = await keeping();
    const lost: string[] = [];
    const first = await open(() => lost.push('first'));
    await begin(first, 0, 10);
    await first.reserve('clinic/ssn', 1, MOST, false);
    const second = await open(() => lost.push('second'));
    await begin(second, 1, 20);
    const refused = { reason: 'STORE_UNAVAILABLE' };
    expect(first.lost).toBe(false);
    // What it has reserved before is above what the other begins with.
    expect(first.reserve('clinic/ssn', 1_000, MOST, false)).toBeUndefined();
    expect(second.markOf('clinic/ssn')?.below).toBeGreaterThan(1_000);
    await expect(first.reserve('clinic/ssn', 9e6, MOST, false)).rejects.toMatchObject(refused);
    expect(first.lost).toBe(true);
    await expect(first.flush()).rejects.toMatchObject(refused);
    await expect(first.end(new Map())).rejects.toMatchObject(refused);
    expect(lost).toEqual(['first']);
    await second.reserve('clinic/ssn', 9e6, MOST, false);
    expect(read()).toMatchObject({ commit: 20, epoch: 2 });
    second.stop();
  });

  test('of two that begin at once, one is refused', async () => {
    const { way, open } = await keeping();
    const [one, two] = [await open(), await open()];
    const gate = Promise.withResolvers<void>();
    way.held = gate.promise;
    const both = Promise.allSettled([begin(one, 0), begin(two, 0)]);
    gate.resolve();
    const outcomes = (await both).map(({ status }) => status).sort();
    expect(outcomes).toEqual(['fulfilled', 'rejected']);
    one.stop();
    two.stop();
  });
});
