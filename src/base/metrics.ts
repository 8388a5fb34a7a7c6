import { monitorEventLoopDelay } from 'node:perf_hooks';
import { type Meter, metrics } from '@opentelemetry/api';
import type { CodeName, Reason } from './reason.ts';

/** What the server counts: once a call, a job or a sync, never once a value, for a record costs
 *  about a microsecond. Names are stable and listed in src/admin/README.md. No label comes from
 *  input: methods, reasons, codes and places are closed lists. */
export interface Metrics {
  call(end: CallEnd): void;
  /** Items that a quota let through, and calls that it refused. */
  quotaUsed(budget: Budget, items: number): void;
  quotaRefused(budget: Budget): void;
  /** A job of the key worker. `moduleCalls` is how many PKCS#11 calls it took. */
  keyJob(end: KeyJobEnd): void;
  /** A commit of the vault; `records` were minted or changed by it. */
  vaultCommit(records: number): void;
  /** One fsync, or one write that waited for it. */
  fsync(place: SyncPlace, seconds: number): void;
  /** A try to bring a fenced vault or log back. */
  healTried(outcome: HealOutcome): void;
  /** Gauges are read at each scrape, on the main thread: the functions must not block. */
  observe(gauges: Gauges): void;
  /** Stops the event-loop watch. */
  close(): void;
}

export interface CallEnd {
  /** As on the wire, e.g. `lockstep.v1.TokenService/Tokenize`. */
  readonly method: string;
  readonly code: CodeName | 'OK';
  readonly reason: Reason | 'OK';
  readonly seconds: number;
  /** Items of the batch that succeeded and that failed; both 0 where there was no batch. */
  readonly done: number;
  readonly failed: number;
}

/** `keyed`: answers of deterministic kinds. `reveal`: reveals, and look-ups of vaulted tokens. */
export type Budget = 'keyed' | 'reveal';
export type SyncPlace = 'vault' | 'log';

/** `log`: the log did not open, or could not take what the vault held for it. */
export type HealOutcome = 'healed' | 'busy' | 'full' | 'failed' | 'log' | 'lost';

export interface KeyJobEnd {
  /** What the job did, from the closed list of job kinds. */
  readonly kind: string;
  readonly ok: boolean;
  readonly seconds: number;
  readonly moduleCalls: number;
}

export interface Gauges {
  /** Jobs that wait for the key worker now. */
  readonly keyQueueDepth?: () => number;
  /** Leaves of the log. */
  readonly logLeaves?: () => number;
  readonly vaultWrites?: () => number;
  /** Calls under way. */
  readonly callsActive?: () => number;
  /** 1 while it takes no writes since one failed. */
  readonly vaultFenced?: () => number;
  readonly logFenced?: () => number;
  /** Left on the disk of the data folder, in bytes, without the reserve. */
  readonly diskFree?: () => number;
  /** Domains that have given out so many per cent of their tokens, for each of a few levels. */
  readonly domainsPast?: {
    readonly levels: readonly number[];
    readonly read: (percent: number) => number;
  };
}

// The names of OpenTelemetry's semantic conventions 1.45 that are stable; the others are ours.
const CALL_DURATION = 'rpc.server.call.duration';
const LOOP_DELAY = 'nodejs.eventloop.delay';
// From half a batch of the fastest kind to a call that met its default deadline.
const CALL_SECONDS = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 30];
const SYNC_SECONDS = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 1];
const LOOP_SAMPLE_MS = 10;

/** Instruments on `meter`; without one on the global meter, which does nothing until the admin
 *  server's reader stands behind it. */
export function openMetrics(meter: Meter = metrics.getMeter('lockstep')): Metrics {
  const calls = callInstruments(meter);
  const keys = keyInstruments(meter);
  const quotaItems = meter.createCounter('lockstep.quota.items', {
    description: 'Items that a quota let through',
  });
  const quotaRefusals = meter.createCounter('lockstep.quota.refusals', {
    description: 'Calls that a quota refused',
  });
  const commits = meter.createCounter('lockstep.vault.commits', {
    description: 'Atomic batches committed to the vault',
  });
  const records = meter.createCounter('lockstep.vault.records', {
    description: 'Records minted or changed in the vault',
  });
  const syncs = meter.createHistogram('lockstep.fsync.duration', {
    description: 'Time until a write was durable',
    unit: 's',
    advice: { explicitBucketBoundaries: SYNC_SECONDS },
  });
  const heals = meter.createCounter('lockstep.heals', {
    description: 'Tries to bring a fenced vault or log back, by outcome',
  });
  const stopLoopWatch = watchLoop(meter);
  return {
    ...calls,
    ...keys,
    quotaUsed: (budget, items) => quotaItems.add(items, { budget }),
    quotaRefused: (budget) => quotaRefusals.add(1, { budget }),
    vaultCommit(count) {
      commits.add(1);
      records.add(count);
    },
    fsync: (place, seconds) => syncs.record(seconds, { place }),
    healTried: (outcome) => heals.add(1, { outcome }),
    observe: (gauges) => observeGauges(meter, gauges),
    close: stopLoopWatch,
  };
}

function callInstruments(meter: Meter): Pick<Metrics, 'call'> {
  const calls = meter.createCounter('lockstep.calls', {
    description: 'Calls answered, by method and reason',
  });
  const items = meter.createCounter('lockstep.items', {
    description: 'Items of batches, by method and outcome',
  });
  const duration = meter.createHistogram(CALL_DURATION, {
    description: 'Duration of calls as the server sees them',
    unit: 's',
    advice: { explicitBucketBoundaries: CALL_SECONDS },
  });
  return {
    call(end) {
      calls.add(1, { 'rpc.method': end.method, reason: end.reason });
      if (end.done > 0) items.add(end.done, { 'rpc.method': end.method, outcome: 'done' });
      if (end.failed > 0) items.add(end.failed, { 'rpc.method': end.method, outcome: 'failed' });
      duration.record(end.seconds, {
        'rpc.system.name': 'grpc',
        'rpc.method': end.method,
        'rpc.status_code': end.code,
      });
    },
  };
}

function keyInstruments(meter: Meter): Pick<Metrics, 'keyJob'> {
  const jobs = meter.createHistogram('lockstep.key_worker.job.duration', {
    description: 'Time of a job in the key worker, without its wait',
    unit: 's',
    advice: { explicitBucketBoundaries: CALL_SECONDS },
  });
  const moduleCalls = meter.createCounter('lockstep.module.calls', {
    description: 'Calls into the PKCS#11 module',
  });
  return {
    keyJob(end) {
      jobs.record(end.seconds, { kind: end.kind, outcome: end.ok ? 'done' : 'failed' });
      moduleCalls.add(end.moduleCalls);
    },
  };
}

function observeGauges(meter: Meter, gauges: Gauges): void {
  const rows = [
    ['lockstep.key_worker.queue.depth', 'Jobs that wait for the key worker', gauges.keyQueueDepth],
    ['lockstep.log.leaves', 'Leaves of the log', gauges.logLeaves],
    ['lockstep.vault.writes', 'Durable writes of the vault', gauges.vaultWrites],
    ['lockstep.calls.active', 'Calls under way', gauges.callsActive],
    ['lockstep.vault.fenced', '1 while the vault takes no writes', gauges.vaultFenced],
    ['lockstep.log.fenced', '1 while the log takes no entries', gauges.logFenced],
    ['lockstep.disk.free', 'Bytes left on the disk of the data folder', gauges.diskFree, 'By'],
  ] as const;
  for (const [name, description, read, unit = ''] of rows) {
    if (read === undefined) continue;
    meter
      .createObservableGauge(name, { description, unit })
      .addCallback((seen) => seen.observe(read()));
  }
  const { domainsPast } = gauges;
  if (domainsPast === undefined) return;
  const description = 'Domains that have given out this share of their tokens';
  meter.createObservableGauge('lockstep.domains.filled', { description }).addCallback((seen) => {
    for (const percent of domainsPast.levels) {
      seen.observe(domainsPast.read(percent), { percent: String(percent) });
    }
  });
}

/** Node's samples are whole intervals between two timers, in nanoseconds: the delay is the rest. */
const delaySeconds = (interval: number): number =>
  Math.max(0, interval / 1e6 - LOOP_SAMPLE_MS) / 1e3;

/** How late timers ran since the last scrape. A stall shows in `max` and `p99`. */
function watchLoop(meter: Meter): () => void {
  const histogram = monitorEventLoopDelay({ resolution: LOOP_SAMPLE_MS });
  histogram.enable();
  const gauge = (name: string, description: string) =>
    meter.createObservableGauge(`${LOOP_DELAY}.${name}`, { description, unit: 's' });
  const p50 = gauge('p50', 'Median delay of the event loop since the last scrape');
  const p99 = gauge('p99', '99th percentile of the event-loop delay since the last scrape');
  const max = gauge('max', 'Longest delay of the event loop since the last scrape');
  meter.addBatchObservableCallback(
    (seen) => {
      if (histogram.count === 0) return;
      seen.observe(p50, delaySeconds(histogram.percentile(50)));
      seen.observe(p99, delaySeconds(histogram.percentile(99)));
      seen.observe(max, delaySeconds(histogram.max));
      histogram.reset();
    },
    [p50, p99, max],
  );
  return () => histogram.disable();
}
