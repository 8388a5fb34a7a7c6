import { createCipheriv, randomBytes, randomInt } from 'node:crypto';
import { CallError } from '../base/call-error.ts';
import { columnOf, stringsOf } from '../base/column.ts';
import type { Kind, Safety } from '../base/domain.ts';
import type { Reason } from '../base/reason.ts';
import type { BlockKey } from '../keys/key.ts';
import { type CompiledDomain, compileDomain, type DomainKeys, log2 } from './domain.ts';
import { checkDomain, defaultsFor } from './domain-check.ts';
import { parseFormat } from './format/catalogue.ts';
import { reasonOf, UNBOUNDED } from './format/format.ts';
import { encodeFpe } from './fpe.ts';
import { normalForms } from './normal.ts';
import { tokensOfCounters } from './random.ts';
import { encodeSiv } from './siv.ts';
import { applyView } from './view.ts';

export interface FormatReport {
  readonly name: string;
  /** Members after normal form. */
  readonly size: bigint;
  /** Nobody can enumerate the members. */
  readonly unbounded: boolean;
  readonly sizeBits: number;
  readonly defaultSafety: Safety;
  readonly advice: string;
  /** Distinct values one caller may tokenize a day in a deterministic kind. */
  readonly quotaPerDay: number;
  /** Days one caller needs under that quota to try every member; Infinity where unbounded. */
  readonly daysToEnumerate: number;
  /** Chance that one guess hits a given member. */
  readonly guessChance: number;
  /** How the example tokens were made. */
  readonly example: { readonly kind: Kind; readonly safety: Safety };
  readonly values: readonly ValueReport[];
}

export interface ValueReport {
  /** VALID, or why it does not belong. */
  readonly verdict: 'VALID' | Reason;
  /** '' where it does not belong; so with the next two. */
  readonly normal: string;
  readonly masked: string;
  /** Under a key thrown away at once. */
  readonly exampleToken: string;
}

const QUOTA_MAX = 1_000_000;

/** What `lockstep format test` prints: a format's numbers and a verdict on each value. Throws
 *  `CallError` FIELD_INVALID where the format does not parse. `quotaPerDay` defaults to the
 *  design's min(1 % of the size, 1,000,000). */
export function explainFormat(
  format: string,
  options: Readonly<Record<string, string>>,
  values: readonly string[],
  quotaPerDay?: number,
): FormatReport {
  const { domain, kind } = exampleDomain(format, options);
  const { size } = domain.format;
  const onePercent = Math.max(1, Math.min(QUOTA_MAX, Number(size / 100n)));
  const quota = quotaPerDay ?? onePercent;
  const unbounded = size >= UNBOUNDED;
  return {
    name: domain.format.name,
    size,
    unbounded,
    sizeBits: log2(size),
    defaultSafety: domain.format.defaultSafety,
    advice: domain.format.advice,
    quotaPerDay: quota,
    daysToEnumerate: unbounded ? Number.POSITIVE_INFINITY : Math.ceil(Number(size) / quota),
    guessChance: unbounded ? 0 : 1 / Number(size),
    example: { kind, safety: domain.spec.safety },
    values: values.map((value) => explainValue(domain, value)),
  };
}

/** The kinds to show, the most telling first; what the format refuses is skipped. */
const FINITE: readonly Kind[] = ['fpe', 'static', 'transform'];
const OPAQUE: readonly Kind[] = ['siv'];

function exampleDomain(
  format: string,
  formatOptions: Readonly<Record<string, string>>,
): { domain: CompiledDomain; kind: Kind } {
  const { family } = parseFormat(format, formatOptions);
  for (const kind of family === 'opaque' ? OPAQUE : FINITE) {
    const wish = { id: 'example/token', kind, format, formatOptions };
    const spec = defaultsFor({ ...wish, assigner: 'urn:example', note: 'an example' }, 0);
    try {
      return { domain: checkDomain(spec), kind };
    } catch (error) {
      // Another kind may suit; a format that does not parse suits none.
      if (!(error instanceof CallError) || error.reason === 'FIELD_INVALID') throw error;
    }
  }
  const spec = defaultsFor({ id: 'example/token', kind: 'transform', format, formatOptions }, 0);
  return { domain: compileDomain(spec), kind: 'transform' };
}

function explainValue(domain: CompiledDomain, value: string): ValueReport {
  const column = columnOf([value]);
  const read = normalForms(domain, column);
  const start = 0;
  const fault = read.faults?.[start] ?? 0;
  if (fault !== 0) return { verdict: reasonOf(fault), normal: '', masked: '', exampleToken: '' };
  return {
    verdict: 'VALID',
    normal: stringsOf(read.column)[0] ?? '',
    masked: stringsOf(applyView(domain, column, 'masked'))[0] ?? '',
    exampleToken: exampleToken(domain, value),
  };
}

function exampleToken(domain: CompiledDomain, value: string): string {
  const column = columnOf([value]);
  const none = new Uint8Array(0);
  const { kind } = domain.spec;
  const keys: DomainKeys = {
    fpe: throwawayKey(),
    'siv-mac': throwawayKey(),
    'siv-ctr': throwawayKey(),
  };
  if (kind === 'fpe') return stringsOf(encodeFpe(keys, domain, column, none).column)[0] ?? '';
  if (kind === 'siv') return stringsOf(encodeSiv(keys, domain, column, none, none).column)[0] ?? '';
  if (kind !== 'static') return '';
  const counter = Float64Array.of(randomInt(Math.min(domain.counterLimit, 2 ** 40)));
  return stringsOf(tokensOfCounters(throwawayKey(), domain, counter, column))[0] ?? '';
}

/** A key of this process that protects nothing: it is gone when the example is printed. */
function throwawayKey(): BlockKey {
  const cipher = createCipheriv('aes-256-ecb', randomBytes(32), null).setAutoPadding(false);
  return {
    id: 'example',
    blocksMax: 8_192,
    encryptBlocks: (blocks) => blocks.set(cipher.update(blocks)),
  };
}
