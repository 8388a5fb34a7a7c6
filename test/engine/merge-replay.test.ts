import { cpSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import type { Engine } from '../../src/engine/calls.ts';
import {
  copyOf,
  DEV,
  detokenizeCall,
  domain,
  installation,
  one,
  textOf,
  tokenizeCall,
} from './harness.ts';

const made = async (engine: Engine, id: string, who: string, value: string): Promise<string> => {
  const call = tokenizeCall(id, [value], { subject: one(who) });
  return textOf((await engine.tokenize(call)).tokens)[0]!;
};
const shown = async (engine: Engine, id: string, who: string, token: string): Promise<string> => {
  const call = detokenizeCall(id, [token], { subject: one(who) });
  const { values, errors } = await engine.detokenize(call);
  return errors[0]?.reason ?? textOf(values)[0]!;
};
const merged = async (engine: Engine, survivor: string, prior: string): Promise<string> => {
  const ids = { survivor: Buffer.from(survivor), prior: Buffer.from(prior) };
  const call = { caller: DEV, note: '', requestId: '', deadlineMs: Date.now() + 30_000, ...ids };
  return (await engine.mergeSubjects(call)).merge;
};
const UNKNOWN = 'TOKEN_NOT_FOUND';

test('a vault older than its log: patients are one, or not, as the log says', async () => {
  const home = installation();
  onTestFinished(() => home.remove());
  let engine = await home.open();
  const bound = { subjectRequired: true };
  await engine.createDomain(DEV, domain('mrn', 'static', 'digits:9', bound));
  await engine.createDomain(DEV, domain('note', 'siv', 'text', bound));
  const tokens = new Map<string, string>();
  for (const who of ['ann', 'bea', 'cat', 'dot']) {
    tokens.set(`mrn ${who}`, await made(engine, 'mrn', who, '123456789'));
    tokens.set(`note ${who}`, await made(engine, 'note', who, 'free text'));
  }
  const parted = await merged(engine, 'ann', 'ann-2');
  await merged(engine, 'bea', 'bea-2');
  await engine.close();
  const yesterday = copyOf(home.folder);

  engine = await home.open();
  await engine.unmergeSubjects(DEV, parted, '', '');
  await merged(engine, 'cat', 'cat-2');
  await engine.unmergeSubjects(DEV, await merged(engine, 'dot', 'dot-2'), '', '');
  await engine.close();
  rmSync(join(home.folder, 'vault'), { recursive: true });
  cpSync(join(yesterday, 'vault'), join(home.folder, 'vault'), { recursive: true });

  const accept = { rollback: 'restored from a backup' };
  engine = await installation({ folder: home.folder, accept }).open();
  onTestFinished(() => engine.close());
  for (let opened = 0; opened < 2; opened++) {
    for (const [id, value] of [
      ['mrn', '123456789'],
      ['note', 'free text'],
    ] as const) {
      const seen: string[] = [];
      for (const who of ['ann', 'bea', 'cat', 'dot']) {
        seen.push(await shown(engine, id, `${who}-2`, tokens.get(`${id} ${who}`)!));
      }
      expect(seen).toEqual([UNKNOWN, value, value, UNKNOWN]);
    }
    await engine.close();
    engine = await home.open();
  }
});
