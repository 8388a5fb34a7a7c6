import { describe, expect, test } from 'vitest';
import { verifyProof } from '../../src/audit/checkpoint.ts';
import { fsckLog } from '../../src/audit/fsck.ts';
import { parseVerifierKey } from '../../src/audit/note.ts';
import { leafHash, verifyConsistency } from '../../src/audit/tree.ts';
import { bodyOf, entryOf, fill, newFolder, open, recordOf, VERIFIER_KEY } from './fixtures.ts';

const verifier = parseVerifierKey(VERIFIER_KEY);

describe('the log', () => {
  test('what is appended is read back, proven and whole', async () => {
    const folder = await newFolder();
    const log = await open(folder, { segmentBytesMax: 8_000 });
    await fill(log, 0, 300);
    const first = log.head();
    expect(first.size).toBe(0);
    await log.flush();
    const older = log.head();
    const body = bodyOf(1);
    const { firstIndex, leafHashes } = await log.append([{ entry: entryOf(300), body }]);
    expect(firstIndex).toBe(300);
    expect(leafHashes).toEqual(new Uint8Array(leafHash(entryOf(300))));
    await fill(log, 301, 700);
    for (const index of [0, 255, 256, 299, 300, 301, 699]) {
      expect(Buffer.from(await log.entry(index))).toEqual(entryOf(index));
    }
    expect(await log.body(300)).toEqual(new Uint8Array(body));
    await log.flush();
    for (const index of [0, 255, 256, 299, 300, 301, 511, 512, 699]) {
      const { leaf, text } = await log.proof(index);
      expect(Buffer.from(leaf)).toEqual(entryOf(index));
      expect(verifyProof(text, leaf, verifier).index).toBe(index);
      expect(() => verifyProof(text, entryOf(1000), verifier)).toThrow();
    }
    const path = await log.consistency(older.size);
    expect(verifyConsistency(300, 700, older.root, log.head().root, path)).toBe(true);
    const entries: number[] = [];
    await fill(log, 700, 710);
    for await (const { index, entry } of log.entriesFrom(100)) {
      expect(Buffer.from(entry)).toEqual(entryOf(index));
      entries.push(index);
    }
    expect(entries).toEqual(Array.from({ length: 610 }, (_, i) => 100 + i));
    await log.close();
    const report = await fsckLog(folder, VERIFIER_KEY, { older: Buffer.from(older.checkpoint) });
    expect(report).toMatchObject({ ok: true, findings: [], size: 710, entries: 710 });
    expect(report.checkpoints).toBeGreaterThan(2);
  });

  test('it goes on after a restart', async () => {
    const folder = await newFolder();
    for (let from = 0; from < 1_100; from += 137) {
      const log = await open(folder, { segmentBytesMax: 20_000 });
      expect(log.size).toBe(from);
      await fill(log, from, from + 137, 50);
      await log.close();
    }
    expect(await fsckLog(folder, VERIFIER_KEY)).toMatchObject({ ok: true, findings: [] });
  });

  test('a second opener is refused, and may come after the first', async () => {
    const folder = await newFolder();
    const log = await open(folder);
    await expect(open(folder)).rejects.toMatchObject({ fault: 'in-use' });
    await log.append([recordOf(0)]);
    await log.close();
    expect((await open(folder)).size).toBe(1);
  });
});
