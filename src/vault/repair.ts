import assert from 'node:assert';
import { type Column, columnOf } from '../base/column.ts';
import { type Change, type Snapshot, type Store, StoreError } from '../storage/store.ts';
import { headChange } from './committer.ts';
import type { CounterSet } from './counter-set.ts';
import {
  after,
  domainKey,
  getU32,
  getU64,
  INDEX_BYTES,
  INDEX_KEY_BYTES,
  INDEX_ROW_BYTES,
  indexKeys,
  LISTED_KEY_BYTES,
  listedKeys,
  PREFIX,
  viewsOf,
} from './layout.ts';
import { Survey, type SurveyedDomain } from './repair-survey.ts';
import { checked, counterOf, encodeRunning, indexRows, proven } from './rows.ts';
import { decodeRules } from './rules.ts';

/** What records say of their index rows; `known` is 0 where a record does not open. */
export interface Reindexed {
  /** 16 bytes a row. */
  readonly indexes: Uint8Array;
  readonly known: Uint8Array;
}

export interface RepairOptions {
  /** Asks the module; a row of `records` for each counter, at most 1,000. */
  readonly reindex: (domain: string, counters: Float64Array, records: Column) => Promise<Reindexed>;
  readonly progress?: (rows: number) => void;
}

/** What was found and mended. Nothing in it names a value or a token. */
export interface RepairReport {
  /** Rows of the vault before. */
  readonly rows: number;
  /** Damaged rows that were dropped, or set to what refuses most. */
  readonly damaged: number;
  /** Records of tokens that had been erased, removed again. */
  readonly erased: number;
  /** Index rows that named no record, removed. */
  readonly dangling: number;
  /** Index rows made anew from their records. */
  readonly reindexed: number;
  /** Rules, subjects and sharers of records that are gone, removed. */
  readonly orphaned: number;
  /** Records that do not open: they stay, and answer RECORD_CORRUPT. */
  readonly unreadable: number;
  /** Records by domain, after the repair. */
  readonly live: Readonly<Record<string, number>>;
}

const ROWS_A_WRITE = 1_000;

/** Makes the rows of a damaged vault whole again as far as they tell what they were: numbers are
 *  counted anew, index rows follow the records, and what was erased stays erased. What cannot be
 *  told is decided for the safe side: a token whose rules are damaged is stopped, a subject whose
 *  tombstone is damaged is erased, a request that is damaged is forgotten. Records themselves are
 *  never invented. Nobody else may have the store. Rejects with `StoreError('corrupt')` where a
 *  domain's own row is damaged: only a backup can tell what its records are. */
export async function repairRows(store: Store, options: RepairOptions): Promise<RepairReport> {
  const snapshot = store.snapshot();
  try {
    const survey = await Survey.of(store, snapshot, options.progress);
    const out = new Writer(store);
    for (const change of survey.changes) await out.add(change);
    const mended = { erased: 0, dangling: 0, reindexed: 0, unreadable: 0 };
    const live: Record<string, number> = {};
    for (const domain of survey.domains.values()) {
      const done = await mendDomain(store, snapshot, domain, options, out);
      mended.erased += done.erased;
      mended.dangling += done.dangling;
      mended.reindexed += done.reindexed;
      mended.unreadable += done.unreadable;
      live[domain.id] = done.live;
    }
    const orphaned = await dropOrphans(store, snapshot, survey, out);
    for (const domain of survey.domains.values()) await out.add(runningOf(domain));
    // The numbers of the groups begin anew: a gap in them would refuse the next start.
    for (const key of survey.groupKeys) await out.add({ type: 'del', key });
    await out.add(headChange({ ...survey.head, group: 0 }));
    await out.flush();
    return { rows: survey.rows, damaged: survey.damaged, ...mended, orphaned, live };
  } finally {
    await snapshot.close();
  }
}

interface Mended {
  readonly erased: number;
  readonly dangling: number;
  readonly reindexed: number;
  readonly unreadable: number;
  readonly live: number;
}

async function mendDomain(
  store: Store,
  snapshot: Snapshot,
  domain: SurveyedDomain,
  options: RepairOptions,
  out: Writer,
): Promise<Mended> {
  const { row, gone, there } = domain;
  let erased = 0;
  const unnamed: Unnamed[] = [];
  const done = { reindexed: 0, unreadable: 0 };
  const prefix = domainKey(PREFIX.record, row.number);
  for await (const { key, value } of store.range({ from: prefix, to: after(prefix), snapshot })) {
    const counter = getU64(key, 5);
    if (gone.has(counter)) {
      erased++;
      await out.add({ type: 'del', key: Uint8Array.from(key) });
      continue;
    }
    domain.live++;
    there.add(counter);
    domain.highest = Math.max(domain.highest, counter);
    if (row.index === 'none' || domain.named.has(counter)) continue;
    unnamed.push({ counter, record: Uint8Array.from(value) });
    if (unnamed.length < ROWS_A_WRITE) continue;
    await reindex(store, domain, unnamed.splice(0), options, out, done);
  }
  if (unnamed.length > 0) await reindex(store, domain, unnamed, options, out, done);
  const dangling = await dropDangling(store, snapshot, domain, out);
  return { erased, dangling, live: domain.live, ...done };
}

interface Unnamed {
  readonly counter: number;
  readonly record: Uint8Array;
}

/** Index rows of records that had none: a static value would get a second token else. Where its
 *  index has another live record already, that one keeps it. */
async function reindex(
  store: Store,
  { id, row, named }: SurveyedDomain,
  rows: readonly Unnamed[],
  options: RepairOptions,
  out: Writer,
  done: { reindexed: number; unreadable: number },
): Promise<void> {
  const counters = Float64Array.from(rows, ({ counter }) => counter);
  const records = columnOf(rows.map(({ record }) => record));
  const { indexes, known } = await options.reindex(id, counters, records);
  const unique = row.index === 'unique';
  const keys = unique
    ? viewsOf(indexKeys(row.number, indexes), INDEX_KEY_BYTES)
    : viewsOf(listedKeys(row.number, indexes, counters), LISTED_KEY_BYTES);
  const values = viewsOf(indexRows(row.number, indexes, counters), INDEX_ROW_BYTES);
  const before = unique ? await store.getMany(keys) : [];
  for (let i = 0; i < counters.length; i++) {
    if (known[i] !== 1) {
      done.unreadable++;
      continue;
    }
    const other = before[i];
    if (other !== undefined && isTaken(other, row.number, indexes, i, named)) continue;
    done.reindexed++;
    await out.add({ type: 'put', key: keys[i]!, value: unique ? values[i]! : NOTHING });
  }
}

const NOTHING = new Uint8Array(0);

/** Whether the value has another token, by a sound row. */
function isTaken(
  value: Uint8Array,
  domain: number,
  indexes: Uint8Array,
  place: number,
  named: CounterSet,
): boolean {
  const counter = counterOf(value, domain, indexes, place * INDEX_BYTES);
  return counter >= 0 && named.has(counter);
}

async function dropDangling(
  store: Store,
  snapshot: Snapshot,
  { row, there }: SurveyedDomain,
  out: Writer,
): Promise<number> {
  if (row.index === 'none') return 0;
  const unique = row.index === 'unique';
  let dangling = 0;
  const prefix = domainKey(unique ? PREFIX.index : PREFIX.listed, row.number);
  for await (const { key, value } of store.range({ from: prefix, to: after(prefix), snapshot })) {
    const counter = unique ? counterOf(value, row.number, key, 5) : getU64(key, 21);
    // A damaged one is gone already.
    if (counter < 0 || there.has(counter)) continue;
    dangling++;
    await out.add({ type: 'del', key: Uint8Array.from(key) });
  }
  return dangling;
}

/** Rules, subjects and sharers whose record is not there. */
async function dropOrphans(
  store: Store,
  snapshot: Snapshot,
  survey: Survey,
  out: Writer,
): Promise<number> {
  let orphaned = 0;
  const range = { from: Uint8Array.of(PREFIX.rules), to: Uint8Array.of(PREFIX.domain), snapshot };
  for await (const { key, value } of store.range(range)) {
    const bySubject = key[0] === PREFIX.subject;
    const domain = survey.domains.get(getU32(key, bySubject ? 17 : 1));
    if (domain?.there.has(getU64(key, bySubject ? 21 : 5)) === true) continue;
    if (key[0] === PREFIX.rules) {
      if (isUnlinked(key, value)) continue;
      if (domain !== undefined) domain.ruled--;
    }
    orphaned++;
    await out.add({ type: 'del', key: Uint8Array.from(key) });
  }
  return orphaned;
}

function isUnlinked(key: Uint8Array, value: Uint8Array): boolean {
  try {
    return decodeRules(proven(key, value)).unlinked;
  } catch (error) {
    if (error instanceof StoreError) return false;
    throw error;
  }
}

/** Where the row itself was damaged the mark is that of the records alone: the log's counters are
 *  skipped by whoever opens the vault next. */
function runningOf(domain: SurveyedDomain): Change {
  const { row, running, ruled, erased, live, highest, runningDamaged } = domain;
  const mark = runningDamaged && !row.drawn ? highest + 1 : running.mark;
  assert(mark <= row.countersMax, 'a counter is below the limit of its domain');
  const key = domainKey(PREFIX.running, row.number);
  const placed = runningDamaged && row.drawn ? live + erased : running.placed;
  const value = encodeRunning({ mark, live, ruled, erased, placed, closed: running.closed });
  return { type: 'put', key, value: checked(key, value) };
}

/** Writes in batches; each is whole by itself, and a repair can be run again. */
class Writer {
  readonly #store: Store;
  #changes: Change[] = [];

  constructor(store: Store) {
    this.#store = store;
  }

  async add(change: Change): Promise<void> {
    this.#changes.push(change);
    if (this.#changes.length >= ROWS_A_WRITE) await this.flush();
  }

  async flush(): Promise<void> {
    const changes = this.#changes;
    this.#changes = [];
    await this.#store.write(changes);
  }
}
