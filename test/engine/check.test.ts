import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { Engine } from '../../src/engine/calls.ts';
import { openLevelStore } from '../../src/storage/level-store.ts';
import type { Change, Row } from '../../src/storage/store.ts';
import { after, PREFIX } from '../../src/vault/layout.ts';
import { checked, indexRows } from '../../src/vault/rows.ts';
import { ended } from './backing-up.ts';
import { DEV, domain, type Installation, installation, textOf, tokenizeCall } from './harness.ts';

let home: Installation;
let engine: Engine;

beforeEach(async () => {
  home = installation();
  engine = await home.open();
  await engine.createDomain(DEV, domain('mrn', 'static', 'digits:9'));
  const { tokens } = await engine.tokenize(
    tokenizeCall('clinic/mrn', ['123456789', '234567891', '345678912']),
  );
  expect(textOf(tokens)).toHaveLength(3);
});
afterEach(async () => {
  await engine.close();
  home.remove();
});

/** Changes rows behind the vault's back. */
async function tamper(prefix: number, change: (rows: readonly Row[]) => Change[]): Promise<void> {
  await engine.close();
  const store = await openLevelStore({ folder: join(home.folder, 'vault'), create: false });
  const from = Uint8Array.of(prefix);
  const rows: Row[] = [];
  for await (const row of store.range({ from, to: after(from) })) rows.push(row);
  await store.write(change(rows));
  await store.close();
  engine = await home.open();
}

async function found(deep: boolean): Promise<Record<string, string>> {
  const { id } = await engine.checkVault(DEV, deep, '');
  const job = await ended(engine, id);
  expect(job.state).toBe('done');
  return { ...job.result };
}

test('a whole vault has no finding, and as many records as its log tells of', async () => {
  expect(await found(false)).toEqual({ faults: '0' });
  expect(await found(true)).toEqual({ faults: '0' });
});

test('a record whose seal is broken is found by opening it, and by nothing else', async () => {
  await tamper(PREFIX.record, ([first]) => {
    const value = Uint8Array.from(first!.value);
    value[20]! ^= 1;
    return [{ type: 'put', key: first!.key, value }];
  });
  expect(await found(false)).toEqual({ faults: '0' });
  expect(await found(true)).toEqual({ 'record-unreadable': '1', faults: '1' });
});

test('index rows that lead to each other’s records prove themselves and are found', async () => {
  await tamper(PREFIX.index, ([first, second]) => {
    // Row a with the counter of b, and the other way round, each with its own check.
    const counterOf = ({ value }: Row): number => Buffer.from(value).readUInt32BE(4);
    const swapped = (row: Row, other: Row): Change => {
      const index = row.key.slice(5);
      const domainNumber = Buffer.from(row.key).readUInt32BE(1);
      const value = indexRows(domainNumber, index, Float64Array.of(counterOf(other)));
      return { type: 'put', key: row.key, value };
    };
    return [swapped(first!, second!), swapped(second!, first!)];
  });
  expect(await found(false)).toEqual({ faults: '0' });
  expect(await found(true)).toEqual({ 'index-wrong': '2', faults: '2' });
});

test('a record that is gone differs from what the log tells', async () => {
  await tamper(PREFIX.running, ([first]) => {
    const value = Buffer.from(first!.value.subarray(0, -4));
    value.writeBigUInt64BE(2n, 8); // Live.
    return [{ type: 'put', key: first!.key, value: checked(first!.key, value) }];
  });
  expect(await found(false)).toMatchObject({ 'count-differs': '1', 'log-differs': '1' });
});
