import { openAdminServer } from '../admin/admin-server.ts';
import { openScrape } from '../admin/meter.ts';
import { openAuthenticator } from '../auth/authenticator.ts';
import { systemClock } from '../base/clock.ts';
import { type Logger, openLogger } from '../base/logger.ts';
import { openMetrics } from '../base/metrics.ts';
import type { Acceptance } from '../engine/acceptance.ts';
import type { Engine } from '../engine/calls.ts';
import { type EngineOptions, openEngine } from '../engine/open.ts';
import { openPolicy } from '../policy/cedar.ts';
import { readPolicyFolder } from '../policy/folder.ts';
import { type RpcServer, startRpcServer } from '../rpc/server.ts';
import type { Config } from './config-schema.ts';

/** For supervisors: the key worker hangs or died (EX_SOFTWARE of sysexits.h). */
const EXIT_FATAL = 70;
const MIB = 1024 * 1024;

export interface Serving {
  readonly engine: Engine;
  readonly rpc: RpcServer;
  /** As bound, e.g. `127.0.0.1:9464`. */
  readonly adminAddress: string;
  /** Calls under way end first; what is left after the configured drain is cut. Never rejects. */
  stop(): Promise<void>;
}

export interface ServingOptions {
  readonly config: Config;
  /** Loopback peers without a certificate are development callers. */
  readonly development: boolean;
  /** Makes the installation in an empty data folder. */
  readonly create: boolean;
  /** A checkpoint that was kept elsewhere, as its signed note. */
  readonly checkpoint?: string | undefined;
  /** What an officer accepts that would be refused. */
  readonly accept?: Acceptance | undefined;
}

/** Puts the whole server together from its configuration: the only `new` of concrete parts. Rejects
 *  as `openEngine`, `openPolicy` and `startRpcServer` do; nothing stays open then. */
export async function startServing(options: ServingOptions): Promise<Serving> {
  const { config, development } = options;
  const logger = openLogger({ level: config.logging.level });
  const scrape = openScrape();
  const metrics = openMetrics(scrape.meter);
  const engine = await openConfigured(options, logger, metrics);
  const closing: (() => Promise<void>)[] = [() => engine.close(), () => scrape.close()];
  try {
    const rpc = await startRpcServer({
      engine,
      authenticator: openAuthenticator({ callers: config.callers, development }),
      address: config.server.address,
      transport: transportOf(config),
      logger,
      metrics,
      limits: {
        streamsMax: config.limits.streams_per_connection,
        connectionIdleMs: config.limits.connection_idle_s * 1_000,
        connectionAgeMs: config.limits.connection_age_s * 1_000,
        ...(development ? { lameDuckMs: 0 } : {}),
      },
    });
    closing.unshift(() => rpc.drain(config.limits.drain_s * 1_000));
    const admin = await openAdminServer({
      address: config.admin.address,
      ready: () => readiness(engine),
      metrics: scrape.handle,
    });
    closing.push(() => admin.close());
    metrics.observe({ callsActive: () => rpc.active() });
    const watch = setInterval(() => rpc.setServing(engine.health().serving), 1_000).unref();
    logger.info('serving', { address: config.server.address, port: rpc.port });
    return {
      engine,
      rpc,
      adminAddress: admin.address,
      async stop() {
        clearInterval(watch);
        metrics.close();
        await closeAll(closing, logger);
        logger.info('stopped');
        logger.flush();
      },
    };
  } catch (error) {
    metrics.close();
    await closeAll(closing, logger);
    throw error;
  }
}

/** Makes the installation of an empty data folder, and closes it again. */
export const makeInstallation = (config: Config): Promise<void> =>
  openAndClose({ config, development: false, create: true });

/** Opens an installation without serving it, and closes it again: to make one, or to accept what a
 *  start would refuse. Rejects as `openEngine` does. */
export async function openAndClose(options: ServingOptions): Promise<void> {
  const logger = openLogger({ level: options.config.logging.level });
  const metrics = openMetrics();
  const engine = await openConfigured(options, logger, metrics);
  await engine.close();
  metrics.close();
}

const openConfigured = (
  options: ServingOptions,
  logger: Logger,
  metrics: ReturnType<typeof openMetrics>,
): Promise<Engine> => openEngine(engineOptions(options, logger, metrics));

/** The engine as the configuration wants it. */
export function engineOptions(
  { config, create, checkpoint, accept }: ServingOptions,
  logger: Logger,
  metrics: ReturnType<typeof openMetrics>,
): EngineOptions {
  const policy = openPolicy({ ...readPolicyFolder(config.policy.folder), callers: config.callers });
  return {
    folder: config.data.folder,
    ...(config.data.backups === undefined ? {} : { backups: config.data.backups }),
    module: {
      kind: 'pkcs11',
      library: config.module.library,
      token: config.module.token,
      pinSource: config.module.pin_source,
      rootBackup: config.module.root_backup,
    },
    root: config.module.root,
    checkpointKey: config.log.checkpoint,
    origin: config.log.origin,
    policy,
    clock: systemClock,
    logger,
    metrics,
    create,
    ...(checkpoint === undefined ? {} : { checkpoint }),
    ...(accept === undefined ? {} : { accept }),
    limits: {
      quota: {
        tokenizeItemsMax: config.limits.keyed_items_per_day,
        revealItemsMax: config.limits.revealed_items_per_day,
      },
      jobsWaitingMax: config.limits.key_jobs_waiting,
      moduleCallMsMax: config.module.call_limit_ms,
      spaceLowBytes: config.data.low_space_mib * MIB,
      ballastBytes: config.data.ballast_mib * MIB,
    },
    onFatal: (why) => {
      logger.error(why);
      logger.flush();
      process.exit(EXIT_FATAL);
    },
  };
}

function transportOf({ server }: Config): Parameters<typeof startRpcServer>[0]['transport'] {
  if (server.plaintext === 'loopback') return { plaintext: 'loopback-only' };
  if (server.plaintext === 'insecure-anywhere') return { plaintext: 'insecure-plaintext-anywhere' };
  const { cert, key, client_ca: clientCa } = server;
  if (cert === undefined || key === undefined || clientCa === undefined) {
    throw new Error('the configuration was checked to name the TLS files');
  }
  return { tls: { certificate: cert, key, clientCa } };
}

function readiness(engine: Engine): { ready: boolean; reason?: string } {
  const { serving, reason } = engine.health();
  return reason === undefined ? { ready: serving } : { ready: serving, reason };
}

async function closeAll(closing: readonly (() => Promise<void>)[], logger: Logger): Promise<void> {
  for (const close of closing) {
    await close().catch((cause: unknown) => logger.error('close-failed', {}, cause));
  }
}
