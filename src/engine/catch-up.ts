import { decodeEntry, type Entry } from '../audit/entry.ts';
import { reapplyErasures } from './erasure-replay.ts';
import { pickRows } from './jobs/gather.ts';
import { reapplyMerges } from './merge-replay.ts';
import type { Parts } from './parts.ts';

export interface CatchUp {
  /** Leaves before it are in the vault; 0 where that is unknown. */
  readonly fromLeaf: number;
  /** Says in the log what was accepted, once nothing can be minted or read that must not be, and
   *  before the vault counts as a newer one: a crash before it leaves the start refused. */
  readonly confirm?: () => Promise<void>;
}

/** Brings a vault that is older than its log to where it may mint again: counters that the log or
 *  the module's head name are passed, tokens that were drawn or imported since are set aside, what
 *  was erased since is erased again, subjects are merged and parted as they were, and commit
 *  numbers go on above the log's. Records of the missing time stay lost. All of it is durable when
 *  it resolves; it may be repeated. */
export async function catchUp(parts: Parts, options: CatchUp): Promise<{ erasures: number }> {
  const { vault, log } = parts;
  const { marks, apart, commitMax } = await readMints(parts, options.fromLeaf);
  for (const { spec, vaulted } of parts.domains.all()) {
    const mark = vaulted ? parts.head.markOf(spec.id) : undefined;
    if (mark !== undefined) raise(marks, spec.id, mark.below);
  }
  await vault.continuity.skipCounters(marks);
  for (const leaf of apart) await setApart(parts, leaf);
  await reapplyMerges(parts, options.fromLeaf);
  const erasures = await reapplyErasures(parts, options.fromLeaf);
  await options.confirm?.();
  const commit = Math.max(commitMax, parts.head.found?.commit ?? 0, vault.lastCommit);
  await vault.continuity.continueAt(commit, log.size);
  return { erasures };
}

interface Mints {
  /** Counters below these were given out, by domain. */
  readonly marks: Map<string, number>;
  /** Leaves whose tokens have no range of counters. */
  readonly apart: readonly ApartLeaf[];
  readonly commitMax: number;
}

interface ApartLeaf {
  readonly index: number;
  readonly domain: string;
}

async function readMints(parts: Parts, fromLeaf: number): Promise<Mints> {
  const marks = new Map<string, number>();
  const apart: ApartLeaf[] = [];
  let commitMax = 0;
  for await (const { index, entry: bytes } of parts.log.entriesFrom(fromLeaf)) {
    const entry = decodeEntry(bytes);
    const { commit = 0, counters } = entry;
    commitMax = Math.max(commitMax, commit);
    const domain = mintedIn(entry);
    if (domain === undefined) continue;
    if (counters !== undefined) raise(marks, domain, counters.first + counters.count);
    else if (commit > 0 && entry.done > 0 && isApart(parts, entry, domain)) {
      apart.push({ index, domain });
    }
  }
  return { marks, apart, commitMax };
}

const MINTING: ReadonlySet<string> = new Set([
  'Tokenize',
  'TokenizeMultiple',
  'Exchange',
  'ImportTokens',
]);

/** Where a call's new records are: an exchange makes them in its target. */
function mintedIn({ verb, domain, extra }: Entry): string | undefined {
  if (!MINTING.has(verb)) return undefined;
  const into = extra?.['into'];
  return verb === 'Exchange' && typeof into === 'string' ? into : domain;
}

/** Imported tokens, and those of a domain that draws them, have any counters. */
const isApart = ({ domains, vault }: Parts, { verb }: Entry, domain: string): boolean =>
  domains.get(domain)?.vaulted === true &&
  vault.hasDomain(domain) &&
  (verb === 'ImportTokens' || vault.continuity.draws(domain));

/** Nobody waits for these jobs: they are as long as they are. */
const UNHURRIED = { deadlineMs: Number.POSITIVE_INFINITY, cancelled: () => false };

/** Their counters are used, and here are no records of them. A leaf whose body is gone names no
 *  tokens: then nobody knows which are free, and the domain mints no more. */
async function setApart(parts: Parts, { index, domain }: ApartLeaf): Promise<void> {
  const { vault, lane, log } = parts;
  const sealed = await log.body(index);
  if (sealed === undefined || sealed.length === 0) {
    await vault.continuity.closeMinting(domain);
    return;
  }
  const { tokens, targets, created } = await lane.run({ op: 'open-body', sealed }, UNHURRIED);
  const made = targets ?? tokens;
  const rows = [...made.ends.keys()].filter((row) => created.length === 0 || created[row] === 1);
  const { counters } = await lane.run(
    {
      op: 'locate',
      domain,
      tokens: pickRows(made, Uint32Array.from(rows)),
      context: undefined,
      subject: undefined,
      delivery: 'best-effort',
    },
    UNHURRIED,
  );
  await vault.exclusive([domain], async () => {
    const edit = await vault.minting.setAside(domain, counters, vault.lastCommit);
    await vault.continuity.apply(edit);
  });
}

function raise(marks: Map<string, number>, domain: string, mark: number): void {
  marks.set(domain, Math.max(mark, marks.get(domain) ?? 0));
}
