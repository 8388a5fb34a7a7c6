import { type Change, type Store, StoreError } from '../storage/store.ts';
import { GROUPS_KEPT, headChange, headKey } from './committer.ts';
import { epochChange, type Lineage, loadLineage, placeChange } from './continuity.ts';
import { DomainState, Domains } from './domains.ts';
import { after, domainKey, getU64, PREFIX, textKey } from './layout.ts';
import {
  checked,
  type DomainRow,
  decodeDomain,
  decodeHead,
  decodeRunning,
  type HeadRow,
  proven,
} from './rows.ts';

/** Of the layout: a vault of another version is refused. */
const VERSION = 2;
const IDENTITY_KEY = textKey(PREFIX.meta, 'identity');

/** The rows of an empty vault. `place` is the store's own. */
export function initialChanges(identity: string, place: string): Change[] {
  const value = Buffer.concat([Uint8Array.of(VERSION), Buffer.from(identity, 'utf8')]);
  return [
    { type: 'put', key: IDENTITY_KEY, value: checked(IDENTITY_KEY, value) },
    headChange({ commit: 0, group: 0, outboxFrom: 0, leaves: 0 }),
    epochChange(0),
    placeChange(place),
  ];
}

export interface Loaded {
  readonly head: HeadRow;
  readonly domains: Domains;
  readonly lineage: Lineage;
}

/** Rejects with `StoreError`: `missing`, `foreign` or `corrupt`. */
export async function loadVault(store: Store, identity: string): Promise<Loaded> {
  const [identityRow, headRow] = await store.getMany([IDENTITY_KEY, headKey()]);
  if (identityRow === undefined || headRow === undefined) {
    throw new StoreError('missing', new Error('the store holds no vault'));
  }
  const value = proven(IDENTITY_KEY, identityRow);
  if (value[0] !== VERSION) throw new StoreError('foreign', new Error('another layout version'));
  if (Buffer.from(value.subarray(1)).toString('utf8') !== identity) {
    throw new StoreError('foreign', new Error('the vault belongs to another installation'));
  }
  const head = decodeHead(proven(headKey(), headRow));
  await checkGroups(store, head);
  return { head, domains: await loadDomains(store), lineage: await loadLineage(store) };
}

/** Every write left its number: one that is gone, from the middle of LevelDB's write-ahead log
 *  say, is a gap. That the last one is gone only the audit log can tell, by `lastCommit`. */
async function checkGroups(store: Store, head: HeadRow): Promise<void> {
  const prefix = Uint8Array.of(PREFIX.group);
  let expected = Math.max(1, head.group - GROUPS_KEPT + 1);
  for await (const { key, value } of store.range({ from: prefix, to: after(prefix) })) {
    proven(key, value);
    if (getU64(key, 1) !== expected++) break;
  }
  if (expected !== head.group + 1) {
    throw new StoreError('corrupt', new Error('a write of the vault is gone'));
  }
}

async function loadDomains(store: Store): Promise<Domains> {
  const prefix = Uint8Array.of(PREFIX.domain);
  const rows: { id: string; row: DomainRow }[] = [];
  for await (const { key, value } of store.range({ from: prefix, to: after(prefix) })) {
    const id = Buffer.from(key.subarray(1)).toString('utf8');
    rows.push({ id, row: decodeDomain(proven(key, value)) });
  }
  const keys = rows.map(({ row }) => domainKey(PREFIX.running, row.number));
  const running = await store.getMany(keys);
  const domains = new Domains();
  for (const [i, { id, row }] of rows.entries()) {
    const value = running[i];
    const start = value === undefined ? undefined : decodeRunning(proven(keys[i]!, value));
    domains.add(new DomainState(id, row, start));
  }
  return domains;
}
