import { CallError } from '../base/call-error.ts';
import type { ItemError, Reason } from '../base/reason.ts';
import type { Edit } from '../vault/call-write.ts';
import type { NewRules, TokenRules } from '../vault/rules.ts';
import { DAMAGED_RULES, type RulesColumn } from '../vault/rules-table.ts';
import type { Vault } from '../vault/vault.ts';
import type { CallRules } from './calls.ts';
import type { ServedDomain } from './domain-table.ts';
import type { Holds, Places } from './job.ts';
import type { Parts } from './parts.ts';

const IDLE_MS_MIN = 1_000;
const REVEALS_MAX = 0xffff_ffff;
const LABELS_MAX = 8;
const LABEL_BYTES_MAX = 64;
/** Letters, marks, numbers, punctuation, symbols and the plain space; no U+FFFD. */
const PRINTABLE = /^(?!.*\ufffd)[\p{L}\p{M}\p{N}\p{P}\p{S} ]+$/u;

/** Rules of the records that a call makes, as the vault keeps them; undefined where it brings none.
 *  They are for new records alone: a value that has its token already keeps that token's rules.
 *  Throws `CallError`: KIND_UNSUPPORTED for kinds without records, FIELD_INVALID. */
export function newRulesOf(
  { clock }: Pick<Parts, 'clock'>,
  domain: ServedDomain,
  rules: CallRules | undefined,
): NewRules | undefined {
  if (rules === undefined) return undefined;
  if (!domain.vaulted) throw new CallError('KIND_UNSUPPORTED');
  const { idleMs, expireMs, revealsMax, labels } = rules;
  const createdMs = clock.nowMs();
  const check = (holds: boolean, field: string, text: string): void => {
    if (!holds) throw new CallError('FIELD_INVALID', { violations: [{ field, text }] });
  };
  check(
    idleMs === 0 || (Number.isSafeInteger(idleMs) && idleMs >= IDLE_MS_MIN),
    'rules.idle_ttl',
    'is not a duration of a second or more',
  );
  check(
    expireMs === 0 || (Number.isSafeInteger(expireMs) && expireMs > createdMs),
    'rules.expire_time',
    'is not in the future',
  );
  check(
    Number.isSafeInteger(revealsMax) && revealsMax >= 0 && revealsMax <= REVEALS_MAX,
    'rules.reveals_max',
    'is not a count below 2^32',
  );
  check(labels.length <= LABELS_MAX, 'rules.labels', `has more than ${LABELS_MAX} entries`);
  for (const [i, label] of labels.entries()) {
    const fits = Buffer.byteLength(label, 'utf8') <= LABEL_BYTES_MAX;
    const text = `is not 1 to ${LABEL_BYTES_MAX} bytes of printable text`;
    check(fits && label.isWellFormed() && PRINTABLE.test(label), `rules.labels[${i}]`, text);
  }
  if (idleMs === 0 && expireMs === 0 && revealsMax === 0 && labels.length === 0) return undefined;
  return { createdMs, idleMs, expireMs, revealsMax, labels };
}

/** For the digest of a request: one with other rules is another message. */
export const rulesText = ({ idleMs, expireMs, revealsMax, labels }: CallRules): string =>
  JSON.stringify(['rules', idleMs, expireMs, revealsMax, ...labels]);

/** What the rules of a token make of it at this time. The first that holds: an end is for good, a
 *  restriction can be lifted. */
export function stateOf(
  rules: TokenRules,
  nowMs: number,
): 'live' | 'restricted' | 'ended' | 'unlinked' {
  const { expireMs, idleMs, usedMs, revealsMax, reveals } = rules;
  if (rules.unlinked) return 'unlinked';
  if (expireMs > 0 && nowMs >= expireMs) return 'ended';
  if (idleMs > 0 && nowMs - usedMs >= idleMs) return 'ended';
  if (revealsMax > 0 && reveals >= revealsMax) return 'ended';
  return rules.restricted ? 'restricted' : 'live';
}

const REFUSALS = {
  live: undefined,
  restricted: 'TOKEN_RESTRICTED',
  ended: 'TOKEN_ENDED',
  unlinked: 'TOKEN_UNLINKED',
} as const satisfies Record<ReturnType<typeof stateOf>, Reason | undefined>;

/** Runs `work` while nobody else changes the rules of these domains' tokens. Whoever also needs
 *  `vault.exclusive` of domains takes that inside, never around it: a call that counts its reveals
 *  goes on to mint in another domain. */
export const underRules = <T>(
  vault: Vault,
  domains: readonly string[],
  work: () => Promise<T>,
): Promise<T> =>
  vault.exclusive(
    domains.map((id) => `rules ${id}`),
    work,
  );

/** Whether a reveal of one of these tokens changes its rules. */
export const isCounted = (rules: RulesColumn): boolean =>
  rules.some((own) => own !== undefined && counts(own));

const counts = ({ revealsMax, idleMs }: TokenRules): boolean => revealsMax > 0 || idleMs > 0;

/** Rules of a batch's tokens at one time. */
export interface HeldTokens {
  /** For the worker; undefined where every token passes uncounted. */
  readonly holds: Holds | undefined;
  /** The counted tokens, by their place in `Holds.left`. */
  readonly counters: Float64Array;
  readonly rules: readonly TokenRules[];
  readonly nowMs: number;
}

/** `rules` belong to `counters`, row by row; those to the rows `good` of the batch. */
export function heldTokens(
  good: Places,
  counters: Float64Array,
  rules: RulesColumn,
  nowMs: number,
): HeldTokens {
  const refused: ItemError[] = [];
  const rows: number[] = [];
  const slots: number[] = [];
  const left: number[] = [];
  const counted: number[] = [];
  const own: TokenRules[] = [];
  const slotOf = new Map<number, number>();
  for (const [i, of] of rules.entries()) {
    if (of === undefined) continue;
    const row = good === undefined ? i : good[i]!;
    const reason = of === DAMAGED_RULES ? 'RECORD_CORRUPT' : REFUSALS[stateOf(of, nowMs)];
    if (reason !== undefined) refused.push({ index: row, reason });
    else if (counts(of)) {
      let slot = slotOf.get(counters[i]!);
      if (slot === undefined) {
        slot = counted.length;
        slotOf.set(counters[i]!, slot);
        counted.push(counters[i]!);
        own.push(of);
        left.push(of.revealsMax === 0 ? REVEALS_MAX : of.revealsMax - of.reveals);
      }
      rows.push(row);
      slots.push(slot);
    }
  }
  const passes = refused.length === 0 && rows.length === 0;
  const holds = {
    refused,
    rows: Uint32Array.from(rows),
    slots: Uint32Array.from(slots),
    left: Uint32Array.from(left),
  };
  const holding = passes ? undefined : holds;
  return { holds: holding, counters: Float64Array.from(counted), rules: own, nowMs };
}

/** A last use is written down once it moved by this share of the idle time, or by this much. */
const USED_SHARE = 1 / 100;
const USED_MS_MAX = 60_000;

/** The rules as they are after the batch was shown up to `rows`, but for those in `errors`: counts,
 *  and times of last use that moved far enough to be written. To be committed with the leaf, under
 *  the same `underRules` as the rules were read. */
export function usesEdit(
  vault: Vault,
  domain: string,
  { holds, counters, rules, nowMs }: HeldTokens,
  rows: number,
  errors: readonly ItemError[],
): Edit[] {
  if (holds === undefined || counters.length === 0) return [];
  const failed = new Set(errors.map(({ index }) => index));
  const uses = new Uint32Array(counters.length);
  for (const [i, row] of holds.rows.entries()) {
    if (row < rows && !failed.has(row)) uses[holds.slots[i]!]! += 1;
  }
  const changed: number[] = [];
  const after: TokenRules[] = [];
  for (const [slot, before] of rules.entries()) {
    const own = usedRules(before, uses[slot]!, nowMs);
    if (own === before) continue;
    changed.push(slot);
    after.push(own);
  }
  if (changed.length === 0) return [];
  const own = Float64Array.from(changed, (slot) => counters[slot]!);
  const before = changed.map((slot) => rules[slot]);
  return [vault.rules.editOf(domain, own, after, before)];
}

/** Itself where nothing is to be written. */
function usedRules(rules: TokenRules, uses: number, nowMs: number): TokenRules {
  if (uses === 0) return rules;
  const { idleMs, revealsMax } = rules;
  const step = Math.min(idleMs * USED_SHARE, USED_MS_MAX);
  const moved = idleMs > 0 && nowMs - rules.usedMs > step;
  if (revealsMax === 0 && !moved) return rules;
  return {
    ...rules,
    reveals: revealsMax === 0 ? rules.reveals : rules.reveals + uses,
    usedMs: moved ? nowMs : rules.usedMs,
  };
}
