import { existsSync, mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { type AuditLog, openLog } from '../audit/log.ts';
import type { Clock } from '../base/clock.ts';
import type { Logger } from '../base/logger.ts';
import type { Metrics } from '../base/metrics.ts';
import { readFileIfThere, writeFileAtomic } from '../keys/catalogue-file.ts';
import type { Policy } from '../policy/cedar.ts';
import { QuotaBook } from '../policy/quota.ts';
import { openLevelStore } from '../storage/level-store.ts';
import { Space } from '../storage/space.ts';
import { type Store, StoreError } from '../storage/store.ts';
import { initVault, openVault, type Vault } from '../vault/vault.ts';
import { type Acceptance, checkNotes } from './acceptance.ts';
import { UNFINISHED } from './backup/restore.ts';
import type { Engine } from './calls.ts';
import { CatalogueKeeper } from './catalogue-keeper.ts';
import { Committer } from './committer.ts';
import { Compaction, scheduleCompaction } from './compaction.ts';
import { DomainAdmin } from './domain-admin.ts';
import { DomainTable } from './domain-table.ts';
import { closeAll, LockstepEngine } from './engine.ts';
import { FILL_LEVELS, FillWatch } from './fill.ts';
import { HeadKeeper } from './head.ts';
import type { Ready, WorkerStart } from './job.ts';
import { JobBook } from './job-book.ts';
import { KeyLane } from './key-lane.ts';
import { tellGroups } from './merged-groups.ts';
import { ENGINE_LIMITS, type EngineLimits, type Parts } from './parts.ts';
import { recover } from './recovery.ts';
import { RecoveryError } from './recovery-error.ts';

export interface EngineOptions {
  /** Holds the catalogue, the vault and the log; one engine a folder. */
  readonly folder: string;
  /** Where backups go; `backups` in the folder by default. */
  readonly backups?: string;
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
  /** The key worker hangs or died, or another process has the vault: this one cannot serve and
   *  should end for its supervisor. */
  readonly onFatal: (why: 'module-hangs' | 'key-worker-died' | 'fenced-off') => void;
  /** What an officer accepts that would be refused. */
  readonly accept?: Acceptance;
  /** A checkpoint of the log that was kept elsewhere, as its signed note: the log must have grown
   *  from it. */
  readonly checkpoint?: string;
  readonly limits?: Partial<EngineLimits>;
  /** Tests only: instead of where the vault lies, so that a copy of it can stand for a crash. */
  readonly place?: string;
  /** Bench only: added to every module call. */
  readonly moduleDelayMs?: number;
}

/** Opens module, catalogue, vault and log, and brings them together. Rejects with `CallError`
 *  (MODULE_UNAVAILABLE with the CKR name as cause, KEY_VERSION_UNUSABLE), `StoreError`,
 *  `AuditError` or `RecoveryError`; nothing stays open then. */
export async function openEngine(options: EngineOptions): Promise<Engine> {
  if (options.accept !== undefined) checkNotes(options.accept);
  const paths = {
    catalogue: join(options.folder, 'catalogue.json'),
    vault: join(options.folder, 'vault'),
    log: join(options.folder, 'log'),
  };
  const catalogue = readFileIfThere(paths.catalogue);
  const fresh = catalogue === undefined;
  if (existsSync(join(options.folder, UNFINISHED))) {
    throw new RecoveryError(
      'a restore into this folder did not end: remove what it left, restore again',
    );
  }
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
  const { accept, clock } = options;
  const marks = await HeadKeeper.open({
    lane,
    logger: options.logger,
    onLost: () => options.onFatal('fenced-off'),
  });
  const identity = ready.catalogue.installation;
  const moved = accept?.moved === undefined ? 'refuse' : 'allow';
  const space = await openSpace(options);
  const store = await openVaultStore(paths.vault, fresh, space, options.place);
  let vault: Vault;
  try {
    vault = await (fresh ? initVault : openVault)(store, { identity, clock, marks, moved });
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
      // A log that is gone is an officer's to give up; one that is damaged is refused here.
      create: fresh || (accept?.rollback !== undefined && isAbsent(paths.log)),
      // That it is fenced is told once, with the vault, by whoever heals them.
      onEvent: ({ kind }) => {
        if (kind !== 'fenced') options.logger.warn(`log-${kind}`);
      },
    });
    const parts = await assemble(options, { lane, ready, vault, log, space, head: marks, fresh });
    await takeOver(parts);
    if (fresh) writeFileAtomic(paths.catalogue, Buffer.from(ready.catalogue.text, 'utf8'));
    const { keeper } = parts;
    return new LockstepEngine(parts, new DomainAdmin(parts, keeper), keeper);
  } catch (error) {
    // What else goes wrong while closing is not the reason that the caller needs.
    marks.stop();
    await closeAll(...(log === undefined ? [] : [log]), vault).catch(() => {});
    throw error;
  }
}

const isAbsent = (folder: string): boolean =>
  !existsSync(folder) || readdirSync(folder).length === 0;

/** From now on this process has the vault: the module's head is its own, and another process that
 *  has a copy finds itself fenced off at its next write. */
function takeOver({ head, vault, log, keeper }: Parts): Promise<void> {
  const sources = {
    commit: () => vault.lastCommit,
    log: () => log.head(),
    catalogue: () => keeper.state.generation,
  };
  const { continuity } = vault;
  return head.begin(continuity.epoch, sources, (epoch) => continuity.saveEpoch(epoch));
}

interface Opened {
  readonly lane: KeyLane;
  readonly ready: Ready;
  readonly vault: Vault;
  readonly log: AuditLog;
  readonly space: Space;
  readonly head: HeadKeeper;
  readonly fresh: boolean;
}

function openSpace(options: EngineOptions): Promise<Space> {
  const { spaceLowBytes, ballastBytes } = { ...ENGINE_LIMITS, ...options.limits };
  return Space.open({
    folder: options.folder,
    lowBytes: spaceLowBytes,
    ballastBytes,
    onChange: (state) => options.logger.warn('disk-space', { state }),
  });
}

/** Opening writes, so on a full disk it takes the reserve. */
async function openVaultStore(
  folder: string,
  create: boolean,
  space: Space,
  place: string | undefined,
): Promise<Store> {
  const options = { folder, create, ...(place === undefined ? {} : { place }) };
  try {
    return await openLevelStore(options);
  } catch (error) {
    const full = error instanceof StoreError && error.fault === 'full';
    if (!full || create || !(await space.dropBallast())) throw error;
    const store = await openLevelStore(options);
    space.returnBallast();
    return store;
  }
}

async function assemble(
  options: EngineOptions,
  { lane, ready, vault, log, space, head, fresh }: Opened,
): Promise<Parts> {
  const { clock, logger, metrics, policy } = options;
  const domains = new DomainTable();
  domains.replace(ready.catalogue);
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
    space,
    fill: new FillWatch(
      {
        ids: () => domains.vaultedIds(),
        fillOf: (id) => vault.minting.fill(id),
      },
      logger,
    ),
    grants: { readTo: 0 },
    jobs: await JobBook.open(vault, clock, logger),
    compaction: await Compaction.open(vault, clock),
    keeper: new CatalogueKeeper(lane, join(options.folder, 'catalogue.json'), ready.catalogue),
    head,
    identity: {
      origin: options.origin,
      publicKey: ready.publicKey,
      module: ready.module,
    },
    folders: {
      data: options.folder,
      backups: options.backups ?? join(options.folder, 'backups'),
    },
  };
  for await (const flagged of vault.tombstones.all()) {
    await lane.control({ control: 'subject-flags', ...flagged });
  }
  await tellGroups(parts, undefined);
  const { accept, checkpoint } = options;
  const recovered = await recover(parts, ready.catalogue, { fresh, accept, checkpoint });
  if (recovered > 0) logger.info('outbox-recovered', { leaves: recovered });
  metrics.observe({
    keyQueueDepth: () => lane.queued,
    logLeaves: () => log.size,
    vaultWrites: () => vault.writes,
    vaultFenced: () => (vault.fenced ? 1 : 0),
    logFenced: () => (log.fenced ? 1 : 0),
    diskFree: () => space.freeBytes,
    domainsPast: { levels: FILL_LEVELS, read: (percent) => parts.fill.past(percent) },
  });
  parts.fill.lookAtAll();
  scheduleCompaction(parts);
  return parts;
}
