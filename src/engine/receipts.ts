import { type Entry, encodeEntry } from '../audit/entry.ts';
import type { Caller } from '../base/caller.ts';
import type { CallWrite } from '../vault/call-write.ts';
import type { Receipt } from './calls.ts';
import type { SealedBody } from './job.ts';
import type { Parts } from './parts.ts';
import { requireLog, requireVault } from './writable.ts';

const NO_BYTES = new Uint8Array(0);

export interface Leaf {
  readonly entry: Entry;
  /** undefined for verbs without items. */
  readonly body: SealedBody | undefined;
  readonly records?: CallWrite['records'];
  readonly edits?: CallWrite['edits'];
  readonly request?: CallWrite['request'];
  /** From `nextCommit`, where the rows themselves name it. */
  readonly commit?: number;
  readonly waitForProof?: boolean;
}

/** The entry of a verb without items: a change, a grant, a denial. */
export const plainEntry = (
  parts: Parts,
  caller: Caller,
  verb: string,
  domain: string,
  more: Pick<Entry, 'done' | 'failed' | 'extra'>,
): Entry => ({
  timeMs: parts.clock.nowMs(),
  verb,
  domain,
  caller: caller.id,
  purpose: '',
  view: '',
  policyHash: parts.policy.policyHash,
  keyVersions: [],
  distinct: 0,
  ...more,
});

/** Makes one call durable, leaf and records, and says where the log holds it. Rejects with
 *  `CallError`; the caller must then release what it claimed. */
export async function commitLeaf(parts: Parts, leaf: Leaf): Promise<Receipt> {
  const { body, records, edits, request } = leaf;
  const edited = edits !== undefined && edits.length > 0;
  const writes = records !== undefined || edited || request !== undefined;
  requireLog(parts);
  if (writes) requireVault(parts);
  const commit = writes ? (leaf.commit ?? parts.vault.nextCommit()) : 0;
  const entry = encodeEntry({
    ...leaf.entry,
    commit,
    ...(body === undefined ? {} : { bodyHash: body.hash }),
  });
  const sealed = body?.sealed ?? NO_BYTES;
  const write = writes
    ? parts.vault.prepare({ commit, entry, body: sealed, records, edits, request })
    : undefined;
  const committed = await parts.committer.commit({ entry, body: sealed, write });
  if (records !== undefined) {
    parts.fill.look('claim' in records ? records.claim.domain : records.domain);
  }
  const receipt = { ...committed, salt: body?.salt ?? NO_BYTES };
  return withProof(parts, receipt, leaf.waitForProof === true);
}

/** The receipt with its proof, which takes up to a second: not to be waited for while others wait
 *  for this call. */
export async function withProof(parts: Parts, receipt: Receipt, wait: boolean): Promise<Receipt> {
  return wait ? { ...receipt, proof: await parts.log.proof(receipt.leafIndex) } : receipt;
}
