import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import type { Engine } from '../../src/engine/calls.ts';
import { verifyCertificate } from '../../src/engine/certificate.ts';
import { insecureMemoryModule } from '../../src/keys/insecure-memory.ts';
import { CHECKPOINT_LABEL } from '../../src/keys/roots.ts';
import { openLevelStore } from '../../src/storage/level-store.ts';
import { BY_SUBJECT, byTokens, byValues, ended, eraseCall, inFiles, sealedOf } from './erasing.ts';
import {
  DEV,
  domain,
  heldClock,
  type Installation,
  type InstallationOptions,
  installation,
  ORIGIN,
  one,
  SEED,
  textOf,
  tokenizeCall,
} from './harness.ts';

const HOUR_MS = 3_600_000;
const opened: { home: Installation; engine: Engine }[] = [];

async function start(options: InstallationOptions = {}) {
  const home = installation(options);
  const engine = await home.open();
  const started = { home, engine };
  opened.push(started);
  await engine.createDomain(DEV, domain('mrn', 'static', 'digits:9'));
  await engine.createDomain(DEV, domain('own', 'static', 'digits:9', { subjectRequired: true }));
  return started;
}

afterEach(async () => {
  for (const { home, engine } of opened.splice(0)) {
    await engine.close();
    home.remove();
  }
});

const publicKey = insecureMemoryModule({ seed: SEED }).publicKey(CHECKPOINT_LABEL);

describe('sealed bytes of what was erased', () => {
  test('leave the files with the next compaction, which the certificate then proves', async () => {
    const { home, engine } = await start();
    const values = Array.from({ length: 50 }, (_, i) => String(100_000_000 + i));
    const tokens = textOf((await engine.tokenize(tokenizeCall('mrn', values))).tokens);
    const [kept, gone, alsoGone] = await sealedOf(home.folder, 'clinic/mrn', [0, 1, 2]);
    expect(inFiles(home.folder, gone!)).toBe(true);
    const one1 = await engine.erase(eraseCall('mrn', byTokens(tokens[1]!)));
    const two = await engine.erase(eraseCall('mrn', byValues(values[2]!)));
    expect(inFiles(home.folder, gone!)).toBe(true);
    expect(verifyCertificate(one1.certificate, ORIGIN, publicKey).stage).toBe('unreadable');
    const { job, receipt } = await engine.compactVault(DEV);
    expect(receipt.leafIndex).toBeGreaterThan(two.receipt.leafIndex);
    expect(await ended(engine, job)).toMatchObject({ kind: 'compaction', state: 'done' });
    expect(inFiles(home.folder, gone!)).toBe(false);
    expect(inFiles(home.folder, alsoGone!)).toBe(false);
    expect(inFiles(home.folder, kept!)).toBe(true);
    for (const { receipt: leaf } of [one1, two]) {
      const { certificate, compacted } = await engine.erasureCertificate(DEV, leaf.leafIndex);
      const read = verifyCertificate(certificate, ORIGIN, publicKey);
      expect(compacted).toBe(true);
      expect(read.stage).toBe('gone');
      expect(read.leaves.map(({ index }) => index)).toEqual([leaf.leafIndex]);
    }
    const nothing = await engine.compactVault(DEV);
    expect((await ended(engine, nothing.job)).result).toEqual({});
  });

  test('also where a row and its deletion were written out of memory together', async () => {
    const { home, engine } = await start();
    const [token] = textOf((await engine.tokenize(tokenizeCall('mrn', ['123456789']))).tokens);
    const [sealed] = await sealedOf(home.folder, 'clinic/mrn', [0]);
    await engine.erase(eraseCall('mrn', byTokens(token!)));
    await engine.close();
    // The start writes both into one table.
    const again = await home.open();
    opened[0]!.engine = again;
    expect(inFiles(home.folder, sealed!)).toBe(true);
    const { job } = await again.compactVault(DEV);
    await ended(again, job);
    expect(inFiles(home.folder, sealed!)).toBe(false);
  });

  test('an erasure of before a restart is compacted by itself when it is due', async () => {
    const clock = heldClock(Date.now());
    const { home, engine } = await start({ clock });
    const subject = one('patient');
    const earlier = textOf((await engine.tokenize(tokenizeCall('mrn', ['987654321']))).tokens);
    await engine.erase(eraseCall('mrn', byTokens(earlier[0]!)));
    const before = await ended(engine, (await engine.compactVault(DEV)).job);
    await engine.tokenize(tokenizeCall('own', ['123456789'], { subject }));
    const [sealed] = await sealedOf(home.folder, 'clinic/own', [0]);
    const { receipt } = await engine.erase(eraseCall('', BY_SUBJECT, { subject }));
    await engine.close();
    clock.ms += 2 * HOUR_MS;
    const again = await home.open();
    opened[0]!.engine = again;
    const newest = async () => (await again.listJobs(DEV, 'vault', '', 1))[0]!;
    while ((await newest()).id === before.id) await new Promise((wake) => setTimeout(wake, 5));
    expect(await ended(again, await newest())).toMatchObject({ kind: 'compaction', state: 'done' });
    expect(inFiles(home.folder, sealed!)).toBe(false);
    expect((await again.erasureCertificate(DEV, receipt.leafIndex)).compacted).toBe(true);
  });

  test('later erasures are not covered by an earlier compaction', async () => {
    const { engine } = await start();
    const values = ['123456789', '987654321', '192837465'];
    const tokens = textOf((await engine.tokenize(tokenizeCall('mrn', values))).tokens);
    const leaves: number[] = [];
    for (const token of tokens) {
      const { receipt } = await engine.erase(eraseCall('mrn', byTokens(token)));
      leaves.push(receipt.leafIndex);
      if (leaves.length < 3) await ended(engine, (await engine.compactVault(DEV)).job);
    }
    const stages: (number | undefined)[] = [];
    for (const leaf of leaves) {
      const { certificate } = await engine.erasureCertificate(DEV, leaf);
      stages.push(verifyCertificate(certificate, ORIGIN, publicKey).compacted?.index);
    }
    expect(stages[0]).toBeGreaterThan(leaves[0]!);
    expect(stages[0]).toBeLessThan(leaves[1]!);
    expect(stages[1]).toBeGreaterThan(leaves[1]!);
    expect(stages[1]).toBeLessThan(leaves[2]!);
    expect(stages[2]).toBeUndefined();
  });
});

test('a compaction waits for whoever still looks at the rows of before', async () => {
  const root = await mkdtemp(join(tmpdir(), 'lockstep-compaction-'));
  const store = await openLevelStore({ folder: join(root, 'vault'), create: true });
  const key = Buffer.from('key');
  const value = Buffer.from('what must go, byte for byte');
  await store.write([{ type: 'put', key, value }]);
  const snapshot = store.snapshot();
  await store.write([{ type: 'del', key }]);
  let done = false;
  const compacted = store.compact(Buffer.from('a'), Buffer.from('z')).then(() => {
    done = true;
  });
  await new Promise((resolve) => setTimeout(resolve, 50));
  expect(done).toBe(false);
  await snapshot.close();
  await compacted;
  expect(inFiles(root, value)).toBe(false);
  await store.close();
  await rm(root, { recursive: true, force: true });
});
