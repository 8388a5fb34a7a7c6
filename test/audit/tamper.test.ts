import { cp, readdir, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { AuditError } from '../../src/audit/audit-error.ts';
import { fsckLog } from '../../src/audit/fsck.ts';
import type { AuditLog, LogEvent } from '../../src/audit/log.ts';
import { bodyOf, entryOf, fill, newFolder, open, VERIFIER_KEY } from './fixtures.ts';

/** The log's files as they lie there now, as after a kill -9: the log is neither closed nor asked.
 *  */
async function snapshot(folder: string): Promise<string> {
  const copy = await newFolder();
  await cp(folder, copy, { recursive: true });
  return copy;
}

async function filesOf(folder: string): Promise<string[]> {
  const names = await readdir(folder, { recursive: true });
  const files: string[] = [];
  for (const name of names) {
    if ((await stat(join(folder, name))).isFile()) files.push(name);
  }
  return files.sort();
}

async function flip(path: string, at: number, mask: number): Promise<void> {
  const bytes = await readFile(path);
  bytes[at]! ^= mask;
  await writeFile(path, bytes);
}

/** Ends of the groups of a segment: from the lengths in their heads, read by hand here. */
function groupEnds(segment: Buffer): number[] {
  let at = 24 + segment.readUInt32LE(16);
  const ends = [at];
  while (at < segment.length) {
    at += 24 + segment.readUInt32LE(at + 4) + 4;
    ends.push(at);
  }
  return ends;
}

/** Entries [from, to) of one byte, two a group, so that a test may go through every byte. */
async function fillTiny(log: AuditLog, from: number, to: number): Promise<void> {
  for (let at = from; at < to; at += 2) {
    const group = [at, at + 1].slice(0, to - at);
    await log.append(group.map((i) => ({ entry: Uint8Array.of(i), body: Uint8Array.of(7) })));
  }
}

const FIRST = 'journal/0000000000000000.log';

/** Six entries under a checkpoint, and if wanted more after it. */
async function smallLog(later = 0): Promise<{ folder: string; log: AuditLog }> {
  const folder = await newFolder();
  const log = await open(folder, { segmentBytesMax: 300 });
  await fill(log, 0, 3, 2);
  await log.flush();
  await fill(log, 3, 6, 2);
  await log.flush();
  await fill(log, 6, 6 + later, 2);
  return { folder, log };
}

describe('fsck', () => {
  test('every flipped byte of a small log is found', async () => {
    const { folder, log } = await smallLog();
    await log.close();
    expect(await fsckLog(folder, VERIFIER_KEY)).toMatchObject({ ok: true, size: 6, entries: 6 });
    const files = await filesOf(folder);
    expect(files.filter((name) => name.startsWith('journal/')).length).toBeGreaterThan(1);
    for (const name of files) {
      const path = join(folder, name);
      const { size } = await stat(path);
      for (let at = 0; at < size; at++) {
        const mask = at % 2 === 0 ? 0x01 : 0x80;
        await flip(path, at, mask);
        const report = await fsckLog(folder, VERIFIER_KEY);
        expect(report.ok, `${name} at ${at}`).toBe(false);
        expect(report.firstBadIndex).toBeLessThanOrEqual(6);
        await flip(path, at, mask);
      }
    }
    expect((await fsckLog(folder, VERIFIER_KEY)).ok).toBe(true);
  });

  test('every missing file of a log with full tiles is found', async () => {
    const folder = await newFolder();
    const log = await open(folder, { segmentBytesMax: 9_000 });
    await fill(log, 0, 600, 60);
    await log.close();
    const files = await filesOf(folder);
    expect(files).toContain('tile/1/000.p/2');
    for (const name of files) {
      // The oldest segments are retention's to drop.
      if (name === FIRST) continue;
      const bytes = await readFile(join(folder, name));
      await rm(join(folder, name));
      expect((await fsckLog(folder, VERIFIER_KEY)).ok, name).toBe(false);
      await writeFile(join(folder, name), bytes);
    }
    expect((await fsckLog(folder, VERIFIER_KEY)).ok).toBe(true);
  });

  test('a flip in entry, leaf hash, or tile above names the entry', async () => {
    const folder = await newFolder();
    const log = await open(folder);
    await fill(log, 0, 600, 60);
    await log.close();
    const firstBad = async (name: string, at: number): Promise<number | undefined> => {
      await flip(join(folder, name), at, 4);
      const { firstBadIndex } = await fsckLog(folder, VERIFIER_KEY);
      await flip(join(folder, name), at, 4);
      return firstBadIndex;
    };
    expect(await firstBad('tile/0/001', 70 * 32 + 5)).toBe(256 + 70);
    const bundle = await readFile(join(folder, 'tile/entries/001'));
    expect(await firstBad('tile/entries/001', bundle.indexOf('entry 300'))).toBe(300);
    expect(await firstBad('tile/1/000.p/2', 33)).toBe(256);
    const journal = await readFile(join(folder, FIRST));
    expect(await firstBad(FIRST, journal.indexOf('entry 301'))).toBe(301);
    expect(await firstBad(FIRST, journal.indexOf('entry 599') - 3)).toBe(599);
  });

  test('dropped, swapped, doubled and cut groups name the first entry concerned', async () => {
    const folder = await newFolder();
    const log = await open(folder);
    await fill(log, 0, 40, 4);
    await log.close();
    const good = await readFile(join(folder, FIRST));
    const ends = groupEnds(good);
    const group = (i: number): Buffer => good.subarray(ends[i], ends[i + 1]);
    const head = good.subarray(0, ends[0]);
    const rebuilt = (order: number[]): Buffer => Buffer.concat([head, ...order.map(group)]);
    const cases: [number[], number][] = [
      [[0, 1, 2, 4, 5, 6, 7, 8, 9], 12],
      [[0, 1, 3, 2, 4, 5, 6, 7, 8, 9], 8],
      [[0, 1, 2, 3, 3, 4, 5, 6, 7, 8, 9], 16],
      [[0, 1, 2, 3, 4, 5, 6], 28],
    ];
    for (const [order, wanted] of cases) {
      await writeFile(join(folder, FIRST), rebuilt(order));
      expect((await fsckLog(folder, VERIFIER_KEY)).firstBadIndex).toBe(wanted);
      await expect(open(folder)).rejects.toMatchObject({ name: 'AuditError', index: wanted });
    }
  });

  test('a fork is found in the journal, in the tiles, and by an older checkpoint', async () => {
    const [a, b] = [await newFolder(), await newFolder()];
    const real = await open(a);
    await fill(real, 0, 10);
    await real.close();
    const older = Buffer.from(real.head().checkpoint);
    const forked = await open(b);
    await fill(forked, 0, 6, 3);
    await forked.append([{ entry: entryOf(1_000), body: bodyOf(1) }]);
    await fill(forked, 7, 20);
    await forked.close();
    // The fork is whole by itself; only someone who kept a checkpoint of the real one sees it.
    expect((await fsckLog(b, VERIFIER_KEY)).ok).toBe(true);
    const report = await fsckLog(b, VERIFIER_KEY, { older });
    expect(report).toMatchObject({ ok: false, firstBadIndex: 0 });
    expect(report.findings[0]?.what).toContain('fork');
    const journal = await readFile(join(a, FIRST));
    await writeFile(join(a, FIRST), await readFile(join(b, FIRST)));
    expect((await fsckLog(a, VERIFIER_KEY)).firstBadIndex).toBe(6);
    await expect(open(a)).rejects.toMatchObject({ fault: 'damaged', index: 6 });
    await writeFile(join(a, FIRST), journal);
    expect((await fsckLog(a, VERIFIER_KEY, { older })).ok).toBe(true);
  });

  test('a log that lost entries that an older checkpoint covers is found', async () => {
    const { folder, log } = await smallLog();
    const early = await snapshot(folder);
    await fill(log, 6, 9);
    await log.flush();
    const older = Buffer.from(log.head().checkpoint);
    const report = await fsckLog(early, VERIFIER_KEY, { older });
    expect(report).toMatchObject({ ok: false, firstBadIndex: 6 });
  });

  test('it may run beside the log, and tells an unfinished append from damage', async () => {
    const { folder, log } = await smallLog(4);
    expect(await fsckLog(folder, VERIFIER_KEY)).toMatchObject({ ok: true, size: 6, entries: 10 });
    const copy = await snapshot(folder);
    const last = (await filesOf(copy)).filter((name) => name.startsWith('journal/')).at(-1)!;
    await truncate(join(copy, last), (await stat(join(copy, last))).size - 3);
    const report = await fsckLog(copy, VERIFIER_KEY);
    expect(report).toMatchObject({ ok: true, entries: 8 });
    expect(report.tornBytes).toBeGreaterThan(0);
    await log.close();
  });
});

describe('open', () => {
  test('the tail after the checkpoint may be cut at any byte; whole groups stay', async () => {
    const folder = await newFolder();
    const log = await open(folder);
    await fillTiny(log, 0, 4);
    await log.flush();
    await fillTiny(log, 4, 9);
    const bytes = await readFile(join(folder, FIRST));
    const ends = groupEnds(bytes);
    const sizes = [0, 2, 4, 6, 8, 9];
    for (let cut = ends[2]!; cut < bytes.length; cut++) {
      const copy = await snapshot(folder);
      await truncate(join(copy, FIRST), cut);
      const events: LogEvent[] = [];
      const again = await open(copy, { onEvent: (event) => events.push(event) });
      const wanted = sizes[ends.findLastIndex((end) => end <= cut)]!;
      expect(again.size).toBe(wanted);
      expect(events.length).toBe(ends.includes(cut) ? 0 : 1);
      await again.close();
      // The tail is gone from the disk too: a shorter append must not end inside the old one.
      const report = await fsckLog(copy, VERIFIER_KEY);
      expect(report).toMatchObject({ findings: [], entries: wanted, size: wanted, tornBytes: 0 });
    }
    for (const cut of [ends[2]! - 1, ends[1]!, ends[1]! - 1, ends[0]!]) {
      const copy = await snapshot(folder);
      await truncate(join(copy, FIRST), cut);
      const index = sizes[ends.findLastIndex((end) => end <= cut)]!;
      await expect(open(copy)).rejects.toMatchObject({ fault: 'missing', index });
    }
  });

  test('a flipped byte of checkpoint, right edge or last segment refuses the start', async () => {
    const live = await newFolder();
    const log = await open(live);
    await fillTiny(log, 0, 2);
    await log.flush();
    await fillTiny(log, 2, 5);
    const folder = await snapshot(live);
    const files = ['checkpoint', 'tile/0/000.p/2', 'tile/entries/000.p/2', FIRST];
    for (const name of files) {
      const path = join(folder, name);
      const { size } = await stat(path);
      for (let at = 0; at < size; at++) {
        const mask = at % 2 === 0 ? 0x80 : 0x01;
        await flip(path, at, mask);
        await expect(open(folder), `${name} at ${at}`).rejects.toThrow(AuditError);
        await flip(path, at, mask);
      }
    }
    // Refusing changed nothing.
    expect((await open(folder)).size).toBe(5);
  });

  test('sectors that never reached the disk are a torn tail, in the middle damage', async () => {
    const folder = await newFolder();
    const log = await open(folder);
    const big = () => ({ entry: entryOf(1), body: Buffer.alloc(3_000, 5) });
    // The first group ends with a sector, so that one alone can take the second one's head.
    const filler = 1_024 - 24 - 24 - 11 - entryOf(0).length - 4;
    await log.append([{ entry: entryOf(0), body: Buffer.alloc(filler, 5) }]);
    await log.append([big()]);
    await log.append([big(), big()]);
    const bytes = await readFile(join(folder, FIRST));
    const ends = groupEnds(bytes);
    expect(ends[1]).toBe(1_024);
    const sector = (from: number): number => Math.ceil(from / 512) * 512;
    const cases: [number, number, boolean][] = [
      [sector(ends[2]!), 2, true],
      [sector(ends[2]! + 3_000), 2, true],
      [sector(ends[1]! + 1), 1, false],
      [ends[1]!, 1, false],
    ];
    for (const [at, index, torn] of cases) {
      const copy = await snapshot(folder);
      const changed = Buffer.from(bytes);
      changed.fill(0, at, at + 512);
      await writeFile(join(copy, FIRST), changed);
      if (torn) expect((await open(copy)).size).toBe(index);
      else await expect(open(copy)).rejects.toMatchObject({ fault: 'damaged', index });
    }
    // Head and all of the last group lost, the length already on disk.
    const copy = await snapshot(folder);
    await writeFile(join(copy, FIRST), Buffer.from(bytes).fill(0, ends[2]));
    expect((await open(copy)).size).toBe(2);
  });

  test('a lost checkpoint, journal or segment, and a log put back, are refused', async () => {
    const { folder, log } = await smallLog();
    const early = await snapshot(folder);
    await fill(log, 6, 9);
    await log.close();
    const refused = async (change: (copy: string) => Promise<void>, fault: string) => {
      const copy = await snapshot(folder);
      await change(copy);
      await expect(open(copy), fault).rejects.toMatchObject({ name: 'AuditError', fault });
    };
    await refused((copy) => rm(join(copy, 'checkpoint')), 'missing');
    await refused((copy) => rm(join(copy, 'journal'), { recursive: true }), 'missing');
    await refused((copy) => rm(join(copy, 'tile'), { recursive: true }), 'missing');
    await refused(async (copy) => {
      await rm(join(copy, 'journal'), { recursive: true });
      await cp(join(early, 'journal'), join(copy, 'journal'), { recursive: true });
      await cp(join(early, 'checkpoint'), join(copy, 'checkpoint'));
    }, 'rollback');
    const unpublished = await newFolder();
    await fill(await open(unpublished), 0, 3);
    const copy = await snapshot(unpublished);
    await rm(join(copy, 'checkpoint'));
    await expect(open(copy)).rejects.toMatchObject({ fault: 'missing', index: 0 });
    const empty = await newFolder();
    await expect(open(empty, { create: false })).rejects.toMatchObject({ fault: 'missing' });
  });
});
