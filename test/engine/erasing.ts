import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { columnOf } from '../../src/base/column.ts';
import { Plain } from '../../src/base/plain.ts';
import { type Engine, NONE } from '../../src/engine/calls.ts';
import type { EraseCall, JobView } from '../../src/engine/vault-calls.ts';
import { openLevelStore } from '../../src/storage/level-store.ts';
import type { Store } from '../../src/storage/store.ts';
import { PREFIX, RECORD_KEY_BYTES, recordKeys, textKey, viewsOf } from '../../src/vault/layout.ts';
import { decodeDomain, proven } from '../../src/vault/rows.ts';
import { copyOf, DEV } from './harness.ts';

/** Calls of Erase, and what a disk still shows after them. */

export const eraseCall = (
  domainId: string,
  items: EraseCall['items'],
  more: Partial<EraseCall> = {},
): EraseCall => ({
  caller: DEV,
  domain: domainId,
  purpose: 'PATRQT',
  deadlineMs: Date.now() + 30_000,
  cancelled: () => false,
  delivery: 'best-effort',
  context: NONE,
  subject: NONE,
  requestId: '',
  mode: 'delete',
  items,
  ...more,
});

export const byTokens = (...tokens: readonly string[]) =>
  ({ by: 'tokens', tokens: columnOf(tokens) }) as const;
export const byValues = (...values: readonly string[]) =>
  ({ by: 'values', values: new Plain(columnOf(values)) }) as const;
export const BY_SUBJECT = { by: 'subject' } as const;

/** Sealed records out of a copy of an installation's files, as they stand there. */
export async function sealedOf(
  folder: string,
  domain: string,
  counters: readonly number[],
): Promise<Buffer[]> {
  const store = await openLevelStore({ folder: join(copyOf(folder), 'vault'), create: false });
  const records = await store.getMany(await recordKeysOf(store, domain, counters));
  await store.close();
  return records.map((record) => Buffer.from(record!));
}

/** Turns one bit of a sealed record over, in the files of an installation that is closed. */
export async function damageRecord(folder: string, domain: string, counter: number): Promise<void> {
  const store = await openLevelStore({ folder: join(folder, 'vault'), create: false });
  const keys = await recordKeysOf(store, domain, [counter]);
  const [record] = await store.getMany(keys);
  const value = Uint8Array.from(record!);
  value[0]! ^= 1;
  await store.write([{ type: 'put', key: keys[0]!, value }]);
  await store.close();
}

async function recordKeysOf(
  store: Store,
  domain: string,
  counters: readonly number[],
): Promise<Uint8Array[]> {
  const key = textKey(PREFIX.domain, domain);
  const [row] = await store.getMany([key]);
  const { number } = decodeDomain(proven(key, row!));
  return viewsOf(recordKeys(number, Float64Array.from(counters)), RECORD_KEY_BYTES);
}

/** Whether these bytes stand anywhere in the vault's files. */
export function inFiles(folder: string, bytes: Buffer): boolean {
  const vault = join(folder, 'vault');
  return readdirSync(vault).some((name) => {
    // Opening LOCK here would drop LevelDB's lock (facts.md F6).
    return name !== 'LOCK' && readFileSync(join(vault, name)).includes(bytes);
  });
}

export async function ended(engine: Engine, job: JobView): Promise<JobView> {
  let last = job;
  for await (const seen of engine.watchJob(DEV, job.id)) last = seen;
  return last;
}
