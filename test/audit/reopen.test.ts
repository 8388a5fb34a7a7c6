import { readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { AuditError } from '../../src/audit/audit-error.ts';
import { openCheckpoint } from '../../src/audit/checkpoint.ts';
import { fsckLog } from '../../src/audit/fsck.ts';
import type { AuditLog } from '../../src/audit/log.ts';
import { parseVerifierKey } from '../../src/audit/note.ts';
import { verifyConsistency } from '../../src/audit/tree.ts';
import { entryOf, fill, newFolder, open, recordOf, signer, VERIFIER_KEY } from './fixtures.ts';

const verifier = parseVerifierKey(VERIFIER_KEY);
const fenced = { reason: 'LOG_UNAVAILABLE' };

/** Fails the file operation that `when` names, once. */
function failing(): { before: (operation: string) => void; at: (when: string) => void } {
  let wanted: string | undefined;
  return {
    before(operation) {
      if (wanted === undefined || !operation.startsWith(wanted)) return;
      wanted = undefined;
      throw Object.assign(new Error('no space left on device'), { code: 'ENOSPC' });
    },
    at(when) {
      wanted = when;
    },
  };
}

async function entriesOf(log: AuditLog): Promise<string[]> {
  const found: string[] = [];
  for await (const { entry } of log.entriesFrom(0)) found.push(Buffer.from(entry).toString());
  return found;
}

const expected = (...indexes: number[]): string[] =>
  indexes.map((i) => Buffer.from(entryOf(i)).toString());
const upTo = (size: number): number[] => Array.from({ length: size }, (_, i) => i);

const journalOf = (folder: string): string => {
  const names = readdirSync(join(folder, 'journal')).sort();
  return join(folder, 'journal', names.at(-1)!);
};

describe('a log that failed is opened again in place', () => {
  test('an append that wrote nothing: all before is there, and it goes on', async () => {
    const folder = await newFolder();
    const disk = failing();
    const log = await open(folder, { checkpointMs: 20 }, disk.before);
    await fill(log, 0, 30);
    await log.flush();
    await fill(log, 30, 40);
    const old = log.head();
    disk.at('append: write');
    await expect(log.append([recordOf(90)])).rejects.toMatchObject(fenced);
    await expect(log.append([recordOf(91)])).rejects.toMatchObject(fenced);
    expect(log.fenced).toBe(true);
    const [survived, proof, body] = await Promise.all([log.reopen(), log.proof(35), log.body(3)]);
    expect(survived).toBe(0);
    expect(proof.text).toContain('c2sp.org/tlog-proof');
    expect(body).toBeDefined();
    expect(log.fenced).toBe(false);
    expect(log.size).toBe(40);
    expect(await log.reopen(), 'nothing to do').toBe(0);
    await fill(log, 40, 300);
    await log.flush();
    expect(await entriesOf(log)).toEqual(expected(...upTo(300)));
    const path = await log.consistency(old.size);
    const { size, root } = log.head();
    expect(verifyConsistency(old.size, size, old.root, root, path)).toBe(true);
    await log.close();
    expect((await fsckLog(folder, VERIFIER_KEY)).ok).toBe(true);
  });

  test('an append that was written and not acknowledged: its entries stand', async () => {
    const folder = await newFolder();
    const disk = failing();
    const log = await open(folder, {}, disk.before);
    await fill(log, 0, 10);
    disk.at('append: acknowledge');
    await expect(log.append([recordOf(10), recordOf(11)])).rejects.toMatchObject(fenced);
    expect(log.size).toBe(10);
    expect(await log.reopen()).toBe(2);
    expect(log.size).toBe(12);
    await fill(log, 12, 20);
    await log.flush();
    expect(await entriesOf(log)).toEqual(expected(...upTo(20)));
  });

  test('an append that was written in part is cut off', async () => {
    const folder = await newFolder();
    const disk = failing();
    const events: string[] = [];
    const onEvent = ({ kind }: { kind: string }): void => void events.push(kind);
    const log = await open(folder, { onEvent }, disk.before);
    await fill(log, 0, 10);
    const whole = readFileSync(journalOf(folder)).length;
    disk.at('append: acknowledge');
    await expect(log.append([recordOf(10), recordOf(11)])).rejects.toMatchObject(fenced);
    truncateSync(journalOf(folder), whole + 30);
    expect(await log.reopen()).toBe(0);
    expect(events).toEqual(['fenced', 'torn-tail']);
    await fill(log, 10, 20);
    expect(await entriesOf(log)).toEqual(expected(...upTo(20)));
  });

  test('one operation fails, whichever: nothing acknowledged is lost or comes twice', async () => {
    const healed = new Set<string>();
    for (let count = 0; count < 260; count++) {
      const folder = await newFolder();
      let left = count;
      let failed = '';
      const before = (operation: string): void => {
        // Those of the background come at any time: counted too, none would be hit for sure.
        if (!/append|journal/.test(operation) || left-- !== 0) return;
        failed = operation;
        throw Object.assign(new Error('I/O error'), { code: 'EIO' });
      };
      let log: AuditLog;
      try {
        log = await open(folder, { segmentBytesMax: 4_000, checkpointMs: 1 }, before);
      } catch {
        continue; // While it was made: the next start makes it anew.
      }
      const acknowledged: string[] = [];
      for (let i = 0; i < 140; i += 20) {
        const records = upTo(20).map((row) => recordOf(i + row));
        const done = await log.append(records).catch(() => undefined);
        if (done !== undefined) expect(done.firstIndex, failed).toBe(acknowledged.length);
        else {
          const survived = await log.reopen();
          expect([0, 20], failed).toContain(survived);
          if (survived === 0) await log.append(records);
          healed.add(failed.replace(/\d.*/, ''));
        }
        acknowledged.push(...expected(...upTo(20).map((row) => i + row)));
      }
      await log.flush().catch(() => log.flush());
      expect(await entriesOf(log), failed).toEqual(acknowledged);
      const { checkpoint } = log.head();
      await log.close();
      expect(openCheckpoint(Buffer.from(checkpoint), verifier).size).toBe(140);
      expect((await fsckLog(folder, VERIFIER_KEY)).ok, failed).toBe(true);
      if (left > 0) break; // All went through: every operation has failed once.
    }
    expect([...healed]).toEqual(
      expect.arrayContaining(['append: write', 'append: acknowledge', 'rename journal/']),
    );
  }, 60_000);

  test('acknowledged entries that are gone, or others, keep it fenced', async () => {
    const damages: [what: string, fault: string, damage: (folder: string) => void][] = [
      ['cut', 'missing', (folder) => truncateSync(journalOf(folder), 2_000)],
      ['deleted', 'missing', (folder) => rmSync(journalOf(folder))],
      [
        'older',
        'missing',
        (folder) => writeFileSync(journalOf(folder), readFileSync(join(folder, 'kept'))),
      ],
    ];
    for (const [what, fault, damage] of damages) {
      const folder = await newFolder();
      const disk = failing();
      const log = await open(folder, {}, disk.before);
      await fill(log, 0, 20);
      writeFileSync(join(folder, 'kept'), readFileSync(journalOf(folder)));
      await fill(log, 20, 60);
      disk.at('append: write');
      await expect(log.append([recordOf(60)])).rejects.toMatchObject(fenced);
      damage(folder);
      const reopened = log.reopen();
      await expect(reopened, what).rejects.toBeInstanceOf(AuditError);
      await expect(reopened, what).rejects.toMatchObject({ fault });
      expect(log.fenced).toBe(true);
      await expect(log.append([recordOf(60)])).rejects.toMatchObject(fenced);
    }
  });

  test('other entries, as many as were acknowledged, keep it fenced', async () => {
    const [folder, other] = [await newFolder(), await newFolder()];
    const disk = failing();
    const log = await open(folder, {}, disk.before);
    const forged = await open(other);
    await fill(log, 0, 20);
    await fill(forged, 0, 10);
    await fill(forged, 100, 110);
    disk.at('append: write');
    await expect(log.append([recordOf(20)])).rejects.toMatchObject(fenced);
    writeFileSync(journalOf(folder), readFileSync(journalOf(other)));
    await expect(log.reopen()).rejects.toMatchObject({ fault: 'damaged' });
    expect(log.fenced).toBe(true);
  });

  test('a disk that fails again while it is opened leaves it fenced, the next heals', async () => {
    const folder = await newFolder();
    const disk = failing();
    const log = await open(folder, {}, disk.before);
    await fill(log, 0, 20);
    disk.at('append: write');
    await expect(log.append([recordOf(20)])).rejects.toMatchObject(fenced);
    disk.at('remove tmp');
    await expect(log.reopen()).rejects.toMatchObject({ code: 'ENOSPC' });
    expect(log.fenced).toBe(true);
    expect(Buffer.from(await log.entry(19))).toEqual(Buffer.from(entryOf(19)));
    expect(await log.reopen()).toBe(0);
    await fill(log, 20, 30);
    expect(log.size).toBe(30);
    await log.close();
    await expect(log.reopen()).rejects.toMatchObject({ reason: 'DRAINING' });
  });
});

test('the key that signs is not asked for while a log is opened again', async () => {
  const folder = await newFolder();
  const disk = failing();
  let asked = 0;
  const sign = (message: Uint8Array): Promise<Uint8Array> => {
    asked++;
    return signer.sign(message);
  };
  const log = await open(folder, { sign }, disk.before);
  await fill(log, 0, 20);
  disk.at('append: write');
  await expect(log.append([recordOf(20)])).rejects.toMatchObject(fenced);
  const before = asked;
  await log.reopen();
  expect(asked).toBe(before);
});

test('beginning a segment while a checkpoint is published is no fault', async () => {
  const folder = await newFolder();
  const log = await open(folder, { segmentBytesMax: 500, checkpointMs: 1 });
  for (let i = 0; i < 300; i++) {
    await log.append([recordOf(i)]);
    if (i % 3 === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  expect(log.fenced).toBe(false);
  expect(log.size).toBe(300);
});
