import { type Column, rowCount } from '../base/column.ts';
import type { ServedDomain } from './domain-table.ts';
import { type Items, remarkNotices } from './encode.ts';
import type { Cells, IndexResult, MintResult, Places } from './job.ts';
import { pickRows, takeFixed } from './jobs/gather.ts';
import { SUBJECT_BYTES } from './jobs/subjects.ts';
import type { Parts } from './parts.ts';

/** Several tokens an item, as one column. */
export interface Several extends MintResult {
  /** How many of the tokens are each item's. */
  readonly counts: Uint32Array;
  readonly notices: ReturnType<typeof remarkNotices>;
  /** Subjects of the good items' tokens, 16 bytes each. */
  readonly owners: Uint8Array;
}

/** Tokens of counters, `perItem[i]` of them for the good item i, in order; items outside the format
 *  have the one answer they have elsewhere. `fresh` seals records for all of them. The body's
 *  errors and notices are by item, its other columns by token. */
export async function severalTokens(
  parts: Parts,
  domain: ServedDomain,
  items: Items,
  indexed: IndexResult,
  perItem: Uint32Array,
  counters: Float64Array,
  fresh: boolean,
): Promise<Several> {
  const { counts, source, good, remarked } = layOut(indexed, perItem, counters.length);
  const subjects = takeFixed(indexed.subjects, SUBJECT_BYTES, source);
  const places = good ?? Uint32Array.from(source.keys());
  const created = new Uint8Array(source.length);
  for (const place of places) created[place] = 1;
  const { remarks } = indexed;
  const minted = await parts.lane.run(
    {
      op: 'mint',
      domain: domain.spec.id,
      total: source.length,
      good,
      counters,
      newRows: fresh ? Uint32Array.from(counters.keys()) : new Uint32Array(0),
      stored: pickRows(indexed.stored, source),
      context: expanded(items.context, source),
      subjects,
      created: fresh ? created : new Uint8Array(0),
      errors: indexed.errors,
      remarks: remarks && { ...remarks, rows: remarked },
      seal: true,
    },
    items,
  );
  const owners = takeFixed(subjects, SUBJECT_BYTES, places);
  return { ...minted, counts, notices: remarkNotices(remarks), owners };
}

interface Layout {
  readonly counts: Uint32Array;
  /** The item of each token. */
  readonly source: Uint32Array;
  /** Places of the tokens that have counters; undefined where all do. */
  readonly good: Places;
  /** Places of the others. */
  readonly remarked: Uint32Array;
}

function layOut(indexed: IndexResult, perItem: Uint32Array, tokens: number): Layout {
  const { total, remarks } = indexed;
  const counts = new Uint32Array(total);
  for (let i = 0; i < perItem.length; i++) counts[indexed.good?.[i] ?? i] = perItem[i]!;
  const others = remarks === undefined ? [] : [...remarks.rows].filter((row) => row < total);
  for (const row of others) counts[row] = 1;
  const source = new Uint32Array(tokens + others.length);
  const good = new Uint32Array(tokens);
  const remarked = new Uint32Array(others.length);
  const isOther = new Set(others);
  for (let row = 0, place = 0, next = 0, other = 0; row < total; row++) {
    for (let i = 0; i < counts[row]!; i++) {
      source[place] = row;
      if (isOther.has(row)) remarked[other++] = place++;
      else good[next++] = place++;
    }
  }
  return { counts, source, good: others.length === 0 ? undefined : good, remarked };
}

const expanded = (cells: Cells, source: Uint32Array): Cells =>
  cells === undefined || cells instanceof Uint8Array ? cells : pickRows(cells, source);

/** The named tokens, and how many of them each item has left. */
export function keepTokens(
  tokens: Column,
  counts: Uint32Array,
  keep: (place: number) => boolean,
): { readonly tokens: Column; readonly counts: Uint32Array } {
  const places = Array.from({ length: rowCount(tokens) }, (_, place) => place).filter(keep);
  const left = new Uint32Array(counts.length);
  for (let item = 0, place = 0; item < counts.length; item++) {
    for (let i = 0; i < counts[item]!; i++, place++) if (keep(place)) left[item]!++;
  }
  return { tokens: pickRows(tokens, places), counts: left };
}
