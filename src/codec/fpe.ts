import assert from 'node:assert';
import { type Column, ColumnWriter, rowStart } from '../base/column.ts';
import type { BlockKey } from '../keys/key.ts';
import { decryptRows, encryptRows } from '../modes/ff1.ts';
import { dedupe } from './dedupe.ts';
import type { CompiledDomain, DomainKeys, PerItem, TokenLanguage } from './domain.ts';
import type { Sorted } from './format/format.ts';
import { readRadix, writeRadix } from './format/radix.ts';
import { readMembers, readTokens, writeMembers } from './format/ranked.ts';
import { openOpaque, settleRefused } from './opaque.ts';
import { permuteRanks } from './permute.ts';
import { Assembly, compose, type Encoded, takeItems, takeRows } from './rows.ts';

const NO_BYTES = new Uint8Array(0);

/** Tokens of FPE: FF1 under the domain's `fpe` key, digit for digit where the format is a plain
 *  radix string, by rank and cycle walking elsewhere. Separators stay where they stand. `tweaks`
 *  come from `fpeTweaks`. Equal items are computed once. A permutation may map a value to itself
 *  (one in its size does, on average); FPE does not hide that. */
export function encodeFpe(
  keys: DomainKeys,
  domain: CompiledDomain,
  values: Column,
  tweaks: PerItem,
): Encoded {
  const distinct = dedupe(values, tweaks);
  const items = takeRows(values, distinct.rows);
  const own = takeItems(tweaks, distinct.rows);
  const assembly = new Assembly(values.ends.length, distinct);
  const { column, sorted } = encryptItems(keyOf(keys), tokensOf(domain), items, own);
  assembly.add(column, sorted.good);
  settleRefused(assembly, keys, domain, items, sorted, own, NO_BYTES);
  return assembly.finish();
}

/** Values of FPE tokens. What is not of the token language is TOKEN_MALFORMED, even where the
 *  domain lets values pass: nothing unread is ever taken for a value. Opaque tokens are known by
 *  their lead. A token of another key or tweak gives some other member: FPE has no integrity. */
export function decodeFpe(
  keys: DomainKeys,
  domain: CompiledDomain,
  tokens: Column,
  tweaks: PerItem,
): Encoded {
  const distinct = dedupe(tokens, tweaks);
  const items = takeRows(tokens, distinct.rows);
  const own = takeItems(tweaks, distinct.rows);
  const assembly = new Assembly(tokens.ends.length, distinct);
  const { column, sorted } = decryptItems(keyOf(keys), tokensOf(domain), items, own);
  assembly.add(column, sorted.good);
  if (sorted.faults !== null) settleUnread(assembly, keys, domain, items, sorted.faults, own);
  return assembly.finish();
}

/** The tweaks of FPE: context ‖ subject index (16 bytes), either of them empty where there is
 *  none, so that a call without subjects has the tweak that other FF1 libraries take. */
export function fpeTweaks(context: PerItem, subjects: PerItem): PerItem {
  if (subjects instanceof Uint8Array && subjects.length === 0) return context;
  if (context instanceof Uint8Array && context.length === 0) return subjects;
  if (context instanceof Uint8Array && subjects instanceof Uint8Array) {
    return Uint8Array.of(...context, ...subjects);
  }
  const rows =
    context instanceof Uint8Array ? (subjects as Column).ends.length : context.ends.length;
  const out = new ColumnWriter(rows, rows * 32);
  for (let row = 0; row < rows; row++) {
    for (const part of [context, subjects]) {
      if (part instanceof Uint8Array) out.append(part);
      else out.append(part.bytes, rowStart(part, row), part.ends[row]!);
    }
    out.endRow();
  }
  return out.finish();
}

function keyOf(keys: DomainKeys): BlockKey {
  assert(keys.fpe !== undefined, 'the domain has an fpe key');
  return keys.fpe;
}

function tokensOf(domain: CompiledDomain): TokenLanguage {
  assert(domain.tokens !== undefined, 'the domain was checked for FPE');
  return domain.tokens;
}

interface Crypted {
  /** One row for each good item. */
  readonly column: Column;
  readonly sorted: Sorted;
}

function encryptItems(
  key: BlockKey,
  tokens: TokenLanguage,
  items: Column,
  tweaks: PerItem,
): Crypted {
  if (tokens.family === 'radix') {
    const { format, dress } = tokens;
    const read = readRadix(format, format.value, items, true);
    encryptRows(key, read.rows, takeItems(tweaks, read.good));
    const template = { column: items, from: format.value, good: read.good };
    return { column: writeRadix(format, dress, read.rows, template), sorted: read };
  }
  const { format, languages } = tokens;
  const read = readMembers(format, items);
  const { ranks, shapes, good } = read;
  permuteRanks(key, format.valid, ranks, shapes, takeItems(tweaks, good), 'encrypt');
  const template = { column: items, good };
  return { column: writeMembers(format, languages, ranks, shapes, template), sorted: read };
}

function decryptItems(
  key: BlockKey,
  tokens: TokenLanguage,
  items: Column,
  tweaks: PerItem,
): Crypted {
  if (tokens.family === 'radix') {
    const { format, dress } = tokens;
    const read = readRadix(format, dress, items, false);
    decryptRows(key, read.rows, takeItems(tweaks, read.good));
    const template = { column: items, from: dress, good: read.good };
    return { column: writeRadix(format, format.value, read.rows, template), sorted: read };
  }
  const { format, languages, limit } = tokens;
  const read = readTokens(format, languages, limit, items);
  const { ranks, shapes, good } = read;
  permuteRanks(key, format.valid, ranks, shapes, takeItems(tweaks, good), 'decrypt');
  const template = { column: items, good };
  return { column: writeMembers(format, format.valid, ranks, shapes, template), sorted: read };
}

/** Rows that are no token of the language: opaque tokens, or TOKEN_MALFORMED. */
function settleUnread(
  assembly: Assembly,
  keys: DomainKeys,
  domain: CompiledDomain,
  items: Column,
  faults: Uint8Array,
  tweaks: PerItem,
): void {
  const places: number[] = [];
  for (let item = 0; item < faults.length; item++) if (faults[item] !== 0) places.push(item);
  const rows = Uint32Array.from(places);
  if (domain.spec.onInvalid !== 'tokenize-opaque') {
    for (const row of rows) assembly.fail(row, 'TOKEN_MALFORMED');
    return;
  }
  const some = takeRows(items, rows);
  const opened = openOpaque(keys, domain, some, takeItems(tweaks, rows), NO_BYTES);
  assembly.add(opened.column, compose(rows, opened.good), 'opaque');
  for (const [i, reason] of opened.reasons.entries()) {
    if (reason !== undefined) assembly.fail(rows[i]!, reason);
  }
}
