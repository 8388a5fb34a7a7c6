import type { Kind } from '../base/domain.ts';

/** `tokenize` counts what a reverse table could be built from, `reveal` what shows or follows
 *  single values. Each has a budget of its own. */
export type QuotaClass = 'tokenize' | 'reveal';

/** Which budget a call draws on, and how much of it there is a day. */
export interface Quota {
  readonly class: QuotaClass;
  /** Items a day for one caller in one domain. */
  readonly limit: number;
}

export type QuotaVerb =
  | 'tokenize'
  | 'lookup'
  | 'list-subject'
  | 'detokenize'
  | 'inspect'
  | 'exchange-from'
  | 'exchange-into';

/** Both for one caller in one domain and a day. */
export interface QuotaLimits {
  /** Bounds the hundredth of a format. */
  readonly tokenizeItemsMax: number;
  readonly revealItemsMax: number;
}

export const QUOTA_LIMITS: QuotaLimits = { tokenizeItemsMax: 1_000_000, revealItemsMax: 10_000 };

/** Tokens that follow from the value, so that asking for all values builds the reverse table. */
const DETERMINISTIC: Readonly<Record<Kind, boolean>> = {
  fpe: true,
  siv: true,
  'one-way': true,
  static: false,
  dynamic: false,
  transform: false,
};

/** A hundredth of the format, at most a million unless configured; at least 1, or a format of under
 *  a hundred members could not be used at all. `formatSize` counts its members: Infinity for text.
 */
export const tokenizeLimit = (formatSize: number, limits = QUOTA_LIMITS): number =>
  Math.max(1, Math.min(Math.floor(formatSize / 100), limits.tokenizeItemsMax));

/** The budget of a call on one domain, undefined where it gives no keyed answer about values that
 *  exist already (minting; a transform without a key; the form of an FPE token). An Exchange asks
 *  twice: `exchange-from` its source and `exchange-into` its target. */
export function quotaOf(
  verb: QuotaVerb,
  kind: Kind,
  formatSize: number,
  limits: QuotaLimits = QUOTA_LIMITS,
): Quota | undefined {
  if (verb === 'detokenize') return { class: 'reveal', limit: limits.revealItemsMax };
  if (kind === 'transform') return undefined;
  if (!DETERMINISTIC[kind]) {
    const mints = verb === 'tokenize' || verb === 'exchange-into';
    return mints ? undefined : { class: 'reveal', limit: limits.revealItemsMax };
  }
  // Only the alphabet of an FPE or one-way token is looked at; a SIV token is opened with the key.
  if (verb === 'inspect' && kind !== 'siv') return undefined;
  return { class: 'tokenize', limit: tokenizeLimit(formatSize, limits) };
}
