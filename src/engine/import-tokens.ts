import assert from 'node:assert';
import { CallError } from '../base/call-error.ts';
import { rowCount } from '../base/column.ts';
import type { CallWrite } from '../vault/call-write.ts';
import { mintedRecords } from '../vault/minting.ts';
import { SUBJECT_BYTES } from '../vault/subject-rows.ts';
import { resolveAliases } from './alias-lookup.ts';
import type { ServedDomain } from './domain-table.ts';
import { indexItems } from './encode.ts';
import { admit, cellsOf, entryOf, requireSubject } from './gate.ts';
import type { IndexResult, LocateResult } from './job.ts';
import { takeFixed } from './jobs/gather.ts';
import type { Parts } from './parts.ts';
import { type Pairs, type Placed, placePairs, withoutPairs } from './place-pairs.ts';
import { commitLeaf } from './receipts.ts';
import { NOT_SHARED, shareRecords } from './sharing.ts';
import type { ImportAnswer, ImportCall } from './vault-calls.ts';
import { withoutRows } from './without-rows.ts';
import { requireVault } from './writable.ts';

const INDEX_BYTES = 16;
const NO_BYTES = new Uint8Array(0);

/** Pairs that keep their tokens. A pair that is there already is no error and changes nothing, so
 *  that a batch whose answer was lost can be sent again; one whose token or value has another
 *  partner is TOKEN_TAKEN. Values are judged as Tokenize judges them, but one that would get no
 *  record there has none here either: VALUE_MALFORMED. */
export async function importTokens(parts: Parts, call: ImportCall): Promise<ImportAnswer> {
  const domain = admit(parts, call, 'ImportTokens', call.values.length);
  const { id } = domain.spec;
  if (!domain.vaulted) throw new CallError('KIND_UNSUPPORTED');
  requireSubject(domain, call.subject);
  requireVault(parts);
  // Nobody knows which tokens such a domain gave out, so a free one may be somebody's.
  if (parts.vault.minting.closed(id)) throw new CallError('MINTING_CLOSED');
  const { tokens, values, deadlineMs, cancelled } = call;
  assert(rowCount(tokens) === values.length, 'the edge has compared the columns');
  const all = { context: undefined, delivery: 'best-effort', deadlineMs, cancelled } as const;
  const subject = cellsOf(call.subject);
  const items = { ...all, values: values.reveal(), subject, field: 'values', seal: true } as const;
  const indexed = await indexItems(parts, domain, items, undefined);
  const { indexed: known } = await resolveAliases(parts, domain, indexed);
  const { context, delivery } = all;
  const located = await parts.lane.run(
    { op: 'locate', domain: id, tokens, context, subject: undefined, delivery },
    call,
  );
  const pairs = pairsOf(known, located);
  // An erasure of one of these tokens must come before or after, never between look and write.
  return parts.vault.exclusive([id], () => store(parts, domain, call, pairs));
}

/** Rows whose value and token both read. A token that no counter makes is none of the domain's. */
function pairsOf(indexed: IndexResult, located: LocateResult): Pairs {
  const found = new Map<number, number>();
  for (const [i, counter] of located.counters.entries()) found.set(located.good?.[i] ?? i, counter);
  const good = indexed.good ?? Uint32Array.from({ length: indexed.total }, (_, row) => row);
  const strange = [...good].filter((row) => !found.has(row));
  const left = withoutRows(indexed, strange, 'TOKEN_MALFORMED', 'best-effort');
  const errors = [...left.errors];
  for (const index of indexed.remarks?.rows ?? []) {
    errors.push({ index, reason: 'VALUE_MALFORMED' });
  }
  errors.sort((a, b) => a.index - b.index);
  return {
    indexed: { ...left, errors, remarks: undefined },
    counters: Float64Array.from(left.good!, (row) => found.get(row)!),
  };
}

async function store(
  parts: Parts,
  domain: ServedDomain,
  call: ImportCall,
  pairs: Pairs,
): Promise<ImportAnswer> {
  let placed = await placePairs(parts, domain, pairs, call);
  let sharing = NOT_SHARED;
  try {
    if (domain.spec.subjectsShared) {
      const { indexed: asked, counters, newRows } = placed;
      const fresh = Float64Array.from(newRows, (place) => counters[place]!);
      sharing = await shareRecords(parts, domain, asked, counters, fresh, true);
      // What is in use here cannot be erased: this call has the domain to itself.
      assert(!sharing.gone, 'a record went under an import');
      placed = withoutPairs(placed, sharing.full, 'SUBJECTS_TOO_MANY');
    }
    const { indexed, newRows } = placed;
    const { good, total } = indexed;
    const created = new Uint8Array(total);
    for (const place of newRows) created[good![place]!] = 1;
    const minted = await parts.lane.run(
      {
        op: 'mint',
        domain: domain.spec.id,
        total,
        good,
        counters: placed.counters,
        newRows,
        stored: indexed.stored,
        context: undefined,
        subjects: indexed.subjects,
        created,
        errors: indexed.errors,
        remarks: undefined,
        seal: true,
      },
      call,
    );
    const { errors } = indexed;
    const receipt = await commitLeaf(parts, {
      entry: entryOf(parts, call, 'ImportTokens', domain, total, errors, parts.clock.nowMs()),
      body: minted.body,
      records: recordsOf(domain, placed, minted.records),
      edits: sharing.edit === undefined ? [] : [sharing.edit],
    });
    return { errors, receipt };
  } finally {
    sharing.release();
    parts.vault.release(placed.taken);
  }
}

function recordsOf(
  domain: ServedDomain,
  { indexed, newRows, taken }: Placed,
  sealed: Parameters<typeof mintedRecords>[2]['sealed'],
): CallWrite['records'] {
  if (newRows.length === 0) return undefined;
  const rows = newRows.map((place) => indexed.good![place]!);
  const owners = takeFixed(indexed.subjects, SUBJECT_BYTES, rows);
  const bound = !domain.spec.subjectsShared && owners.some((byte) => byte !== 0);
  const more = { sealed, rules: undefined, ...(bound ? { subjects: owners } : {}) };
  if ('newRows' in taken) return { claim: taken, ...more };
  const indexes = domain.spec.listable
    ? takeFixed(indexed.indexes, INDEX_BYTES, newRows)
    : NO_BYTES;
  return mintedRecords(taken, indexes, more);
}
