import { rowCount } from '../base/column.ts';
import type { Change } from '../storage/store.ts';
import type { Claims } from './claims.ts';
import type { VaultWrite } from './committer.ts';
import type { Delta, Domains } from './domains.ts';
import { type NewRecords, newRows } from './new-records.ts';
import { outboxChange } from './outbox.ts';

/** What one call stores. The bytes must stay as they are until `commit` has answered. */
export interface CallWrite {
  /** From `nextCommit`; the leaf's entry names it. */
  readonly commit: number;
  /** The leaf as it will go into the log. */
  readonly entry: Uint8Array;
  /** Its sealed body. */
  readonly body: Uint8Array;
  readonly records?: NewRecords | undefined;
  /** Changes of records there are. */
  readonly edits?: readonly Edit[] | undefined;
  /** Both 16 bytes; the key was taken by `beginRequest`. */
  readonly request?: { readonly key: Uint8Array; readonly digest: Uint8Array } | undefined;
}

/** Rows that a part of the vault changes, and what that does to running numbers. */
export interface Edit {
  readonly changes: readonly Change[];
  readonly deltas: readonly Delta[];
}

/** All rows of one call, as the committer takes them. */
export function writeOf(
  call: CallWrite,
  domains: Domains,
  claims: Claims,
  expiresMs: number,
): VaultWrite {
  const { commit, entry, body, records, edits = [] } = call;
  const request = call.request && { ...call.request, commit, expiresMs };
  const rows = records && newRows(records, domains, claims);
  const changes = rows?.changes ?? [];
  const deltas = rows === undefined ? [] : [rows.delta];
  for (const edit of edits) {
    for (const change of edit.changes) changes.push(change);
    deltas.push(...edit.deltas);
  }
  changes.push(outboxChange({ commit, entry, body }, request));
  const sealedBytes = records?.sealed.bytes.length ?? 0;
  return {
    commit,
    changes,
    bytes: sealedBytes + 64 * changes.length + entry.length + body.length,
    deltas,
    records: records === undefined ? 0 : rowCount(records.sealed),
    claim: rows?.claim,
    request,
  };
}
