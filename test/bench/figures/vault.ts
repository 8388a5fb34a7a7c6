import { randomInt } from 'node:crypto';
import { type Bench, MANY } from '../context.ts';
import { type FigureSpec, median, rounded } from '../figure.ts';
import { callsPerSecond, type Volley } from '../load.ts';
import { grantBulk, type Lockstep } from '../lockstep-server.ts';
import { detokenizePayloads, mintPayloads, type Payloads, tokenizePayloads } from '../payloads.ts';
import {
  INDEX,
  LISTED,
  openRaw,
  putsOf,
  type RawLevel,
  RECORD,
  type RowShape,
  readsPerSecond,
  writesPerSecond,
} from '../raw-level.ts';
import { profileLoad, syncsOf, volleyParts } from './rpc.ts';

const ITEMS = 1_000;
const CALLS = 100;
/** Tokens there are before anything is read. */
const KNOWN = CALLS * ITEMS;
/** Single-value calls, all different. */
const SINGLES = 40_000;
/** As the issue of single values wants it: many callers who wait for one value each. */
const CROWD = { concurrency: 64, connections: 2 } as const;

interface Pair {
  readonly volley: Volley;
  /** Calls a second of LevelDB alone. */
  readonly raw: number;
}

/** Runs pairs of a volley and the same work on LevelDB alone, their order changing. */
async function paired(
  bench: Bench,
  fire: () => Promise<Volley>,
  raw: () => Promise<number>,
): Promise<{ value: number; parts: Record<string, number | string | readonly number[]> }> {
  const pairs: Pair[] = [];
  for (let i = 0; i < bench.options.pairs; i++) {
    const first = i % 2 === 0 ? await fire() : undefined;
    const alone = await raw();
    pairs.push({ volley: first ?? (await fire()), raw: alone });
    const ratio = callsPerSecond(pairs.at(-1)!.volley) / alone;
    bench.say(`  pair ${i + 1} of ${bench.options.pairs}: ${rounded(ratio)}`);
  }
  const ratios = pairs.map(({ volley, raw }) => callsPerSecond(volley) / raw);
  const ratio = median(ratios);
  const closest = pairs.reduce((best, pair, i) =>
    Math.abs(ratios[i]! - ratio) < Math.abs(ratios[pairs.indexOf(best)]! - ratio) ? pair : best,
  );
  return {
    value: rounded(ratio),
    parts: {
      ...volleyParts('lockstep', closest.volley, ITEMS),
      leveldb_values_per_s: Math.round(closest.raw * ITEMS),
      ratios: ratios.map((each) => rounded(each)),
      load: bench.load.name,
    },
  };
}

const OFFICER = { headers: { 'lockstep-dev-caller': 'officer' } };

async function domainFor(server: Lockstep, id: string, kind: 'static' | 'dynamic'): Promise<void> {
  await server.verbs.createDomain({ id, kind, format: 'digits:9' }, OFFICER);
  await grantBulk(server, id);
}

/** All new: a volley of requests never sent before, against raw batches of the same rows. */
const minting = (
  kind: 'static' | 'dynamic',
  shapes: readonly RowShape[],
  rawConcurrency: number,
): FigureSpec<Bench> => ({
  id: `vault.${kind}_vs_leveldb`,
  what: `${kind} random tokens, all new, 1,000 a call, against raw LevelDB batches of such rows`,
  unit: 'ratio',
  goal: 0.5,
  higherIsBetter: true,
  async measure(bench) {
    const server = await bench.lockstep();
    const domain = `clinic/bench-${kind}`;
    await domainFor(server, domain, kind);
    const level = await openRaw(bench.scratch.path('leveldb'));
    let first = 0;
    try {
      return await paired(
        bench,
        () => {
          const payloads =
            kind === 'dynamic'
              ? mintPayloads(bench.scratch, domain, ITEMS, CALLS)
              : tokenizePayloads(bench.scratch, domain, ITEMS, CALLS);
          return fireAll(bench, server, payloads);
        },
        async () => {
          const batches = Array.from({ length: CALLS }, (_, i) =>
            putsOf(shapes, first + i * ITEMS, ITEMS),
          );
          first += KNOWN;
          return writesPerSecond(level, batches, rawConcurrency);
        },
      );
    } finally {
      await level.close();
    }
  },
});

const fireAll = (bench: Bench, server: Lockstep, payloads: Payloads): Promise<Volley> =>
  bench.load.fire({
    ...MANY,
    address: server.address,
    payloads,
    seconds: 0,
    callsMax: payloads.values.length,
  });

/** Against `getMany` of as many rows of the shape, picked at random among as many as there are. */
const reading = (
  id: string,
  what: string,
  shape: RowShape,
  requestsFor: (bench: Bench, server: Lockstep, known: Payloads) => Promise<Payloads>,
): FigureSpec<Bench> => ({
  id,
  what,
  unit: 'ratio',
  goal: 0.6,
  higherIsBetter: true,
  async measure(bench) {
    const server = await bench.lockstep();
    const domain = `clinic/${id.replace('.', '-').replaceAll('_', '-')}`;
    await domainFor(server, domain, 'static');
    const known = tokenizePayloads(bench.scratch, domain, ITEMS, CALLS);
    await fireAll(bench, server, known);
    const requests = await requestsFor(bench, server, known);
    const level = await openRaw(bench.scratch.path('leveldb'));
    try {
      const keys = await filled(level, shape);
      return await paired(
        bench,
        () => fireAll(bench, server, requests),
        () => readsPerSecond(level, shuffled(keys), MANY.concurrency),
      );
    } finally {
      await level.close();
    }
  },
});

async function filled(level: RawLevel, shape: RowShape): Promise<Uint8Array[]> {
  const keys: Uint8Array[] = [];
  for (let i = 0; i < CALLS; i++) {
    const puts = putsOf([shape], i * ITEMS, ITEMS);
    await level.batch(puts, { sync: true });
    for (const { key } of puts) keys.push(key);
  }
  return keys;
}

/** Reads of 1,000 keys each, in random order. */
function shuffled(keys: readonly Uint8Array[]): Uint8Array[][] {
  const left = [...keys];
  for (let i = left.length - 1; i > 0; i--) {
    const j = randomInt(i + 1);
    [left[i], left[j]] = [left[j]!, left[i]!];
  }
  return Array.from({ length: CALLS }, (_, i) => left.slice(i * ITEMS, (i + 1) * ITEMS));
}

const known = reading(
  'vault.known_vs_getmany',
  'static random tokens, all known, 1,000 a call, against raw getMany of as many index rows',
  INDEX,
  async (_bench, _server, requests) => requests,
);

const reveals = reading(
  'vault.detokenize_vs_getmany',
  'random reveals of vaulted tokens, 1,000 a call, against raw getMany of as many records',
  RECORD,
  async (bench, server, requests) => {
    const domain = 'clinic/vault-detokenize-vs-getmany';
    const tokens: string[] = [];
    for (const items of requests.values) {
      const batch = { domain, items, purpose: '', requestId: '', subject: '', context: '' };
      tokens.push(...(await server.verbs.tokenize(batch)).outputs);
    }
    for (let i = tokens.length - 1; i > 0; i--) {
      const j = randomInt(i + 1);
      [tokens[i], tokens[j]] = [tokens[j]!, tokens[i]!];
    }
    const batches = Array.from({ length: CALLS }, (_, i) =>
      tokens.slice(i * ITEMS, (i + 1) * ITEMS),
    );
    return detokenizePayloads(bench.scratch, domain, batches);
  },
);

/** Single new values of many callers at once: what sharing an fsync is for. */
const unary: FigureSpec<Bench> = {
  id: 'vault.unary_vs_echo',
  what: 'static random tokens, all new, 1 a call, 64 concurrent, against an echo server',
  unit: 'ratio',
  goal: 0.6,
  higherIsBetter: true,
  async measure(bench) {
    const server = await bench.lockstep();
    const echo = await bench.echo();
    const domain = 'clinic/bench-unary';
    await domainFor(server, domain, 'static');
    const before = await syncsOf(server);
    let calls = 0;
    const fire = async (address: string): Promise<Volley> => {
      const payloads = tokenizePayloads(bench.scratch, domain, 1, SINGLES);
      return bench.load.fire({ ...CROWD, address, payloads, seconds: 0, callsMax: SINGLES });
    };
    const ratios: number[] = [];
    const volleys: Volley[] = [];
    for (let pair = 0; pair < bench.options.pairs; pair++) {
      const volley = await fire(server.address);
      const echoed = await fire(echo.address);
      calls += volley.calls;
      volleys.push(volley);
      ratios.push(callsPerSecond(volley) / callsPerSecond(echoed));
      bench.say(`  pair ${pair + 1} of ${bench.options.pairs}: ${rounded(ratios.at(-1)!)}`);
    }
    const after = await syncsOf(server);
    volleys.sort((a, b) => callsPerSecond(a) - callsPerSecond(b));
    return {
      value: rounded(median(ratios)),
      parts: {
        ...volleyParts('lockstep', volleys[volleys.length >> 1]!, 1),
        fsyncs_a_call_goal: 1 / 16,
        vault_fsyncs_a_call: rounded((after.vault - before.vault) / calls),
        log_fsyncs_a_call: rounded((after.count - before.count) / calls),
        ratios: ratios.map((ratio) => rounded(ratio)),
        load: bench.load.name,
        concurrency: CROWD.concurrency,
      },
    };
  },
  profile: (bench) =>
    profileLoad(bench, CROWD, async (server) => {
      const domain = 'clinic/bench-unary';
      await domainFor(server, domain, 'static');
      return tokenizePayloads(bench.scratch, domain, 1, 4 * SINGLES);
    }),
};

export const VAULT_FIGURES: readonly FigureSpec<Bench>[] = [
  minting('dynamic', [RECORD, LISTED], 1),
  minting('static', [RECORD, INDEX], 1),
  known,
  reveals,
  unary,
];
