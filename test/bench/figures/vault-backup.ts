import { newIdentity } from '../../../src/engine/backup/age.ts';
import { verbsOf } from '../../../src/rpc/verbs.ts';
import { type Bench, MANY } from '../context.ts';
import { type FigureSpec, rounded } from '../figure.ts';
import { ownLoad, type Volley } from '../load.ts';
import { grantBulk, type Lockstep, startLockstep } from '../lockstep-server.ts';
import { orderedPayloads } from '../payloads.ts';

const DOMAIN = 'clinic/bench-backup';
const ITEMS = 1_000;
const RECORDS = 1_000_000;
/** Single calls of a hundred values, as a service makes them while a backup runs. */
const LOAD_ITEMS = 100;
const LOAD_SECONDS = 6;
const P99_RATIO_MAX = 3;

/** Records a second of an online backup, and what the calls beside it feel. */
const backup: FigureSpec<Bench> = {
  id: 'vault.backup_records_per_s',
  what: `online backup of ${RECORDS.toLocaleString('en')} static records while calls go on`,
  unit: 'records/s',
  goal: 100_000,
  higherIsBetter: true,
  async measure(bench) {
    await bench.settle();
    const folder = bench.scratch.path('installation');
    const server = await startLockstep(bench.scratch, { folder });
    const officer = { headers: { 'lockstep-dev-caller': 'officer' } };
    await server.verbs.createDomain({ id: DOMAIN, kind: 'static', format: 'digits:9' }, officer);
    await grantBulk(server, DOMAIN);
    const calls = RECORDS / ITEMS;
    const fill = orderedPayloads(bench.scratch, DOMAIN, 0, ITEMS, calls);
    const load = ownLoad(bench.scratch);
    const { address } = server;
    await load.fire({ ...MANY, address, payloads: fill, seconds: 0, callsMax: calls });
    const busy = orderedPayloads(bench.scratch, DOMAIN, RECORDS / 2, LOAD_ITEMS, 1_000);
    const shot = { ...MANY, address, payloads: busy, seconds: LOAD_SECONDS };
    const alone = await load.fire(shot);
    const firing = load.fire(shot);
    const seconds = await backUp(server);
    const beside: Volley = await firing;
    await server.stop();
    return {
      value: Math.round(RECORDS / seconds),
      parts: {
        records: RECORDS,
        seconds: rounded(seconds),
        p99_alone_ms: rounded(alone.p99Ms),
        p99_beside_ms: rounded(beside.p99Ms),
        p99_ratio: rounded(beside.p99Ms / alone.p99Ms),
        p99_ratio_goal: P99_RATIO_MAX,
        calls_a_second_alone: Math.round(alone.calls / alone.seconds),
        calls_a_second_beside: Math.round(beside.calls / beside.seconds),
      },
    };
  },
};

async function backUp(server: Lockstep): Promise<number> {
  const verbs = verbsOf(server.connection);
  const { recipient } = await newIdentity(false);
  const request = { file: 'bench.age', recipients: [recipient], classic: false, requestId: '' };
  const begunMs = performance.now();
  let job = await verbs.backUpVault(request);
  while (job.state === 'running') {
    await new Promise((resolve) => setTimeout(resolve, 50));
    job = await verbs.getJob(job.id);
  }
  if (job.state !== 'done') throw new Error(`the backup ended as ${job.state}`);
  return (performance.now() - begunMs) / 1_000;
}

export const BACKUP_FIGURES: readonly FigureSpec<Bench>[] = [backup];
