import { mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock } from '../../base/clock.ts';
import { openLevelStore } from '../../storage/level-store.ts';
import { getU32, getU64, PREFIX } from '../../vault/layout.ts';
import { openVault, type Vault } from '../../vault/vault.ts';
import type { KeyLane } from '../key-lane.ts';
import type { ManifestHead, ManifestTail } from './manifest.ts';
import { type BackupReader, openBackup } from './reader.ts';
import { type ModuleOptions, openRestoreModule } from './restore-module.ts';
import { type LoadOptions, loadRows } from './restore-rows.ts';
import { checkSigner } from './verify.ts';

const BATCH = 1_000;
const CALL_MS = 60_000;

export interface DrillOptions extends LoadOptions, ModuleOptions {
  readonly file: string;
  readonly identities: readonly string[];
  /** A temporary folder is made in here, with room for the whole vault. */
  readonly folder: string;
  /** Records a domain. */
  readonly sample: number;
  readonly clock: Clock;
  readonly signer?: Uint8Array | undefined;
}

export interface DrilledDomain {
  readonly domain: string;
  readonly records: number;
  readonly sampled: number;
  /** Of the sampled ones. */
  readonly opened: number;
}

export interface Drilled {
  readonly head: ManifestHead;
  readonly tail: ManifestTail;
  readonly domains: readonly DrilledDomain[];
  /** Findings of the check of all rows. */
  readonly faults: number;
  readonly restoreMs: number;
  readonly checkMs: number;
  readonly openMs: number;
}

/** Restores a backup beside the installation, checks every row, opens a sample of the records with
 *  the module's keys, and removes it all again. It serves nothing and never touches the head that
 *  the module keeps: with that, a drill would take the vault away from the server that runs. No
 *  value leaves the key worker. Rejects as `restoreBackup` does. */
export async function drillBackup(options: DrillOptions): Promise<Drilled> {
  const folder = await mkdtemp(join(options.folder, 'lockstep-drill-'));
  try {
    const reader = await openBackup(options.file, options.identities);
    try {
      checkSigner(reader, options.signer);
      const { lane } = await openRestoreModule(options, reader.catalogue);
      try {
        return await drill(options, folder, reader, lane);
      } finally {
        await lane.close();
      }
    } finally {
      await reader.close();
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function drill(
  options: DrillOptions,
  folder: string,
  reader: BackupReader,
  lane: KeyLane,
): Promise<Drilled> {
  const begun = performance.now();
  const store = await openLevelStore({ folder: join(folder, 'vault'), create: true });
  const samples = new Samples(options.sample);
  const see = samples.see.bind(samples);
  const tail = await loadRows(reader, store, { ...options, see }).catch(async (error: unknown) => {
    await store.close().catch(() => {});
    throw error;
  });
  const { head } = reader;
  // Whatever a start looks at is looked at: identity, lost writes, running numbers.
  const vault = await openVault(store, {
    identity: head.installation,
    clock: options.clock,
    moved: 'allow',
  });
  try {
    const restored = performance.now();
    const faults = await countFaults(vault, options.signal);
    const checked = performance.now();
    const domains: DrilledDomain[] = [];
    for (const [domain, records] of Object.entries(tail.records)) {
      const counters = samples.of(domain);
      const opened = await countOpened(vault, lane, domain, counters);
      domains.push({ domain, records, sampled: counters.length, opened });
    }
    const [restoreMs, checkMs] = [restored - begun, checked - restored];
    return { head, tail, domains, faults, restoreMs, checkMs, openMs: performance.now() - checked };
  } finally {
    await vault.close();
  }
}

async function countFaults(vault: Vault, signal: AbortSignal | undefined): Promise<number> {
  let faults = 0;
  const progress = (): void => signal?.throwIfAborted();
  for await (const _ of vault.fsck({ progress })) faults += 1;
  return faults;
}

async function countOpened(
  vault: Vault,
  lane: KeyLane,
  domain: string,
  counters: Float64Array,
): Promise<number> {
  let opened = 0;
  for (let at = 0; at < counters.length; at += BATCH) {
    const some = counters.slice(at, at + BATCH);
    const records = await vault.read(domain, some);
    const job = { op: 'reindex', domain, counters: some, records } as const;
    const call = { deadlineMs: Date.now() + CALL_MS, cancelled: () => false };
    for (const known of (await lane.run(job, call)).known) opened += known;
  }
  return opened;
}

/** Counters of records drawn evenly while the rows pass (reservoir sampling, Vitter's R). */
class Samples {
  readonly #size: number;
  readonly #names = new Map<string, number>();
  readonly #drawn = new Map<number, { seen: number; counters: number[] }>();

  constructor(size: number) {
    this.#size = size;
  }

  see(key: Uint8Array, value: Uint8Array): void {
    if (key[0] === PREFIX.domain) {
      this.#names.set(Buffer.from(key.subarray(1)).toString('utf8'), getU32(value, 0));
    }
    if (key[0] !== PREFIX.record) return;
    const domain = getU32(key, 1);
    const drawn = this.#drawn.get(domain) ?? { seen: 0, counters: [] };
    this.#drawn.set(domain, drawn);
    drawn.seen += 1;
    const place = Math.floor(Math.random() * drawn.seen);
    if (drawn.counters.length < this.#size) drawn.counters.push(getU64(key, 5));
    else if (place < this.#size) drawn.counters[place] = getU64(key, 5);
  }

  of(domain: string): Float64Array {
    const number = this.#names.get(domain);
    const drawn = number === undefined ? undefined : this.#drawn.get(number);
    return Float64Array.from(drawn?.counters ?? []).sort();
  }
}
