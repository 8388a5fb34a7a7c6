import { decodeEntry, type Entry } from '../audit/entry.ts';
import { equalBytes } from '../audit/tree.ts';
import { CallError } from '../base/call-error.ts';
import { type Column, rowStart } from '../base/column.ts';
import { extraOf, verifyCertificate } from './certificate.ts';
import type { ServedDomain } from './domain-table.ts';
import { inForce, planErase } from './erase-part.ts';
import type { OpenBodyResult } from './job.ts';
import { pickRows } from './jobs/gather.ts';
import type { Parts } from './parts.ts';
import { isBoundSiv } from './targets.ts';

/** Nobody waits for these jobs: they are as long as they are. */
const UNHURRIED = { deadlineMs: Number.POSITIVE_INFINITY, cancelled: () => false };
const SUBJECT_BYTES = 16;

/** Erases again what the leaves from `fromLeaf` on erased, in a vault that is older than they are:
 *  records that it still has go, and a counter that it never knew is marked all the same, so that
 *  nothing ever gets it. Makes no leaves; may be repeated. Durable and in force when it resolves
 *  with the number of tokens that the leaves name. Rejects with `CallError`: RECORD_CORRUPT where a
 *  leaf's body is gone or does not open, for then nobody knows what must not come back. */
export async function reapplyErasures(parts: Parts, fromLeaf: number): Promise<number> {
  let tokens = 0;
  for await (const { index, entry: bytes } of parts.log.entriesFrom(fromLeaf)) {
    const entry = decodeEntry(bytes);
    if (!isErasure(entry)) continue;
    const sealed = await parts.log.body(index);
    if (sealed === undefined || sealed.length === 0) throw new CallError('RECORD_CORRUPT');
    tokens += await applyLeaf(parts, entry, sealed);
  }
  return tokens;
}

/** Likewise what a certificate of this installation tells of, where the log is lost. Throws
 *  FIELD_INVALID for one that is not whole, of somebody else, or without the sealed bodies. */
export async function applyCertificate(parts: Parts, text: string): Promise<number> {
  const { leaves } = verified(parts, text);
  let tokens = 0;
  for (const { entry, body } of leaves) {
    if (body === undefined) throw new CallError('FIELD_INVALID');
    tokens += await applyLeaf(parts, decodeEntry(entry), body);
  }
  return tokens;
}

function verified(parts: Parts, text: string): ReturnType<typeof verifyCertificate> {
  const { origin, publicKey } = parts.identity;
  try {
    const certificate = verifyCertificate(text, origin, publicKey);
    if (certificate.installation === parts.keeper.state.installation) return certificate;
  } catch (cause) {
    throw new CallError('FIELD_INVALID', { cause });
  }
  throw new CallError('FIELD_INVALID');
}

/** A refused Erase has a leaf of that name too. */
const isErasure = ({ verb, extra }: Entry): boolean =>
  verb === 'Erase' && extra?.['part'] !== undefined;

async function applyLeaf(parts: Parts, entry: Entry, sealed: Uint8Array): Promise<number> {
  const body = await parts.lane.run({ op: 'open-body', sealed }, UNHURRIED);
  // The leaf is what the log, or a certificate, proves; the body only stands beside it.
  if (entry.bodyHash === undefined || !equalBytes(body.hash, entry.bodyHash)) {
    throw new CallError('RECORD_CORRUPT');
  }
  const domain = parts.domains.get(entry.domain);
  // No such domain: then there are none of its tokens either.
  if (domain === undefined) return 0;
  const { counters, gone, group } = await namedBy(parts, domain, body);
  const byTombstone =
    group.length > 0 && (isBoundSiv(domain) || domain.spec.onInvalid === 'tokenize-opaque');
  const { mode } = extraOf(entry);
  const commit = entry.commit ?? 0;
  await parts.vault.exclusive([domain.spec.id], () =>
    parts.compaction.erasing(async () => {
      const asked = { mode, commit, thorough: false, call: UNHURRIED, gone };
      const plan = await planErase(parts, domain, { counters, group, byTombstone }, asked);
      for (const edit of plan.edits) await parts.vault.continuity.apply(edit);
      await parts.compaction.remember(parts.vault);
      await inForce(parts, plan);
    }),
  );
  return gone.reduce((sum, one) => sum + one, 0);
}

interface Named {
  readonly counters: Float64Array;
  /** 1 where the record went, by place in `counters`. */
  readonly gone: Uint8Array;
  /** Indexes of the patient's ids. */
  readonly group: readonly Uint8Array[];
}

/** Rows with a token are tokens, the others ids of the patient. */
async function namedBy(parts: Parts, domain: ServedDomain, body: OpenBodyResult): Promise<Named> {
  const { tokens, subjects, created } = body;
  const isToken = (row: number): boolean => tokens.ends[row]! > rowStart(tokens, row);
  const rows = Array.from(tokens.ends, (_, row) => row);
  const group = rows
    .filter((row) => !isToken(row) && subjects.length > 0)
    .map((row) => subjects.slice(row * SUBJECT_BYTES, (row + 1) * SUBJECT_BYTES));
  const named = Uint32Array.from(rows.filter(isToken));
  if (named.length === 0) {
    return { counters: new Float64Array(0), gone: new Uint8Array(0), group };
  }
  const counters = await locate(parts, domain, pickRows(tokens, named));
  return { counters, gone: Uint8Array.from(named, (row) => created[row]!), group };
}

async function locate(parts: Parts, domain: ServedDomain, tokens: Column): Promise<Float64Array> {
  const job = {
    op: 'locate',
    domain: domain.spec.id,
    tokens,
    context: undefined,
    subject: undefined,
    delivery: 'best-effort',
  } as const;
  const { good, counters } = await parts.lane.run(job, UNHURRIED);
  // They are tokens that we made ourselves.
  if (good !== undefined) throw new CallError('RECORD_CORRUPT');
  return counters;
}
