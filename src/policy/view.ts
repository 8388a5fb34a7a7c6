import { CallError } from '../base/call-error.ts';
import type { View } from '../base/domain.ts';
import type { Ask } from './ask.ts';
import type { Policy } from './cedar.ts';
import type { Decision } from './decision-cache.ts';
import { type Action, NEEDS_PURPOSE } from './grants.ts';
import { isPurpose } from './purpose.ts';

/** From most shown to least. */
const VIEWS: readonly View[] = ['plain', 'masked', 'redacted'];

/** The right that each view is. */
export const VIEW_ACTION: Readonly<Record<View, Action>> = {
  plain: 'RevealPlain',
  masked: 'RevealMasked',
  redacted: 'RevealRedacted',
};

/** Throws `CallError` PURPOSE_REQUIRED or PURPOSE_UNKNOWN. A purpose that is given must be known
 *  even where none is needed: the log would else carry words nobody can match. */
export function checkPurpose(action: Action, purpose: string): void {
  if (purpose === '') {
    if (NEEDS_PURPOSE[action]) throw new CallError('PURPOSE_REQUIRED');
  } else if (!isPurpose(purpose)) throw new CallError('PURPOSE_UNKNOWN');
}

/** The permission, or `CallError`: PURPOSE_REQUIRED, PURPOSE_UNKNOWN, ACCESS_DENIED. */
export function authorise(policy: Policy, ask: Ask): Decision {
  checkPurpose(ask.action, ask.purpose);
  const decision = policy.decide(ask);
  if (!decision.allow) throw new CallError('ACCESS_DENIED');
  return decision;
}

/** The view to answer with: `wanted` where permitted; with `acceptLower` else the most telling
 *  lower one that is. Throws `CallError`: PURPOSE_REQUIRED, PURPOSE_UNKNOWN, VIEW_DENIED where
 *  some other view is permitted, ACCESS_DENIED where none is. */
export function chooseView(
  policy: Policy,
  ask: Omit<Ask, 'action'>,
  wanted: View,
  acceptLower: boolean,
): View {
  checkPurpose(VIEW_ACTION[wanted], ask.purpose);
  const permits = (view: View): boolean =>
    policy.decide({ ...ask, action: VIEW_ACTION[view] }).allow;
  if (permits(wanted)) return wanted;
  if (acceptLower) {
    const lower = VIEWS.slice(VIEWS.indexOf(wanted) + 1).find(permits);
    if (lower !== undefined) return lower;
  }
  throw new CallError(VIEWS.some(permits) ? 'VIEW_DENIED' : 'ACCESS_DENIED');
}
