import { decodeEntry, type Entry } from '../audit/entry.ts';
import { verifierOf } from '../audit/note.ts';
import { CallError } from '../base/call-error.ts';
import {
  certificateText,
  type ErasureCertificate,
  type ErasureLeaf,
  extraOf,
  type ProvenLeaf,
  signedCertificate,
} from './certificate.ts';
import { CANNOT_ERASE } from './erase-part.ts';
import type { Parts } from './parts.ts';

/** Sealed bodies that one certificate carries, so that it fits into an answer. */
const BODY_BYTES_MAX = 1_500_000;
/** Nobody waits for less. */
const UNHURRIED = { deadlineMs: Number.POSITIVE_INFINITY, cancelled: () => false };

/** The certificate of an Erase, made anew from the log: of the leaf `leafIndex`, which its receipt
 *  names, and of the call's leaves before it. `compacted` where it is one of the second stage.
 *  Waits for a checkpoint that covers the leaf. Rejects with `CallError`:
 *  RESOURCE_NOT_FOUND where that is no leaf of an Erase. */
export async function certificateOf(
  parts: Parts,
  leafIndex: number,
): Promise<{ readonly certificate: string; readonly compacted: boolean }> {
  const found = await leavesOf(parts, leafIndex);
  const commit = Math.max(...found.map(({ entry }) => entry.commit ?? 0));
  const compactedAt = await compactionOf(parts, commit, leafIndex);
  // Erasures are rare: one checkpoint more is better than most of a second's wait.
  if (leafIndex >= parts.log.head().size) await parts.log.flush();
  const leaves: ErasureLeaf[] = [];
  let bytes = 0;
  for (const { index } of found) {
    const body = await parts.log.body(index);
    bytes += body?.length ?? 0;
    const fits = body !== undefined && body.length > 0 && bytes <= BODY_BYTES_MAX;
    leaves.push({ ...(await provenLeaf(parts, index)), body: fits ? body : undefined });
  }
  const { origin, publicKey } = parts.identity;
  const text = certificateText({
    origin,
    installation: parts.keeper.state.installation,
    timeMs: parts.clock.nowMs(),
    cannotErase: await cannotErase(parts, leafIndex),
    leaves,
    compacted: compactedAt === undefined ? undefined : await provenLeaf(parts, compactedAt),
  });
  const message = Buffer.from(text, 'utf8');
  const signature = await parts.lane.control({ control: 'sign', message });
  const certificate = signedCertificate(text, verifierOf(origin, publicKey), signature);
  return { certificate, compacted: compactedAt !== undefined };
}

async function provenLeaf({ log }: Parts, index: number): Promise<ProvenLeaf> {
  const { leaf, text } = await log.proof(index);
  return { index, entry: leaf, proof: text };
}

/** This leaf and those of its call before it, ascending: each names the one before. */
async function leavesOf(
  parts: Parts,
  leafIndex: number,
): Promise<{ index: number; entry: Entry }[]> {
  const found: { index: number; entry: Entry }[] = [];
  for (let index: number | undefined = leafIndex; index !== undefined; ) {
    if (!Number.isSafeInteger(index) || index < 0 || index >= parts.log.size) throw notFound();
    const entry = decodeEntry(await parts.log.entry(index));
    // A refused Erase has a leaf of that name too, and erased nothing.
    if (entry.verb !== 'Erase' || entry.extra?.['part'] === undefined) throw notFound();
    found.unshift({ index, entry });
    const { previous } = extraOf(entry);
    if (previous !== undefined && previous >= index) throw new CallError('RECORD_CORRUPT');
    index = previous;
  }
  return found;
}

const notFound = (): CallError => new CallError('RESOURCE_NOT_FOUND');

/** The first compaction that covers the commit; undefined where there was none yet. */
async function compactionOf(
  parts: Parts,
  commit: number,
  leafIndex: number,
): Promise<number | undefined> {
  const { last } = parts.compaction;
  let found: number | undefined;
  for (let index = last?.leafIndex; index !== undefined && index > leafIndex; ) {
    const { verb, extra } = decodeEntry(await parts.log.entry(index));
    const { upTo, previous } = extra ?? {};
    if (verb !== 'ErasureCompacted' || typeof upTo !== 'number' || upTo < commit) break;
    found = index;
    index = typeof previous === 'number' && previous < index ? previous : undefined;
  }
  return found;
}

/** What the call's last leaf says of domains that it could do nothing in. */
async function cannotErase(
  parts: Parts,
  leafIndex: number,
): Promise<ErasureCertificate['cannotErase']> {
  const sealed = await parts.log.body(leafIndex);
  if (sealed === undefined || sealed.length === 0) return [];
  const { notices } = await parts.lane.run({ op: 'open-body', sealed }, UNHURRIED);
  return notices
    .map(({ reason }) => reason.split(' '))
    .filter(([word]) => word === CANNOT_ERASE)
    .map(([, domain = '', kind = '']) => ({ domain, kind }));
}
