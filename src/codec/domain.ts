import type { Column } from '../base/column.ts';
import type { DomainSpec } from '../base/domain.ts';
import type { BlockKey, DomainRole } from '../keys/key.ts';
import { parseFormat } from './format/catalogue.ts';
import { type Format, FPE_SIZE_MIN } from './format/format.ts';
import type { Dress, RadixFormat } from './format/radix.ts';
import { radixFormat } from './format/radix-format.ts';
import type { Language, RankedFormat } from './format/ranked.ts';

/** What follows from a domain's spec once for all calls. Immutable; safe to share in a thread. */
export interface CompiledDomain {
  readonly spec: DomainSpec;
  readonly format: Format;
  /** Members of the format: what quotas go by. */
  readonly size: bigint;
  /** log2 of the number of possible tokens. */
  readonly capacityBits: number;
  /** Keys that a version of the domain needs. */
  readonly roles: readonly DomainRole[];
  /** Language of FPE and vaulted tokens; the other kinds print theirs (printable.ts). */
  readonly tokens: TokenLanguage | undefined;
  /** Vaulted kinds: counters are 0 … counterLimit − 1 (below 2^53); else 0. */
  readonly counterLimit: number;
  /** Vaulted kinds of under 1,000,000 tokens: a counter is drawn by chance and is its token's own
   *  number, since FF1 has no domain so small. */
  readonly drawn: boolean;
  /** `tk_<name>_`: before printed tokens. */
  readonly lead: Uint8Array;
  /** `tx_<name>_`: before the opaque token of a value outside the format. */
  readonly opaqueLead: Uint8Array;
  /** Associated data and MAC prefixes: which domain, and what for. */
  readonly sivConstant: Uint8Array;
  readonly opaqueConstant: Uint8Array;
  readonly pseudoConstant: Uint8Array;
}

/** The keys of one domain in the key worker; those of `roles` are there. */
export type DomainKeys = { readonly [R in DomainRole]?: BlockKey };

/** One for all items of a batch (empty: none), or a column with a row an item. */
export type PerItem = Uint8Array | Column;

export type TokenLanguage =
  | {
      readonly family: 'radix';
      readonly format: RadixFormat;
      readonly dress: Dress;
      /** Vaulted tokens: numerals under FF1 (a check digit is beside them). */
      readonly length: number;
    }
  | {
      readonly family: 'ranked';
      readonly format: RankedFormat;
      /** By shape of the value; one where tokens have one shape. */
      readonly languages: readonly Language[];
      /** Members numbered from here on are never made. */
      readonly limit: number;
    };

/** Compiles a spec that `checkDomain` has passed. Throws `CallError` FIELD_INVALID where the
 *  format does not parse. */
export function compileDomain(spec: DomainSpec): CompiledDomain {
  const format = parseFormat(spec.format, spec.formatOptions);
  const vaulted = isVaulted(spec);
  const tokens = tokensOf(spec, format);
  const short = spec.id.slice(spec.id.indexOf('/') + 1);
  const size = vaulted && tokens !== undefined ? drawnSize(tokens) : 0n;
  return {
    spec,
    format,
    size: format.size,
    capacityBits: capacityOf(spec, format, size),
    roles: rolesOf(spec),
    tokens,
    counterLimit: Number(size < COUNTERS ? size : COUNTERS),
    drawn: vaulted && size < FPE_SIZE_MIN,
    lead: Buffer.from(`tk_${short}_`),
    opaqueLead: Buffer.from(`tx_${short}_`),
    sivConstant: Buffer.from(`lockstep siv ${spec.id}`),
    opaqueConstant: Buffer.from(`lockstep opaque ${spec.id}`),
    pseudoConstant: Buffer.from(`lockstep pseudonym ${spec.id}`),
  };
}

/** Counters stay exact as numbers. */
const COUNTERS = 2n ** 53n - 1n;

export const isVaulted = (spec: DomainSpec): boolean =>
  spec.kind === 'static' || spec.kind === 'dynamic';

/** The keys a version of the domain consists of (design.md, Keys). */
export function rolesOf(spec: DomainSpec): DomainRole[] {
  const roles: DomainRole[] = [...ROLES[spec.kind]];
  if (spec.onInvalid === 'tokenize-opaque' && spec.kind !== 'siv') roles.push('siv-mac', 'siv-ctr');
  return roles;
}

const ROLES: Readonly<Record<DomainSpec['kind'], readonly DomainRole[]>> = {
  fpe: ['fpe'],
  siv: ['siv-mac', 'siv-ctr'],
  static: ['count', 'idx', 'seal-mac', 'seal-ctr'],
  dynamic: ['count', 'idx', 'seal-mac', 'seal-ctr'],
  'one-way': ['pseudo'],
  transform: [],
};

function tokensOf(spec: DomainSpec, format: Format): TokenLanguage | undefined {
  const vaulted = isVaulted(spec);
  if (spec.kind !== 'fpe' && !vaulted) return undefined;
  if (format.family === 'opaque') return vaulted ? printed(spec) : undefined;
  const neverReal = spec.safety === 'never-real';
  if (format.family === 'radix') {
    const dress = neverReal ? format.token.neverReal : format.token.valid;
    return dress && { family: 'radix', format, dress, length: drawnLength(format) };
  }
  if (neverReal) {
    if (format.neverReal === undefined) return undefined;
    const limit = vaulted ? format.neverReal.size : format.valid[0]!.size;
    return { family: 'ranked', format, languages: [format.neverReal], limit };
  }
  const languages = vaulted ? [format.drawn] : format.valid;
  return { family: 'ranked', format, languages, limit: Number.POSITIVE_INFINITY };
}

/** Vaulted tokens of a radix format have one length: the shortest that holds every counter below
 *  2^53, within the format's own lengths. It fixes the tokens' bytes. */
function drawnLength(format: RadixFormat): number {
  const extra = format.luhn ? 1 : 0;
  let length = format.min - extra;
  while (length < format.max - extra && format.alphabet.length ** length < 2 ** 53) length++;
  return length;
}

/** Random tokens where the values' own language is not countable: `tk_<name>_` and 16 characters
 *  of base 32, a permutation of 2^80. */
function printed(spec: DomainSpec): TokenLanguage {
  const plan = { name: 'printed', alphabet: BASE32, min: 16, max: 16, advice: '' };
  const format = radixFormat(plan, {});
  const lead = Buffer.from(`tk_${spec.id.slice(spec.id.indexOf('/') + 1)}_`);
  const dress: Dress = { lead, tail: new Uint8Array(0), checkShift: 0 };
  return { family: 'radix', format: { ...format, value: dress }, dress, length: 16 };
}

const BASE32 = 'abcdefghijklmnopqrstuvwxyz234567';

function drawnSize(tokens: TokenLanguage): bigint {
  return tokens.family === 'radix'
    ? BigInt(tokens.format.alphabet.length) ** BigInt(tokens.length)
    : BigInt(tokens.languages[0]!.size);
}

function capacityOf(spec: DomainSpec, format: Format, drawn: bigint): number {
  if (spec.kind === 'transform') return 0;
  if (spec.kind === 'siv' || spec.kind === 'one-way') return 128;
  return log2(spec.kind === 'fpe' ? format.size : drawn);
}

/** log2 of a positive integer of any size; 0 for 0. */
export function log2(value: bigint): number {
  if (value <= 0n) return 0;
  const bits = value.toString(2).length;
  const shift = Math.max(0, bits - 53);
  return Math.log2(Number(value >> BigInt(shift))) + shift;
}
