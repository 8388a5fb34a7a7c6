import { execFileSync } from 'node:child_process';
import { mkdir, readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { openCheckpoint } from '../../src/audit/checkpoint.ts';
import { fsckLog } from '../../src/audit/fsck.ts';
import type { AuditLog } from '../../src/audit/log.ts';
import { parseVerifierKey } from '../../src/audit/note.ts';
import { verifyConsistency } from '../../src/audit/tree.ts';
import { CallError } from '../../src/base/call-error.ts';
import { entryOf, fill, newFolder, open, recordOf, signer, VERIFIER_KEY } from './fixtures.ts';

const verifier = parseVerifierKey(VERIFIER_KEY);

class Crash extends Error {}

/** Lets `count` file operations through, then none: the process is dead from there on. */
function dieAfter(count: number): { before: (operation: string) => void; died: () => string } {
  let left = count;
  let at = '';
  const before = (operation: string): void => {
    if (left-- > 0) return;
    if (at === '') at = operation;
    throw new Crash();
  };
  return { before, died: () => at };
}

interface Run {
  /** Entries that the caller was told of. */
  acknowledged: number;
  /** Checkpoints that anyone may have seen. */
  readonly seen: Buffer[];
}

async function look(folder: string, run: Run): Promise<void> {
  const note = await readFile(join(folder, 'checkpoint')).catch(() => undefined);
  if (note !== undefined) run.seen.push(note);
}

/** Appends, rolls segments, fills a tile, publishes. */
async function work(folder: string, run: Run, before: (operation: string) => void): Promise<void> {
  let log: AuditLog | undefined;
  try {
    log = await open(folder, { segmentBytesMax: 12_000 }, before);
    for (const count of [3, 200, 1, 60, 5]) {
      for (let done = 0; done < count; ) {
        const group = Math.min(50, count - done);
        const from = run.acknowledged;
        await log.append(Array.from({ length: group }, (_, i) => recordOf(from + i)));
        run.acknowledged += group;
        done += group;
      }
      await log.flush();
      await look(folder, run);
    }
  } finally {
    await look(folder, run);
    await log?.close();
  }
}

describe('a process that ends between two file operations', () => {
  test('keeps what it acknowledged, and its checkpoints stay consistent', async () => {
    const places = new Set<string>();
    for (let count = 0; ; count++) {
      const folder = await newFolder();
      const run: Run = { acknowledged: 0, seen: [] };
      const { before, died } = dieAfter(count);
      const failure = await work(folder, run, before).catch((error: unknown) => error);
      if (died() === '') {
        expect(failure).toBeUndefined();
        break;
      }
      places.add(died().replace(/[0-9x/]+.*$/, ''));
      const log = await open(folder, { segmentBytesMax: 12_000 });
      expect(log.size, died()).toBeGreaterThanOrEqual(run.acknowledged);
      for (let i = 0; i < run.acknowledged; i += 13) {
        expect(Buffer.from(await log.entry(i))).toEqual(entryOf(i));
      }
      await fill(log, log.size, log.size + 3);
      await log.flush();
      for (const note of run.seen) {
        const { size, root } = openCheckpoint(note, verifier);
        if (size === 0) continue;
        const proof = await log.consistency(size);
        const head = log.head();
        expect(verifyConsistency(size, head.size, root, head.root, proof), died()).toBe(true);
      }
      await log.close();
      expect((await fsckLog(folder, VERIFIER_KEY)).findings, died()).toEqual([]);
      await rm(folder, { recursive: true });
    }
    // Every kind of operation was hit.
    expect([...places]).toEqual(
      expect.arrayContaining([
        'append: write',
        'append: acknowledge',
        'create checkpoint',
        'rename checkpoint',
        'rename journal',
        'rename tile',
        'remove tile',
        'sync folder ',
      ]),
    );
  }, 120_000);
});

describe('a sink that fails', () => {
  test('one failed write or sync fences the log until it is opened again', async () => {
    for (const operation of ['append: write', 'append: acknowledge']) {
      const folder = await newFolder();
      let broken = false;
      const log = await open(folder, {}, (name) => {
        if (broken && name === operation) throw Object.assign(new Error('EIO'), { code: 'EIO' });
      });
      await fill(log, 0, 5);
      broken = true;
      const refused = { reason: 'LOG_UNAVAILABLE' };
      await expect(log.append([recordOf(5)])).rejects.toMatchObject(refused);
      broken = false;
      expect(log.fenced).toBe(true);
      await expect(log.append([recordOf(5)])).rejects.toMatchObject(refused);
      expect(Buffer.from(await log.entry(4))).toEqual(entryOf(4));
      await log.close();
      const again = await open(folder);
      // The write that was not synced may be there: its caller does not know either.
      expect(again.size).toBe(operation === 'append: write' ? 5 : 6);
      expect(again.fenced).toBe(false);
    }
  });

  test('a journal deleted while open is noticed by the next append', async () => {
    const folder = await newFolder();
    const log = await open(folder);
    await fill(log, 0, 5);
    for (const name of await readdir(join(folder, 'journal')))
      await rm(join(folder, 'journal', name));
    await expect(log.append([recordOf(5)])).rejects.toMatchObject({ reason: 'LOG_UNAVAILABLE' });
    await expect(log.append([recordOf(5)])).rejects.toThrow(CallError);
  });

  test('a signer that fails or is slow delays checkpoints, never appends', async () => {
    let works = false;
    const sign = async (message: Uint8Array): Promise<Uint8Array> => {
      if (!works) throw new Error('CKR_DEVICE_ERROR');
      return signer.sign(message);
    };
    const folder = await newFolder();
    await (await open(folder)).close();
    const events: string[] = [];
    const log = await open(folder, { sign, checkpointMs: 20, onEvent: (e) => events.push(e.kind) });
    await fill(log, 0, 9_000, 300);
    await expect(log.flush()).rejects.toMatchObject({ reason: 'LOG_UNAVAILABLE' });
    expect(log.head().size).toBe(0);
    works = true;
    const { text } = await log.proof(8_999);
    expect(text).toContain('index 8999\n');
    expect(events).toContain('checkpoint-failed');
    expect(log.fenced).toBe(false);
  });

  test('a signer of another key publishes nothing', async () => {
    const folder = await newFolder();
    const { sign } = await import('./fixtures.ts').then(({ newSigner }) => newSigner());
    await expect(open(folder, { sign })).rejects.toThrow();
    expect(await readdir(folder)).not.toContain('checkpoint');
  });

  test('a full disk fences; with space again all acknowledged is there', async (context) => {
    const folder = await newFolder();
    const small = join(folder, 'disk');
    await mkdir(small);
    try {
      execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=512k', 'tmpfs', small], {
        stdio: 'ignore',
      });
    } catch {
      console.warn('skipped: a full disk needs root and tmpfs');
      context.skip();
    }
    try {
      const log = await open(join(small, 'log'));
      let done = 0;
      const failure = await (async () => {
        for (; ; done++) await log.append([{ entry: entryOf(done), body: Buffer.alloc(2_000, 1) }]);
      })().catch((error: unknown) => error);
      expect(failure).toMatchObject({ reason: 'LOG_UNAVAILABLE' });
      expect((failure as CallError).cause).toMatchObject({ code: 'ENOSPC' });
      await log.close();
      execFileSync('mount', ['-o', 'remount,size=4m', small]);
      const again = await open(join(small, 'log'));
      expect(again.size).toBe(done);
      await fill(again, done, done + 300);
      await again.close();
      expect((await fsckLog(join(small, 'log'), VERIFIER_KEY)).findings).toEqual([]);
    } finally {
      execFileSync('umount', ['-l', small]);
    }
  });
});
