import { randomInt } from 'node:crypto';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { type Bench, MANY } from '../context.ts';
import { type FigureSpec, median, rounded } from '../figure.ts';
import { callsPerSecond, ownLoad } from '../load.ts';
import { grantBulk, type Lockstep, memoryMib, startLockstep } from '../lockstep-server.ts';
import { detokenizePayloads, orderedPayloads } from '../payloads.ts';

const DOMAIN = 'clinic/bench-large';
const ITEMS = 1_000;
/** A volley of the fill; also what is known of the tokens afterwards. */
const CALLS = 1_000;
const SMALL = Number(process.env['LOCKSTEP_BENCH_SMALL'] ?? 1_000_000);
const LARGE = Number(process.env['LOCKSTEP_BENCH_LARGE'] ?? 50_000_000);
/** Volleys of a figure, and calls of each. */
const VOLLEYS = 5;
const VOLLEY_CALLS = 200;
const MEMORY_MIB_MAX = 1_024;
const START_SECONDS_MAX = 3;

interface Speeds {
  readonly minting: number;
  readonly known: number;
  readonly reveals: number;
  readonly startSeconds: number;
  readonly peakMib: number;
}

/** Everything again with many more tokens stored: an hour of filling, so it runs by name alone. */
const large: FigureSpec<Bench> = {
  id: 'vault.at_50m_vs_1m',
  what: 'static tokens: new, known, revealed with 50,000,000 stored against 1,000,000; the lowest',
  unit: 'ratio',
  goal: 0.6,
  higherIsBetter: true,
  byNameAlone: true,
  async measure(bench) {
    await bench.settle();
    const folder = bench.scratch.path('installation');
    let server = await startLockstep(bench.scratch, { folder });
    const officer = { headers: { 'lockstep-dev-caller': 'officer' } };
    await server.verbs.createDomain({ id: DOMAIN, kind: 'static', format: 'digits:9' }, officer);
    await grantBulk(server, DOMAIN);
    await fill(bench, server, 0, SMALL);
    server = await restarted(bench, server, folder);
    const few = await speedsOf(bench, server, folder, SMALL);
    server = few.server;
    const begunMs = performance.now();
    await fill(bench, server, few.stored, LARGE);
    const fillSeconds = (performance.now() - begunMs) / 1_000;
    const many = await speedsOf(bench, server, folder, LARGE);
    await many.server.stop();
    const ratio = (name: 'minting' | 'known' | 'reveals'): number =>
      rounded(many.speeds[name] / few.speeds[name]);
    const ratios = { minting: ratio('minting'), known: ratio('known'), reveals: ratio('reveals') };
    return {
      value: Math.min(...Object.values(ratios)),
      parts: {
        stored_few: SMALL,
        stored_many: LARGE,
        minting_ratio: ratios.minting,
        known_ratio: ratios.known,
        reveals_ratio: ratios.reveals,
        ...named('few', few.speeds),
        ...named('many', many.speeds),
        memory_mib_goal: MEMORY_MIB_MAX,
        start_seconds_goal: START_SECONDS_MAX,
        fill_seconds: Math.round(fillSeconds),
      },
    };
  },
};

function named(which: string, speeds: Speeds): Record<string, number> {
  return {
    [`${which}_minting_values_per_s`]: Math.round(speeds.minting),
    [`${which}_known_values_per_s`]: Math.round(speeds.known),
    [`${which}_reveals_values_per_s`]: Math.round(speeds.reveals),
    [`${which}_start_s`]: rounded(speeds.startSeconds),
    [`${which}_peak_mib`]: Math.round(speeds.peakMib),
  };
}

/** Values `from` up to `to`, all new, in volleys of a million. */
async function fill(bench: Bench, server: Lockstep, from: number, to: number): Promise<void> {
  const load = ownLoad(bench.scratch);
  for (let first = from; first < to; first += CALLS * ITEMS) {
    const calls = Math.min(CALLS, Math.ceil((to - first) / ITEMS));
    const payloads = orderedPayloads(bench.scratch, DOMAIN, first, ITEMS, calls);
    const shot = { ...MANY, address: server.address, payloads, seconds: 0, callsMax: calls };
    const volley = await load.fire(shot);
    rmSync(payloads.framesFile);
    const perSecond = Math.round(callsPerSecond(volley) * ITEMS);
    bench.say(`  ${first + calls * ITEMS} stored, ${perSecond} a second`);
  }
}

async function restarted(bench: Bench, server: Lockstep, folder: string): Promise<Lockstep> {
  await server.stop();
  return startLockstep(bench.scratch, { folder });
}

/** All three, and what a start costs. New values are those behind the `stored` ones. */
async function speedsOf(
  bench: Bench,
  before: Lockstep,
  folder: string,
  stored: number,
): Promise<{ speeds: Speeds; stored: number; server: Lockstep }> {
  await before.stop();
  const begunMs = performance.now();
  const server = await startLockstep(bench.scratch, { folder });
  const startSeconds = (performance.now() - begunMs) / 1_000;
  const load = ownLoad(bench.scratch);
  const minting: number[] = [];
  const known: number[] = [];
  const reveals: number[] = [];
  let next = stored;
  for (let i = 0; i < VOLLEYS; i++) {
    const common = { ...MANY, address: server.address, seconds: 0, callsMax: VOLLEY_CALLS };
    const fresh = orderedPayloads(bench.scratch, DOMAIN, next, ITEMS, VOLLEY_CALLS);
    next += VOLLEY_CALLS * ITEMS;
    minting.push(callsPerSecond(await load.fire({ ...common, payloads: fresh })) * ITEMS);
    // Values from anywhere among those stored, so that caches help no more than they would.
    const again = orderedPayloads(
      bench.scratch,
      DOMAIN,
      () => randomInt(stored),
      ITEMS,
      VOLLEY_CALLS,
    );
    known.push(callsPerSecond(await load.fire({ ...common, payloads: again })) * ITEMS);
    const tokens: (readonly string[])[] = [];
    for (const items of again.values.slice(0, VOLLEY_CALLS)) {
      const batch = { domain: DOMAIN, items, purpose: '', requestId: '', subject: '', context: '' };
      tokens.push((await server.verbs.tokenize(batch)).outputs);
    }
    // Those of other volleys were read a moment ago; the pages of these are as cold as the disk is.
    const back = detokenizePayloads(bench.scratch, DOMAIN, tokens.toReversed());
    reveals.push(callsPerSecond(await load.fire({ ...common, payloads: back })) * ITEMS);
    bench.say(
      `  ${stored} stored: ${[minting, known, reveals].map((each) => Math.round(each.at(-1)!))}`,
    );
  }
  const speeds = {
    minting: median(minting),
    known: median(known),
    reveals: median(reveals),
    startSeconds,
    peakMib: memoryMib(server.pid, 'VmHWM'),
  };
  return { speeds, stored: next, server };
}

const FSCK_RECORDS = Number(process.env['LOCKSTEP_BENCH_FSCK'] ?? 10_000_000);
const FSCK_CHILD = join(import.meta.dirname, '../fsck-child.ts');

/** Every row of a vault of static records, once. */
const fsck: FigureSpec<Bench> = {
  id: 'vault.fsck_10m_s',
  what: 'fsck of 10,000,000 static records and their index rows',
  unit: 's',
  goal: null,
  higherIsBetter: false,
  byNameAlone: true,
  async measure(bench) {
    await bench.settle();
    const folder = bench.scratch.path('vault');
    await bench.scratch.run(process.execPath, [FSCK_CHILD, 'fill', folder, String(FSCK_RECORDS)]);
    const text = await bench.scratch.run(process.execPath, [FSCK_CHILD, 'check', folder]);
    const { seconds, rows, findings, peakMib, ownMib } = JSON.parse(text) as Record<string, number>;
    return {
      value: rounded(seconds!),
      parts: {
        records: FSCK_RECORDS,
        rows: rows!,
        findings: findings!,
        rows_per_s: Math.round(rows! / seconds!),
        peak_mib: Math.round(peakMib!),
        own_mib_at_end: Math.round(ownMib!),
      },
    };
  },
};

export const LARGE_FIGURES: readonly FigureSpec<Bench>[] = [large, fsck];
