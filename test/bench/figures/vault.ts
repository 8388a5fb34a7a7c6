import { randomBytes } from 'node:crypto';
import { Level } from 'level';
import { type Bench, MANY } from '../context.ts';
import type { FigureSpec } from '../figure.ts';
import { median, rounded } from '../figure.ts';
import type { Volley } from '../load.ts';
import { callsPerSecond } from '../load.ts';
import { tokenizePayloads } from '../payloads.ts';
import { volleyParts } from './rpc.ts';

const DOMAIN = 'clinic/bench-static';
const ITEMS = 1_000;
const CALLS = 100;
/** What a record of nine digits without context takes (src/vault/layout.ts): index row, sealed
 *  record. */
const INDEX = { key: 21, value: 12 } as const;
const RECORD = { key: 13, value: 16 + 18 + 9 } as const;

const staticTokens: FigureSpec<Bench> = {
  id: 'vault.static_1000_vs_leveldb',
  what: 'static random tokens, all new, 1,000 a call, against raw LevelDB batches of as many puts',
  unit: 'ratio',
  goal: null,
  higherIsBetter: true,
  async measure(bench) {
    const server = await bench.lockstep();
    const domain = { id: DOMAIN, kind: 'static', format: 'digits:9' } as const;
    await server.verbs.createDomain(domain, { headers: { 'lockstep-dev-caller': 'officer' } });
    const ratios: number[] = [];
    const raws: number[] = [];
    const volleys: Volley[] = [];
    for (let pair = 0; pair < bench.options.pairs; pair++) {
      const payloads = tokenizePayloads(bench.scratch, DOMAIN, ITEMS, CALLS);
      const shot = { ...MANY, address: server.address, payloads, seconds: 0, callsMax: CALLS };
      const volley = await bench.load.fire(shot);
      const raw = await rawBatchesPerSecond(bench.scratch.path('leveldb'));
      volleys.push(volley);
      raws.push(raw);
      ratios.push(callsPerSecond(volley) / raw);
      bench.say(`  pair ${pair + 1} of ${bench.options.pairs}: ${rounded(ratios.at(-1)!)}`);
    }
    volleys.sort((a, b) => callsPerSecond(a) - callsPerSecond(b));
    return {
      value: rounded(median(ratios)),
      parts: {
        ...volleyParts('lockstep', volleys[volleys.length >> 1]!, ITEMS),
        leveldb_values_per_s: Math.round(median(raws) * ITEMS),
        ratios: ratios.map((ratio) => rounded(ratio)),
        load: bench.load.name,
      },
    };
  },
};

/** Batches a second of an index row and a record for each of 1,000 values, fsynced, as many under
 *  way as the load has calls. Index keys are random, record keys ascend, as the vault's. */
async function rawBatchesPerSecond(folder: string): Promise<number> {
  const level = new Level<Uint8Array, Uint8Array>(folder, {
    keyEncoding: 'view',
    valueEncoding: 'view',
    compression: false,
  });
  await level.open();
  try {
    const batches = Array.from({ length: CALLS }, (_, batch) => putsOf(batch));
    const startMs = performance.now();
    let next = 0;
    await Promise.all(
      Array.from({ length: MANY.concurrency }, async () => {
        while (next < CALLS) await level.batch(batches[next++]!, { sync: true });
      }),
    );
    return CALLS / ((performance.now() - startMs) / 1_000);
  } finally {
    await level.close();
  }
}

function putsOf(batch: number): { type: 'put'; key: Uint8Array; value: Uint8Array }[] {
  const puts: { type: 'put'; key: Uint8Array; value: Uint8Array }[] = [];
  for (let i = 0; i < ITEMS; i++) {
    const record = Buffer.alloc(RECORD.key, 0x72);
    record.writeUInt32BE(batch * ITEMS + i, RECORD.key - 4);
    puts.push({ type: 'put', key: randomBytes(INDEX.key), value: randomBytes(INDEX.value) });
    puts.push({ type: 'put', key: record, value: randomBytes(RECORD.value) });
  }
  return puts;
}

export const VAULT_FIGURES: readonly FigureSpec<Bench>[] = [staticTokens];
