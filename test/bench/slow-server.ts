import { join } from 'node:path';
import { openAdminServer } from '../../src/admin/admin-server.ts';
import { openScrape } from '../../src/admin/meter.ts';
import { openAuthenticator } from '../../src/auth/authenticator.ts';
import { systemClock } from '../../src/base/clock.ts';
import { openLogger } from '../../src/base/logger.ts';
import { openMetrics } from '../../src/base/metrics.ts';
import type { Engine } from '../../src/engine/calls.ts';
import { openEngine } from '../../src/engine/open.ts';
import { CHECKPOINT_LABEL, ROOT_LABEL } from '../../src/keys/roots.ts';
import { openPolicy } from '../../src/policy/cedar.ts';
import { devCallers } from '../../src/policy/starter/callers.ts';
import { starterPolicies, starterSchema } from '../../src/policy/starter/starter.ts';
import { startRpcServer } from '../../src/rpc/server.ts';
import { FPE_DOMAIN } from './lockstep-server.ts';

/** A whole server in a process of its own whose module takes so many milliseconds more a call:
 *  arguments are a folder and the delay. The keys are in memory, so that the delay is all there
 *  is; everything else is as in `lockstep serve`. */
async function main(folder: string, delayMs: number): Promise<void> {
  const scrape = openScrape();
  const metrics = openMetrics(scrape.meter);
  const seed = new Uint8Array(32).fill(7);
  const open = (create: boolean, moduleDelayMs: number): Promise<Engine> =>
    openEngine({
      folder: join(folder, 'data'),
      module: { kind: 'insecure-memory', seed },
      root: ROOT_LABEL,
      checkpointKey: CHECKPOINT_LABEL,
      origin: 'bench.example/slow-module',
      policy: openPolicy({
        policies: starterPolicies(),
        schema: starterSchema(),
        callers: devCallers,
      }),
      clock: systemClock,
      logger: openLogger({ level: 'silent' }),
      metrics,
      create,
      moduleDelayMs,
      onFatal: (why) => {
        process.stderr.write(`${why}\n`);
        process.exit(1);
      },
    });
  // Made at full speed, then opened slowly: making twelve keys would take a minute.
  const maker = await open(true, 0);
  const officer = { id: 'dev:officer', organisation: 'clinic' };
  await maker.createDomain(officer, { id: FPE_DOMAIN, kind: 'fpe', format: 'digits:9' });
  await maker.close();
  const engine = await open(false, delayMs);
  const rpc = await startRpcServer({
    engine,
    authenticator: openAuthenticator({ callers: devCallers, development: true }),
    address: '127.0.0.1:0',
    transport: { plaintext: 'loopback-only' },
    logger: openLogger({ level: 'silent' }),
    metrics,
  });
  const admin = await openAdminServer({
    address: '127.0.0.1:0',
    ready: () => ({ ready: true }),
    metrics: scrape.handle,
  });
  process.stdout.write(
    `${JSON.stringify({ ready: true, port: rpc.port, admin: admin.address })}\n`,
  );
}

// The bench has what it wants when it says so: calls still inside the module are not waited for.
process.once('SIGTERM', () => process.exit());
process.stdin.once('end', () => process.exit()).resume();
await main(process.argv[2] ?? '', Number(process.argv[3]));
