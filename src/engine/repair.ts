import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { readFileIfThere } from '../keys/catalogue-file.ts';
import { openLevelStore } from '../storage/level-store.ts';
import { type Store, StoreError } from '../storage/store.ts';
import { type RepairReport, repairRows } from '../vault/repair.ts';
import { KeyLane } from './key-lane.ts';
import type { EngineOptions } from './open.ts';
import { ENGINE_LIMITS } from './parts.ts';
import { RecoveryError } from './recovery-error.ts';

/** Nobody waits for these jobs: they are as long as they are. */
const UNHURRIED = { deadlineMs: Number.POSITIVE_INFINITY, cancelled: () => false };

export interface VaultRepair extends RepairReport {
  /** LevelDB's own files were rebuilt too. */
  readonly rebuilt: boolean;
}

/** Mends the rows of a vault that does not open or that fsck complains of; no server may have it.
 *  What follows from the log (counters given out, erasures, merges) comes with the next start,
 *  which has to be told of the repair: `EngineOptions.accept.repair`. Rejects with `CallError`,
 *  `StoreError` or `RecoveryError`; it may be run again. */
export async function repairVault(
  options: EngineOptions,
  progress?: (rows: number) => void,
): Promise<VaultRepair> {
  const folder = join(options.folder, 'vault');
  const catalogue = readFileIfThere(join(options.folder, 'catalogue.json'));
  if (catalogue === undefined || !existsSync(folder)) {
    throw new RecoveryError('there is no installation in the folder');
  }
  const { lane } = await KeyLane.start({
    start: {
      module: options.module,
      root: options.root,
      checkpointKey: options.checkpointKey,
      catalogue: Buffer.from(catalogue).toString('utf8'),
      moduleDelayMs: options.moduleDelayMs ?? 0,
    },
    limits: { ...ENGINE_LIMITS, ...options.limits },
    metrics: options.metrics,
    onHang: () => options.onFatal('module-hangs'),
    onDeath: () => options.onFatal('key-worker-died'),
  });
  const mend = async (store: Store): Promise<RepairReport> => {
    try {
      return await repairRows(store, {
        reindex: (domain, counters, records) =>
          lane.run({ op: 'reindex', domain, counters, records }, UNHURRIED),
        ...(progress === undefined ? {} : { progress }),
      });
    } finally {
      await store.close();
    }
  };
  try {
    const place = options.place === undefined ? {} : { place: options.place };
    try {
      const store = await openLevelStore({ folder, create: false, ...place });
      return { ...(await mend(store)), rebuilt: false };
    } catch (error) {
      if (!(error instanceof StoreError) || !REBUILD.has(error.fault)) throw error;
      const store = await openLevelStore({ folder, create: false, repair: true, ...place });
      return { ...(await mend(store)), rebuilt: true };
    }
  } finally {
    await lane.close();
  }
}

/** It does not open, or some of it does not read. */
const REBUILD: ReadonlySet<string> = new Set(['corrupt', 'missing']);
