import { cpSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, expect, test } from 'vitest';
import type { Engine } from '../../src/engine/calls.ts';
import { BY_SUBJECT, byTokens, ended, eraseCall, inFiles, sealedOf } from './erasing.ts';
import {
  copyOf,
  DEV,
  detokenizeCall,
  domain,
  inspectCall,
  installation,
  lookupCall,
  one,
  textOf,
  tokenizeCall,
} from './harness.ts';

const closing: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

const mother = { subject: one('mother') };
const child = { subject: one('child') };
const VALUES = ['123456789', '987654321', '192837465', '564738291'];

const make = async (engine: Engine, id: string, values: readonly string[], more = {}) => {
  const answer = await engine.tokenize(tokenizeCall(id, values, more));
  expect(answer.errors).toEqual([]);
  return textOf(answer.tokens);
};
const reveal = async (engine: Engine, id: string, tokens: readonly string[], more = {}) => {
  const answer = await engine.detokenize(detokenizeCall(id, tokens, more));
  const reasons = new Map(answer.errors.map(({ index, reason }) => [index, reason]));
  return textOf(answer.values).map((value, i) => reasons.get(i) ?? value);
};

/** Yesterday's vault under today's log and catalogue, as a restore puts them together. */
function yesterdaysVault(yesterday: string, today: string): string {
  const folder = copyOf(today);
  rmSync(join(folder, 'vault'), { recursive: true });
  cpSync(join(yesterday, 'vault'), join(folder, 'vault'), { recursive: true });
  return folder;
}

test('what was erased stays erased in an older vault, and no token is used twice', async () => {
  const home = installation();
  let engine = await home.open();
  closing.push(async () => home.remove());
  for (const [id, kind, format, more] of [
    ['mrn', 'static', 'digits:9', {}],
    ['own', 'static', 'digits:9', { subjectRequired: true }],
    ['shared', 'static', 'digits:9', { subjectsShared: true }],
    ['note', 'siv', 'text', { subjectRequired: true }],
  ] as const) {
    await engine.createDomain(DEV, domain(id, kind, format, more));
  }
  const mrn = await make(engine, 'mrn', VALUES);
  const own = await make(engine, 'own', VALUES, mother);
  const ownChild = await make(engine, 'own', VALUES, child);
  const shared = await make(engine, 'shared', VALUES, mother);
  await make(engine, 'shared', VALUES.slice(0, 2), child);
  const note = await make(engine, 'note', ['Zoë'], mother);
  await engine.close();
  const yesterday = copyOf(home.folder);
  const [sealed] = await sealedOf(yesterday, 'clinic/mrn', [0]);

  engine = await home.open();
  await engine.erase(eraseCall('mrn', byTokens(mrn[0]!)));
  await engine.erase(eraseCall('mrn', byTokens(mrn[1]!), { mode: 'unlink' }));
  await engine.erase(eraseCall('', BY_SUBJECT, mother));
  // Minted, erased and lost again between the backup and its restore.
  const [lost] = await make(engine, 'mrn', ['111111111']);
  await engine.erase(eraseCall('mrn', byTokens(lost!)));
  const [young] = await make(engine, 'mrn', [VALUES[0]!]);
  await engine.close();

  const folder = yesterdaysVault(yesterday, home.folder);
  await expect(installation({ folder }).open()).rejects.toThrow(/rollback/);
  const older = installation({ folder, accept: { rollback: 'restored from a backup' } });
  let restored = await older.open();
  closing.push(() => restored.close());
  const look = async (): Promise<void> => {
    expect(await reveal(restored, 'mrn', [...mrn, lost!])).toEqual([
      'TOKEN_NOT_FOUND',
      'TOKEN_UNLINKED',
      VALUES[2],
      VALUES[3],
      'TOKEN_NOT_FOUND',
    ]);
    expect(await reveal(restored, 'own', own, mother)).toEqual(Array(4).fill('TOKEN_NOT_FOUND'));
    expect(await reveal(restored, 'own', ownChild, child)).toEqual(VALUES);
    expect(await reveal(restored, 'note', note, mother)).toEqual(['TOKEN_NOT_FOUND']);
    expect(await reveal(restored, 'shared', shared, child)).toEqual([
      VALUES[0],
      VALUES[1],
      'TOKEN_NOT_FOUND',
      'TOKEN_NOT_FOUND',
    ]);
    expect((await restored.inspect(inspectCall('mrn', [mrn[1]!]))).states).toEqual(['unlinked']);
  };
  await look();
  await restored.close();
  restored = await installation({ folder }).open();
  await look();
  const looked = await restored.lookup(lookupCall('mrn', VALUES.slice(0, 2)));
  expect(looked.errors.map(({ reason }) => reason)).toEqual(Array(2).fill('VALUE_NOT_FOUND'));
  const again = await make(restored, 'mrn', [VALUES[0]!, VALUES[1]!, '111111111']);
  for (const token of again) expect([...mrn, lost, young]).not.toContain(token);
  const { job } = await restored.compactVault(DEV);
  expect(await ended(restored, job)).toMatchObject({ state: 'done' });
  expect(inFiles(folder, sealed!)).toBe(false);
  const check = await ended(restored, await restored.checkVault(DEV, false, ''));
  expect(check.result).toEqual({ faults: '0' });
});
