import { crc32 } from 'node:zlib';
import type { Entry } from '../audit/entry.ts';
import { CallError } from '../base/call-error.ts';
import { type Column, columnOf, rowBytes, rowStart } from '../base/column.ts';
import { organisationOf } from '../policy/ask.ts';
import { authorise, checkPurpose } from '../policy/view.ts';
import { getU32, getU64, putU32, putU64 } from '../vault/layout.ts';
import type { SubjectPlace, SubjectTokens } from '../vault/subjects.ts';
import type { TokenState } from './calls.ts';
import { fieldInvalid } from './domain-admin.ts';
import type { ServedDomain } from './domain-table.ts';
import { domainOf, refuseDisabled, underQuota } from './gate.ts';
import { fixedColumn } from './jobs/gather.ts';
import type { Parts } from './parts.ts';
import { commitLeaf, plainEntry } from './receipts.ts';
import { stateOf } from './rules.ts';
import { indexOfSubject } from './targets.ts';
import type { SubjectTokensAnswer, SubjectTokensCall } from './vault-calls.ts';

/** The tokens of a patient, under all ids of theirs: for access requests, and to see what an Erase
 *  would take. Only vaulted kinds keep records to list: what is derived from the value (FPE, SIV,
 *  one-way) leaves no trace here. Charged as reveals, domain by domain. */
export async function listSubjectTokens(
  parts: Parts,
  call: SubjectTokensCall,
): Promise<SubjectTokensAnswer> {
  const domains = domainsOf(parts, call);
  if (call.subject.length === 0) {
    throw new CallError('FIELD_REQUIRED', {
      violations: [{ field: 'subject', text: 'required' }],
    });
  }
  if (!Number.isInteger(call.limit) || call.limit < 1) {
    throw fieldInvalid('page_size', 'must be at least 1');
  }
  const index = await indexOfSubject(parts, call, call.subject);
  const { organisation } = call.caller;
  const owner = call.domain === '' ? organisation : organisationOf(domains[0]!.spec.id);
  const ids = parts.vault.aliases.groupOf(index, owner);
  const mark = markOf(ids, call.domain);
  const names = domains.map(({ spec }) => spec.id);
  const from = placeOf(call.after, ids, mark);
  const found = await parts.vault.subjects.tokensOf(ids, names, from, call.limit);
  const page = fitting(found);
  const groups = byDomain(domains, page);
  return charged(parts, call, groups, 0, undefined, async (timeMs) => {
    const { tokens, states } = await show(parts, call, groups, page.counters.length);
    const receipt = await log(parts, call, { groups, tokens, index, timeMs });
    const next = page.next === undefined ? '' : textOf(page.next, ids, mark);
    return { domains: page.domains, tokens, states, next, receipt };
  });
}

/** The domain that the call names, or those of the organisation that it may list. */
function domainsOf(parts: Parts, call: SubjectTokensCall): readonly ServedDomain[] {
  checkPurpose('ListSubject', call.purpose);
  const ask = {
    caller: call.caller,
    action: 'ListSubject',
    purpose: call.purpose,
    items: 1,
  } as const;
  if (call.domain !== '') {
    const domain = domainOf(parts, call.caller, call.domain);
    authorise(parts.policy, { ...ask, domain: domain.spec });
    refuseDisabled(domain);
    if (!domain.vaulted) throw new CallError('KIND_UNSUPPORTED');
    return [domain];
  }
  const own = `${call.caller.organisation}/`;
  const permitted = [...parts.domains.all()].filter(
    ({ spec, vaulted }) =>
      vaulted && spec.id.startsWith(own) && parts.policy.decide({ ...ask, domain: spec }).allow,
  );
  if (permitted.length === 0) throw new CallError('ACCESS_DENIED');
  return permitted.filter(({ spec }) => !spec.disabled);
}

/** Rows of one domain, as places in the page. */
interface Group {
  readonly domain: ServedDomain;
  readonly rows: Uint32Array;
  readonly counters: Float64Array;
}

function byDomain(domains: readonly ServedDomain[], page: Page): Group[] {
  return domains.flatMap((domain): Group[] => {
    const rows = [...page.domains.keys()].filter((row) => page.domains[row] === domain.spec.id);
    const counters = Float64Array.from(rows, (row) => page.counters[row]!);
    return rows.length === 0 ? [] : [{ domain, rows: Uint32Array.from(rows), counters }];
  });
}

/** Domains and their counts, as the leaf tells them: what a restart charges again. */
const DOMAINS_BYTES_MAX = 500;
const TOLD = /^([a-z0-9-]+\/[a-z0-9-]+):([0-9]+)$/;

type Page = Pick<SubjectTokens, 'domains' | 'counters' | 'next'>;

/** As many rows as have domains that one leaf can tell of. */
function fitting(found: SubjectTokens): Page {
  const seen = new Set<string>();
  let bytes = 0;
  for (const [row, id] of found.domains.entries()) {
    if (seen.has(id)) continue;
    seen.add(id);
    bytes += id.length + 6; // Colon, four digits, a space.
    if (bytes <= DOMAINS_BYTES_MAX) continue;
    const { places } = found;
    const domains = found.domains.slice(0, row);
    return { domains, counters: found.counters.slice(0, row), next: places[row - 1] };
  }
  return found;
}

/** Reserves what each domain's rows cost before any token is made. */
function charged<T>(
  parts: Parts,
  call: SubjectTokensCall,
  groups: readonly Group[],
  place: number,
  timeMs: number | undefined,
  work: (timeMs: number) => Promise<T>,
): Promise<T> {
  const group = groups[place];
  if (group === undefined) return work(timeMs ?? parts.clock.nowMs());
  const { domain, counters } = group;
  const bytes = new Uint8Array(counters.buffer, counters.byteOffset, counters.byteLength);
  const items = fixedColumn(bytes, 8);
  const ask = { verb: 'list-subject', caller: call.caller, domain, items, cells: [] } as const;
  return underQuota(parts, ask, async (ownMs) => ({
    used: counters.length,
    answer: await charged(parts, call, groups, place + 1, timeMs ?? ownMs, work),
  }));
}

async function show(
  parts: Parts,
  call: SubjectTokensCall,
  groups: readonly Group[],
  total: number,
): Promise<{ tokens: Column; states: TokenState[] }> {
  const rows = new Array<Uint8Array>(total);
  const states = new Array<TokenState>(total);
  await Promise.all(
    groups.map(async ({ domain, rows: places, counters }) => {
      const made = await tokensOfCounters(parts, call, domain, counters);
      const own = await statesOf(parts, domain, counters);
      for (const [i, row] of places.entries()) {
        rows[row] = rowBytes(made, i);
        states[row] = own[i]!;
      }
    }),
  );
  return { tokens: columnOf(rows), states };
}

/** As they were given out but for separators, which a token takes from its value. */
async function tokensOfCounters(
  parts: Parts,
  call: SubjectTokensCall,
  { spec }: ServedDomain,
  counters: Float64Array,
): Promise<Column> {
  const job = {
    op: 'mint',
    domain: spec.id,
    total: counters.length,
    good: undefined,
    counters,
    newRows: new Uint32Array(0),
    stored: { bytes: NO_BYTES, ends: new Uint32Array(counters.length) },
    context: undefined,
    subjects: new Uint8Array(counters.length * 16),
    created: NO_BYTES,
    errors: [],
    remarks: undefined,
    seal: false,
  } as const;
  return (await parts.lane.run(job, call)).tokens;
}

const NO_BYTES = new Uint8Array(0);

async function statesOf(
  parts: Parts,
  { spec }: ServedDomain,
  counters: Float64Array,
): Promise<TokenState[]> {
  const records = await parts.vault.read(spec.id, counters);
  const rules = await parts.vault.rules.read(spec.id, counters);
  const nowMs = parts.clock.nowMs();
  return Array.from(counters, (_, row) => {
    const own = rules?.[row];
    if (own !== undefined) return stateOf(own, nowMs);
    return records.ends[row]! > rowStart(records, row) ? 'live' : 'unknown';
  });
}

interface Listed {
  readonly groups: readonly Group[];
  readonly tokens: Column;
  readonly index: Uint8Array;
  readonly timeMs: number;
}

async function log(
  parts: Parts,
  call: SubjectTokensCall,
  { groups, tokens, index, timeMs }: Listed,
): Promise<SubjectTokensAnswer['receipt']> {
  const count = tokens.ends.length;
  const body = await parts.lane.run(
    {
      op: 'seal',
      // One empty row where there is none: whose tokens were asked for is told all the same.
      tokens: count === 0 ? columnOf(['']) : tokens,
      targets: undefined,
      subject: undefined,
      subjectIndexes: index,
      errors: [],
    },
    call,
  );
  const alone = groups.length === 1 ? groups[0]!.domain.spec.id : '';
  const domains = groups.map(({ domain, rows }) => `${domain.spec.id}:${rows.length}`).join(' ');
  const entry: Entry = {
    ...plainEntry(parts, call.caller, 'ListSubjectTokens', alone, {
      done: count,
      failed: 0,
      ...(alone === '' && domains !== '' ? { extra: { domains } } : {}),
    }),
    timeMs,
    purpose: call.purpose,
    keyVersions: groups.map(({ domain }) => domain.keyVersion),
    distinct: count,
  };
  return commitLeaf(parts, { entry, body });
}

/** What a leaf of this verb charged, domain by domain. */
export function listedDomains(entry: Entry): { domain: string; count: number }[] {
  if (entry.domain !== '') return [{ domain: entry.domain, count: entry.distinct }];
  const { domains } = entry.extra ?? {};
  if (typeof domains !== 'string') return [];
  return domains.split(' ').flatMap((told) => {
    const match = TOLD.exec(told);
    return match === null ? [] : [{ domain: match[1]!, count: Number(match[2]) }];
  });
}

/* A page token is a place: which of the patient's ids, domain, counter, and a mark of whose list it
 * is. It names no subject, and a forged one leads to other places of the same list. */
const PLACE_BYTES = 17;

function markOf(ids: readonly Uint8Array[], domain: string): number {
  return crc32(Buffer.from(domain, 'utf8'), crc32(Buffer.concat(ids)));
}

function textOf(place: SubjectPlace, ids: readonly Uint8Array[], mark: number): string {
  const bytes = new Uint8Array(PLACE_BYTES);
  bytes[0] = ids.findIndex((id) => Buffer.compare(id, place.subject) === 0);
  putU32(bytes, 1, place.domain);
  putU64(bytes, 5, place.counter);
  putU32(bytes, 13, mark);
  return Buffer.from(bytes).toString('base64url');
}

function placeOf(text: string, ids: readonly Uint8Array[], mark: number): SubjectPlace | undefined {
  if (text === '') return undefined;
  const bytes = Buffer.from(text, 'base64url');
  const whole = bytes.length === PLACE_BYTES && bytes.toString('base64url') === text;
  const subject = whole && getU32(bytes, 13) === mark ? ids[bytes[0]!] : undefined;
  const counter = whole ? getU64(bytes, 5) : 0;
  if (subject === undefined || !Number.isSafeInteger(counter + 1)) {
    throw new CallError('PAGE_TOKEN_INVALID');
  }
  return { subject, domain: getU32(bytes, 1), counter };
}
