import { randomBytes } from 'node:crypto';
import { Level } from 'level';

/** LevelDB alone, with the vault's settings: what the vault's figures are measured against. */
export type RawLevel = Level<Uint8Array, Uint8Array>;

/** A row's sizes in bytes (src/vault/layout.ts). Keys of records ascend, those of index rows are
 *  random, as the vault's. */
export interface RowShape {
  readonly key: number;
  readonly value: number;
  readonly ascending: boolean;
}

/** A sealed record of nine digits without context. */
export const RECORD: RowShape = { key: 13, value: 16 + 18 + 9, ascending: true };
/** Index row of a static token. */
export const INDEX: RowShape = { key: 21, value: 12, ascending: false };
/** Index row of a listable dynamic token. */
export const LISTED: RowShape = { key: 29, value: 0, ascending: false };

type Put = { readonly type: 'put'; readonly key: Uint8Array; readonly value: Uint8Array };

export async function openRaw(folder: string): Promise<RawLevel> {
  const level: RawLevel = new Level(folder, {
    keyEncoding: 'view',
    valueEncoding: 'view',
    compression: false,
    cacheSize: 64 * 1024 * 1024,
  });
  await level.open();
  return level;
}

/** Puts of `rows` values, one row a shape each; the numbers of ascending keys begin at `first`. */
export function putsOf(shapes: readonly RowShape[], first: number, rows: number): Put[] {
  const puts: Put[] = [];
  for (let i = 0; i < rows; i++) {
    for (const shape of shapes) puts.push(putOf(shape, first + i));
  }
  return puts;
}

function putOf({ key, value, ascending }: RowShape, number: number): Put {
  const name = ascending ? Buffer.alloc(key, 0x72) : randomBytes(key);
  if (ascending) name.writeUInt32BE(number, key - 4);
  return { type: 'put', key: name, value: randomBytes(value) };
}

/** Fsynced batches a second, `concurrency` of them under way. */
export async function writesPerSecond(
  level: RawLevel,
  batches: readonly (readonly Put[])[],
  concurrency: number,
): Promise<number> {
  return perSecond(batches.length, concurrency, (i) =>
    level.batch(batches[i] as Put[], { sync: true }),
  );
}

/** `getMany` calls a second, `concurrency` of them under way. */
export async function readsPerSecond(
  level: RawLevel,
  reads: readonly (readonly Uint8Array[])[],
  concurrency: number,
): Promise<number> {
  return perSecond(reads.length, concurrency, (i) => level.getMany(reads[i] as Uint8Array[]));
}

async function perSecond(
  count: number,
  concurrency: number,
  work: (i: number) => Promise<unknown>,
): Promise<number> {
  const startMs = performance.now();
  let next = 0;
  await Promise.all(
    Array.from({ length: concurrency }, async () => {
      while (next < count) await work(next++);
    }),
  );
  return count / ((performance.now() - startMs) / 1_000);
}
