import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { type AuditLog, openLog } from '../audit/log.ts';
import type { Clock } from '../base/clock.ts';
import type { Logger } from '../base/logger.ts';
import type { Metrics } from '../base/metrics.ts';
import { readFileIfThere, writeFileAtomic } from '../keys/catalogue-file.ts';
import type { Policy } from '../policy/cedar.ts';
import { QuotaBook } from '../policy/quota.ts';
import { openLevelStore } from '../storage/level-store.ts';
import { initVault, openVault, type Vault } from '../vault/vault.ts';
import type { Engine } from './calls.ts';
import { CatalogueKeeper } from './catalogue-keeper.ts';
import { Committer } from './committer.ts';
import { DomainAdmin } from './domain-admin.ts';
import { DomainTable } from './domain-table.ts';
import { closeAll, LockstepEngine } from './engine.ts';
import type { Ready, WorkerStart } from './job.ts';
import { KeyLane } from './key-lane.ts';
import { ENGINE_LIMITS, type EngineLimits, type Parts } from './parts.ts';
import { RecoveryError, recover } from './recovery.ts';

export interface EngineOptions {
  /** Holds the catalogue, the vault and the log; one engine a folder. */
  readonly folder: string;
  readonly module: WorkerStart['module'];
  /** Label of the root that wraps the keys, and of the key pair that signs checkpoints. */
  readonly root: string;
  readonly checkpointKey: string;
  /** Origin of the log's checkpoints, e.g. `hospital-a.example/lockstep`. */
  readonly origin: string;
  readonly policy: Policy;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: Metrics;
  /** True makes an installation where there is none; false refuses an empty folder, so that a lost
   *  one is never taken for a new one. */
  readonly create: boolean;
  /** The key worker hangs or died: the process cannot serve and should end for its supervisor. */
  readonly onFatal: (why: 'module-hangs' | 'key-worker-died') => void;
  readonly limits?: Partial<EngineLimits>;
  /** Bench only: added to every module call. */
  readonly moduleDelayMs?: number;
}

/** Opens module, catalogue, vault and log, and brings them together. Rejects with `CallError`
 *  (MODULE_UNAVAILABLE with the CKR name as cause, KEY_VERSION_UNUSABLE), `StoreError`,
 *  `AuditError` or `RecoveryError`; nothing stays open then. */
export async function openEngine(options: EngineOptions): Promise<Engine> {
  const paths = {
    catalogue: join(options.folder, 'catalogue.json'),
    vault: join(options.folder, 'vault'),
    log: join(options.folder, 'log'),
  };
  const catalogue = readFileIfThere(paths.catalogue);
  const fresh = catalogue === undefined;
  if (fresh && (existsSync(paths.vault) || existsSync(paths.log))) {
    // The catalogue is written last, so this one was lost, or never finished being made.
    throw new RecoveryError('the folder has a vault or log but no catalogue');
  }
  if (fresh && !options.create) throw new RecoveryError('there is no installation in the folder');
  const { lane, ready } = await KeyLane.start({
    start: {
      module: options.module,
      root: options.root,
      checkpointKey: options.checkpointKey,
      catalogue: fresh ? undefined : Buffer.from(catalogue).toString('utf8'),
      moduleDelayMs: options.moduleDelayMs ?? 0,
    },
    limits: { ...ENGINE_LIMITS, ...options.limits },
    metrics: options.metrics,
    onHang: () => options.onFatal('module-hangs'),
    onDeath: () => options.onFatal('key-worker-died'),
  });
  try {
    return await openStores(options, paths, lane, ready, fresh);
  } catch (error) {
    await lane.close();
    throw error;
  }
}

interface Paths {
  readonly catalogue: string;
  readonly vault: string;
  readonly log: string;
}

async function openStores(
  options: EngineOptions,
  paths: Paths,
  lane: KeyLane,
  ready: Ready,
  fresh: boolean,
): Promise<Engine> {
  if (fresh) mkdirSync(options.folder, { recursive: true, mode: 0o700 });
  const identity = { identity: ready.catalogue.installation, clock: options.clock };
  const store = await openLevelStore({ folder: paths.vault, create: fresh });
  let vault: Vault;
  try {
    vault = await (fresh ? initVault : openVault)(store, identity);
  } catch (error) {
    await store.close();
    throw error;
  }
  let log: AuditLog | undefined;
  try {
    log = await openLog({
      folder: paths.log,
      origin: options.origin,
      sign: (message) => lane.control({ control: 'sign', message }),
      publicKey: ready.publicKey,
      clock: options.clock,
      create: fresh,
      onEvent: (event) => options.logger.warn(`log-${event.kind}`),
    });
    const parts = await assemble(options, { lane, ready, vault, log });
    if (fresh) writeFileAtomic(paths.catalogue, Buffer.from(ready.catalogue.text, 'utf8'));
    const keeper = new CatalogueKeeper(lane, paths.catalogue, ready.catalogue);
    return new LockstepEngine(parts, new DomainAdmin(parts, keeper), keeper);
  } catch (error) {
    // What else goes wrong while closing is not the reason that the caller needs.
    await closeAll(...(log === undefined ? [] : [log]), vault).catch(() => {});
    throw error;
  }
}

interface Opened {
  readonly lane: KeyLane;
  readonly ready: Ready;
  readonly vault: Vault;
  readonly log: AuditLog;
}

async function assemble(
  options: EngineOptions,
  { lane, ready, vault, log }: Opened,
): Promise<Parts> {
  const { clock, logger, metrics, policy } = options;
  const domains = new DomainTable();
  domains.replace(ready.catalogue);
  for (const { spec, vaulted } of domains.all()) {
    if (vaulted && !vault.hasDomain(spec.id)) {
      throw new RecoveryError('the vault lacks a domain of the catalogue');
    }
  }
  const parts: Parts = {
    clock,
    limits: { ...ENGINE_LIMITS, ...options.limits },
    logger,
    metrics,
    policy,
    quota: new QuotaBook(clock),
    domains,
    lane,
    vault,
    log,
    committer: new Committer(vault, log, metrics),
    grants: { readTo: 0 },
  };
  const recovered = await recover(parts, ready.catalogue);
  if (recovered > 0) logger.info('outbox-recovered', { leaves: recovered });
  metrics.observe({ keyQueueDepth: () => lane.queued, logLeaves: () => log.size });
  return parts;
}
