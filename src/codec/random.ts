import assert from 'node:assert';
import { type Column, ColumnWriter, rowStart } from '../base/column.ts';
import type { ItemError } from '../base/reason.ts';
import type { BlockKey } from '../keys/key.ts';
import { decryptRows, encryptRows } from '../modes/ff1.ts';
import { dedupe } from './dedupe.ts';
import type { CompiledDomain, PerItem, TokenLanguage } from './domain.ts';
import { reasonOf } from './format/format.ts';
import { readRadix, writeRadix } from './format/radix.ts';
import { readTokens, writeMembers } from './format/ranked.ts';
import { keyedMessages } from './keyed-message.ts';
import { normalForms } from './normal.ts';
import { numeralsOf, permuteRanks } from './permute.ts';
import { hasLead } from './printable.ts';
import { judgeRefused } from './rows.ts';

const NO_BYTES = new Uint8Array(0);

/** Values of a vaulted domain, ready for index and vault; every column has a row an item. */
export interface Canonical {
  /** Normal forms: what the index is made of. Empty where the item gets no record. */
  readonly normal: Column;
  /** The value as it came: what the record seals. Empty likewise. */
  readonly stored: Column;
  /** Ascending by index. */
  readonly errors: readonly ItemError[];
  /** By item: the first item with an equal normal form, context and subject; itself where the
   *  item gets no record. */
  readonly first: Uint32Array;
  /** Distinct items, those that fail not counted. */
  readonly distinct: number;
  /** Items outside the format for `sealOpaque`, ascending. */
  readonly opaque: readonly number[];
  /** Items outside the format that are answered as they came, ascending. */
  readonly passed: readonly number[];
}

/** Reads and normalises the values of a vaulted domain. */
export function canonicalise(
  domain: CompiledDomain,
  values: Column,
  context: PerItem = NO_BYTES,
  subjects: PerItem = NO_BYTES,
): Canonical {
  const rows = values.ends.length;
  const read = normalForms(domain, values);
  if (read.faults === null) {
    const { first, count } = dedupe(read.column, context, subjects);
    const stored = values;
    return {
      normal: read.column,
      stored,
      errors: [],
      first,
      distinct: count,
      opaque: [],
      passed: [],
    };
  }
  const errors: ItemError[] = [];
  const opaque: number[] = [];
  const passed: number[] = [];
  const normal = new ColumnWriter(rows, read.column.bytes.length);
  const stored = new ColumnWriter(rows, values.bytes.length);
  for (let row = 0, good = 0; row < rows; row++) {
    if (read.faults[row] === 0) {
      normal.append(read.column.bytes, rowStart(read.column, good), read.column.ends[good]!);
      stored.append(values.bytes, rowStart(values, row), values.ends[row]!);
      good++;
    } else {
      const { fate, fault } = judgeRefused(domain, values, row, read.faults[row]!);
      if (fate === 'reject') errors.push({ index: row, reason: reasonOf(fault) });
      else (fate === 'opaque' ? opaque : passed).push(row);
    }
    normal.endRow();
    stored.endRow();
  }
  const column = normal.finish();
  const { first } = dedupe(column, context, subjects);
  let distinct = opaque.length + passed.length;
  for (let row = 0; row < rows; row++) {
    // Rows without a record have equal, empty normal forms; they are not each other's firsts.
    if (read.faults[row] !== 0) first[row] = row;
    else if (first[row] === row) distinct++;
  }
  return { normal: column, stored: stored.finish(), errors, first, distinct, opaque, passed };
}

/** Tokens of counters, row for row: unrank(FF1(counter)), or unrank(counter) where the domain draws
 *  its counters, a bijection on the token language, so two counters never share a token. Counters
 *  are whole numbers below `domain.counterLimit`. Separators come from `shapeFrom` (the values)
 *  where those have as many characters. */
export function tokensOfCounters(
  countKey: BlockKey,
  domain: CompiledDomain,
  counters: Float64Array,
  shapeFrom?: Column,
): Column {
  const tokens = languageOf(domain);
  for (const counter of counters) {
    assert(counter >= 0 && counter < domain.counterLimit, 'a counter is below the limit');
  }
  // A template is only read where its rows are members of the token's own format.
  const like = domain.format.family === 'opaque' ? undefined : shapeFrom;
  if (tokens.family === 'radix') {
    const { format, dress, length } = tokens;
    const rows = numeralsOf(counters, format.alphabet.length, length);
    if (!domain.drawn) encryptRows(countKey, rows, NO_BYTES);
    const template = like && { column: like, from: format.value, good: null };
    return writeRadix(format, dress, rows, template);
  }
  const { format, languages } = tokens;
  const ranks = counters.slice();
  if (!domain.drawn) permuteRanks(countKey, languages, ranks, null, NO_BYTES, 'encrypt');
  const template = like && { column: like, good: null };
  return writeMembers(format, languages, ranks, new Uint8Array(ranks.length), template);
}

export interface Counters {
  /** By token; NaN where `errors` or `opaque` names it. */
  readonly counters: Float64Array;
  /** TOKEN_MALFORMED, or TOKEN_NOT_FOUND where no counter can have made it; ascending. */
  readonly errors: readonly ItemError[];
  /** Opaque tokens for `openOpaque`, ascending; only where the domain makes them. */
  readonly opaque: readonly number[];
}

/** The counters of tokens; the inverse of `tokensOfCounters`. */
export function countersOfTokens(
  countKey: BlockKey,
  domain: CompiledDomain,
  tokens: Column,
): Counters {
  const language = languageOf(domain);
  const rows = tokens.ends.length;
  const counters = new Float64Array(rows).fill(Number.NaN);
  const { values, good, faults } = numbersOfTokens(countKey, domain, language, tokens);
  const errors: ItemError[] = [];
  const opaque: number[] = [];
  const sealed = domain.spec.onInvalid === 'tokenize-opaque';
  for (let row = 0, at = 0; row < rows; row++) {
    if (faults !== null && faults[row] !== 0) {
      if (sealed && hasLead(tokens, row, domain.opaqueLead)) opaque.push(row);
      else errors.push({ index: row, reason: 'TOKEN_MALFORMED' });
      continue;
    }
    const value = values[good === null ? row : at]!;
    at++;
    if (value < domain.counterLimit) counters[row] = value;
    else errors.push({ index: row, reason: 'TOKEN_NOT_FOUND' });
  }
  return { counters, errors, opaque };
}

/** Messages for the keyed index, ready for `cmacMany` under `idx` (design.md, Tokens): flag ‖
 *  subject index or zeros ‖ context length ‖ context ‖ normal form. */
export const indexMessages = (normal: Column, context: PerItem, subjects: PerItem): Column =>
  keyedMessages(NO_BYTES, normal, context, subjects);

function languageOf(domain: CompiledDomain): TokenLanguage {
  assert(domain.tokens !== undefined && domain.counterLimit > 0, 'the domain is a vaulted one');
  return domain.tokens;
}

function numbersOfTokens(
  key: BlockKey,
  { drawn }: CompiledDomain,
  language: TokenLanguage,
  tokens: Column,
) {
  if (language.family === 'ranked') {
    const { format, languages, limit } = language;
    const read = readTokens(format, languages, limit, tokens);
    if (!drawn) permuteRanks(key, languages, read.ranks, null, NO_BYTES, 'decrypt');
    return { values: read.ranks, good: read.good, faults: read.faults };
  }
  const { format, dress, length } = language;
  const only = {
    ...format,
    min: length + (format.luhn ? 1 : 0),
    max: length + (format.luhn ? 1 : 0),
  };
  const read = readRadix(only, dress, tokens, false);
  if (!drawn) decryptRows(key, read.rows, NO_BYTES);
  return { values: numbersOf(read.rows.numerals, format.alphabet.length, length), ...read };
}

/** Numbers of equally long numeral rows. From 2^53 up they are rounded, but never below it again,
 *  so they stay above every counter. */
function numbersOf(numerals: Uint16Array, radix: number, length: number): Float64Array {
  const values = new Float64Array(numerals.length / length);
  for (let row = 0, at = 0; row < values.length; row++) {
    let value = 0;
    for (let i = 0; i < length; i++) value = value * radix + numerals[at++]!;
    values[row] = value;
  }
  return values;
}
