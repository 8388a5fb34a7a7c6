import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Engine } from '../../src/engine/calls.ts';
import {
  callerOf,
  copyOf,
  DEV,
  detokenizeCall,
  one,
  readLog,
  textOf,
  tokenizeCall,
} from './harness.ts';
import { LAB, makeMergeDomains, mergeInstallation, V, W } from './merging.ts';
import { callsOf, patients, UNKNOWN } from './patients.ts';

const home = mergeInstallation();
let engine: Engine;

beforeAll(async () => {
  engine = await home.open();
  await makeMergeDomains(engine);
});
afterAll(async () => {
  await engine.close();
  home.remove();
});

const { merge, reveal, token, tokens, unmerge } = callsOf(() => engine);
const reopen = async (): Promise<void> => {
  await engine.close();
  engine = await home.open();
};

describe('the verbs', () => {
  test('how many tokens moved, and back', async () => {
    const [a, b, c] = patients();
    await tokens('mrn', b, V, W);
    await tokens('visit', b, V);
    await tokens('mrn', c, V);
    const first = await merge(a, b);
    expect(first.moved).toBe(3);
    expect((await merge(b, c)).moved).toBe(1);
    expect((await unmerge(first.merge)).moved).toBe(4);
  });

  test('the same two again are the same merge, whichever survives', async () => {
    const [a, b, c] = patients();
    const first = await merge(a, b);
    expect((await merge(a, b)).merge).toBe(first.merge);
    expect((await merge(b, a)).merge).toBe(first.merge);
    expect((await merge(c, b)).merge).not.toBe(first.merge);
  });

  test('a request id makes a retry safe, also after the merge was taken back', async () => {
    const [a, b] = patients();
    const first = await merge(a, b, 'once');
    const { merge: id } = first;
    await unmerge(id, 'back');
    expect(await merge(a, b, 'once')).toEqual(first);
    const ofA = await token('mrn', a, V);
    expect(await reveal('mrn', b, ofA), 'it was not merged anew').toBe(UNKNOWN);
    expect((await unmerge(id, 'back')).moved).toBe(0);
    await expect(merge(b, a, 'once')).rejects.toMatchObject({ reason: 'REQUEST_ID_REUSED' });
    await reopen();
    expect((await merge(a, b, 'once')).merge).toBe(id);
  });

  test('what is refused', async () => {
    const [a, b] = patients();
    const invalid = { reason: 'FIELD_INVALID' };
    await expect(merge(a, a)).rejects.toMatchObject(invalid);
    await expect(merge(a, '')).rejects.toMatchObject({ reason: 'FIELD_REQUIRED' });
    await expect(merge('', b)).rejects.toMatchObject({ reason: 'FIELD_REQUIRED' });
    const absent = { reason: 'RESOURCE_NOT_FOUND' };
    await expect(unmerge('01J00000000000000000000000')).rejects.toMatchObject(absent);
    const { merge: made } = await merge(a, b);
    const foreign = engine.unmergeSubjects(LAB, made, '', '');
    await expect(foreign).rejects.toMatchObject(absent);
    const note = 'n'.repeat(501);
    const long = engine.unmergeSubjects(DEV, made, note, '');
    await expect(long).rejects.toMatchObject(invalid);
    await unmerge(made);
    await expect(unmerge(made)).rejects.toMatchObject(absent);
    const denied = engine.unmergeSubjects(callerOf('ehr'), made, '', '');
    await expect(denied).rejects.toMatchObject({ reason: 'ACCESS_DENIED' });
  });

  test('a patient has at most 64 ids', async () => {
    const ids = Array.from({ length: 65 }, (_, i) => `many-${i}`);
    for (let i = 1; i < 64; i++) await merge(ids[0]!, ids[i]!);
    const more = merge(ids[64]!, ids[5]!);
    await expect(more).rejects.toMatchObject({ reason: 'SUBJECTS_TOO_MANY' });
    const last = await token('note', ids[63]!, V);
    expect(await reveal('note', ids[1]!, last)).toBe(V);
  });

  test("another organisation's patients with the same ids are others", async () => {
    const [a, b] = patients();
    const lab = async (who: string): Promise<string> => {
      const call = { ...tokenizeCall('mrn', [V], { subject: one(who) }), caller: LAB };
      return textOf((await engine.tokenize(call)).tokens)[0]!;
    };
    const shown = async (who: string, from: string): Promise<string | undefined> => {
      const call = { ...detokenizeCall('mrn', [from], { subject: one(who) }), caller: LAB };
      return (await engine.detokenize(call)).errors[0]?.reason;
    };
    const ofA = await lab(a);
    await merge(a, b);
    expect(await shown(b, ofA)).toBe(UNKNOWN);
    expect(await lab(b)).not.toBe(ofA);
  });

  test('the leaf tells the merge, and only its sealed body the patients', async () => {
    const [a, b] = patients();
    const call = { caller: DEV, survivor: Buffer.from(a), prior: Buffer.from(b), requestId: '' };
    const note = 'ADT^A40 of 2026-11-23';
    const deadlineMs = Date.now() + 30_000;
    const made = await engine.mergeSubjects({ ...call, note, deadlineMs });
    await engine.unmergeSubjects(DEV, made.merge, 'by mistake', '');
    const log = await readLog(copyOf(home.folder));
    const [merged, parted] = log.slice(made.receipt.leafIndex);
    expect(merged?.entry).toMatchObject({ verb: 'MergeSubjects', done: 1, failed: 0 });
    const organisation = 'clinic';
    expect(merged?.entry.extra).toEqual({ merge: made.merge, moved: 0, note, organisation });
    expect(merged?.entry.commit).toBeGreaterThan(0);
    expect(merged?.body?.subjects).toHaveLength(32);
    expect(parted?.entry).toMatchObject({
      verb: 'UnmergeSubjects',
      extra: { merge: made.merge, note: 'by mistake' },
    });
    expect(parted?.body?.subjects).toEqual(merged?.body?.subjects);
  });
});
