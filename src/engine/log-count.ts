import { decodeEntry } from '../audit/entry.ts';
import type { Parts } from './parts.ts';

/** What the log says of a domain's records. */
interface LoggedRecords {
  /** Records that were made. */
  readonly made: number;
  /** There are exactly as many, since none was erased, imported, drawn or lost; else at most. */
  readonly exact: boolean;
}

/** A difference between the log and the records there are. */
export interface CountDifference {
  readonly domain: string;
  readonly logged: number;
  readonly found: number;
}

/** Verbs after which records are gone, or there in another way than by a range of counters. */
const INEXACT: ReadonlySet<string> = new Set(['Erase', 'ImportTokens']);
/** After these nobody knows how many records are left of those made before. */
const STARTS_ANEW: ReadonlySet<string> = new Set([
  'RollbackAccepted',
  'VaultRestored',
  'VaultRepaired',
  'LogLost',
]);

/** Counts what the leaves tell of records: those that calls made, from the first leaf on. */
async function recordsByLog(parts: Parts): Promise<Map<string, LoggedRecords>> {
  const logged = new Map<string, LoggedRecords>();
  let exact = true;
  for (const { spec, vaulted } of parts.domains.all()) {
    const drawn = vaulted && parts.vault.continuity.draws(spec.id);
    if (vaulted) logged.set(spec.id, { made: 0, exact: !drawn });
  }
  for await (const { entry: bytes } of parts.log.entriesFrom(0)) {
    const { verb, domain, commit = 0, counters, extra } = decodeEntry(bytes);
    if (STARTS_ANEW.has(verb)) exact = false;
    if (commit === 0) continue;
    const into = extra?.['into'];
    const target = verb === 'Exchange' && typeof into === 'string' ? into : domain;
    const before = logged.get(target);
    if (before === undefined) continue;
    logged.set(target, {
      made: before.made + (counters?.count ?? 0),
      exact: before.exact && !INEXACT.has(verb),
    });
  }
  if (!exact) for (const [id, { made }] of logged) logged.set(id, { made, exact: false });
  return logged;
}

/** Domains with fewer or more records than the log tells of, while calls go on: a record is stored
 *  before its leaf, so some more than the leaves of a moment before tell of are none too many. */
export async function countDifferences(parts: Parts): Promise<CountDifference[]> {
  const before = new Map<string, number>();
  for (const { spec, vaulted } of parts.domains.all()) {
    if (vaulted) before.set(spec.id, parts.vault.liveCount(spec.id));
  }
  const differences: CountDifference[] = [];
  let now: Map<string, LoggedRecords> | undefined;
  for (const [domain, { made, exact }] of await recordsByLog(parts)) {
    const found = before.get(domain) ?? 0;
    if (!exact || found === made) continue;
    if (found > made) {
      now ??= await settled(parts);
      const later = now.get(domain);
      if (later === undefined || !later.exact || found <= later.made) continue;
    }
    differences.push({ domain, logged: made, found });
  }
  return differences;
}

/** Once the leaves of all that was stored a moment ago are there. */
async function settled(parts: Parts): Promise<Map<string, LoggedRecords>> {
  await parts.committer.idle();
  return recordsByLog(parts);
}
