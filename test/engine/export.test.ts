import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Engine } from '../../src/engine/calls.ts';
import {
  callerOf,
  copyOf,
  DEV,
  detokenizeCall,
  domain,
  each,
  heldClock,
  type Installation,
  installation,
  one,
  readLog,
  textOf,
  tokenizeCall,
} from './harness.ts';
import { exportCall, exported, importCall, multipleCall, pairsOf } from './several.ts';

const clock = heldClock(Date.UTC(2026, 10, 24, 12));
let home: Installation;
let engine: Engine;

beforeEach(async () => {
  home = installation({ clock });
  engine = await home.open();
  await engine.createDomain(DEV, domain('ssn', 'static', 'ssn'));
  await engine.createDomain(DEV, domain('visit', 'dynamic', 'digits:9'));
});

afterEach(async () => {
  await engine.close();
  home.remove();
});

const tokensOf = async (values: readonly string[], more = {}): Promise<string[]> =>
  textOf((await engine.tokenize(tokenizeCall('ssn', values, more))).tokens);

describe('an export', () => {
  test('has every pair once, in batches, and goes on behind a row', async () => {
    const values = Array.from({ length: 2_500 }, (_, i) => String(100_000_000 + i));
    const answer = await engine.tokenizeMultiple(multipleCall('visit', values, 1));
    const wanted = textOf(answer.tokens).map((token, i) => [values[i]!, token]);
    const batches = await exported(engine, exportCall('visit'));
    expect(batches.map(({ tokens }) => tokens.ends.length)).toEqual([1_000, 1_000, 500]);
    expect(pairsOf(batches)).toEqual(wanted);
    const rest = await exported(engine, exportCall('visit', { after: batches[0]!.row }));
    expect(pairsOf(rest)).toEqual(wanted.slice(1_000));
    expect(await exported(engine, exportCall('visit', { after: batches[2]!.row }))).toEqual([]);
  });

  test('shows pairs of any subject and context, as they were written', async () => {
    const bound = { subject: each('anna', 'berta'), context: one('ward') };
    const tokens = await tokensOf(['529-31-0047', '231846605'], bound);
    expect(pairsOf(await exported(engine, exportCall('ssn')))).toEqual([
      ['529-31-0047', tokens[0]],
      ['231846605', tokens[1]],
    ]);
    await engine.close();
    const calls = await readLog(home.folder);
    const made = calls.find(({ entry }) => entry.verb === 'Tokenize')!;
    const shown = calls.find(({ entry }) => entry.verb === 'ExportTokens')!;
    expect(shown.entry).toMatchObject({ done: 2, failed: 0, distinct: 2, view: 'plain' });
    expect(shown.entry.purpose).toBe('HOPERAT');
    expect(textOf(shown.body!.tokens)).toEqual(tokens);
    expect([...shown.body!.subjects]).toEqual([...made.body!.subjects]);
  });

  test('leaves out what is stopped, over or erased', async () => {
    const values = ['529-31-0047', '231-84-6605', '536-22-1234', '219-09-9998'];
    const tokens = await tokensOf(values);
    const late = { idleMs: 0, expireMs: clock.ms + 60_000, revealsMax: 0, labels: [] };
    await tokensOf(['219-09-9997'], { rules: late });
    clock.ms += 60_000;
    const named = (token: string) => ({
      ...detokenizeCall('ssn', [token]),
      items: { by: 'tokens', tokens: detokenizeCall('ssn', [token]).tokens } as const,
      purpose: 'HOPERAT',
    });
    await engine.restrict({ ...named(tokens[0]!), lift: false });
    await engine.erase({ ...named(tokens[1]!), mode: 'delete' });
    await engine.erase({ ...named(tokens[2]!), mode: 'unlink' });
    expect(pairsOf(await exported(engine, exportCall('ssn')))).toEqual([
      ['219-09-9998', tokens[3]],
    ]);
  });

  test('can be imported elsewhere, tokens and all', async () => {
    await tokensOf(['529-31-0047', '231-84-6605']);
    const pairs = pairsOf(await exported(engine, exportCall('ssn')));
    const other = installation();
    const elsewhere = await other.open();
    await elsewhere.createDomain(DEV, domain('ssn', 'static', 'ssn'));
    expect((await elsewhere.importTokens(importCall('ssn', pairs))).errors).toEqual([]);
    const back = await elsewhere.detokenize(
      detokenizeCall(
        'ssn',
        pairs.map(([, token]) => token),
      ),
    );
    expect(textOf(back.values)).toEqual(pairs.map(([value]) => value));
    await elsewhere.close();
    other.remove();
  });

  test('counts as so many reveals, a batch at a time', async () => {
    await engine.close();
    home.remove();
    const quota = { tokenizeItemsMax: 1_000, revealItemsMax: 1_200 };
    home = installation({ clock, limits: { quota } });
    engine = await home.open();
    await engine.createDomain(DEV, domain('visit', 'dynamic', 'digits:9'));
    const values = Array.from({ length: 1_500 }, (_, i) => String(100_000_000 + i));
    await engine.tokenizeMultiple(multipleCall('visit', values, 1));
    const batches = engine.exportTokens(exportCall('visit'));
    const first = await batches.next();
    const crashed = installation({ clock, folder: copyOf(home.folder), limits: { quota } });
    expect(first.value!.tokens.ends).toHaveLength(1_000);
    await expect(batches.next()).rejects.toMatchObject({ reason: 'BUDGET_EXHAUSTED' });
    for (const open of [crashed.open, home.open]) {
      await engine.close();
      engine = await open();
      const again = engine.exportTokens(exportCall('visit')).next();
      await expect(again).rejects.toMatchObject({ reason: 'BUDGET_EXHAUSTED' });
    }
    const untilMs = clock.ms + 3_600_000;
    await engine.grantBulk(DEV, { caller: DEV.id, domain: 'visit', count: 2_000, untilMs });
    const rest = await exported(engine, exportCall('visit', { after: first.value!.row }));
    expect(pairsOf(rest)).toHaveLength(500);
  });

  test('is refused to whoever may not, and where there is nothing to export', async () => {
    const refused = async (call: Parameters<Engine['exportTokens']>[0]): Promise<string> =>
      exported(engine, call).then(
        () => 'taken',
        (error) => error.reason,
      );
    await engine.createDomain(DEV, domain('fpe', 'fpe', 'digits:9'));
    expect(await refused(exportCall('fpe'))).toBe('KIND_UNSUPPORTED');
    expect(await refused(exportCall('ssn', { purpose: '' }))).toBe('PURPOSE_REQUIRED');
    expect(await refused(exportCall('ssn', { caller: callerOf('officer') }))).toBe('ACCESS_DENIED');
    expect(await refused(exportCall('ssn', { after: 'x' }))).toBe('FIELD_INVALID');
    expect(await exported(engine, exportCall('ssn'))).toEqual([]);
  });

  test('loses a right between two batches', async () => {
    const values = Array.from({ length: 1_001 }, (_, i) => String(100_000_000 + i));
    await engine.tokenizeMultiple(multipleCall('visit', values, 1));
    const batches = engine.exportTokens(exportCall('visit'));
    await batches.next();
    await engine.updateDomain(DEV, 'visit', { disabled: true }, '');
    await expect(batches.next()).rejects.toMatchObject({ reason: 'DOMAIN_DISABLED' });
  });
});
