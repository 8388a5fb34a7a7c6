import { describe, expect, test } from 'vitest';
import { CallError } from '../../src/base/call-error.ts';
import type { View } from '../../src/base/domain.ts';
import type { Ask } from '../../src/policy/ask.ts';
import { openPolicy } from '../../src/policy/cedar.ts';
import type { Action } from '../../src/policy/grants.ts';
import { starterPolicies, starterSchema } from '../../src/policy/starter/starter.ts';
import { authorise, chooseView } from '../../src/policy/view.ts';

/** Callers named after the views they may see, and nobody else's. */
const SIGHTS: Readonly<Record<string, readonly Action[]>> = {
  plain: ['RevealPlain'],
  masked: ['RevealMasked'],
  redacted: ['RevealRedacted'],
  none: ['Inspect'],
};
const callers = Object.entries(SIGHTS).map(([id, actions]) => ({
  id,
  organisation: 'clinic',
  grants: [{ actions, domains: ['clinic/ssn'], purposes: ['TREAT'] }],
}));
const policy = openPolicy({ policies: starterPolicies(), schema: starterSchema(), callers });
/** Without the starter's rule that more includes less. */
const exact = openPolicy({
  policies: Object.fromEntries(
    ['RevealPlain', 'RevealMasked', 'RevealRedacted'].map((action) => [
      action.toLowerCase(),
      `permit (principal, action == Action::"${action}", resource)
       when { context.use in principal.may.${action} };`,
    ]),
  ),
  schema: starterSchema(),
  callers,
});

const ask = (id: string, purpose = 'TREAT'): Omit<Ask, 'action'> => ({
  caller: { id, organisation: 'clinic' },
  domain: { id: 'clinic/ssn', kind: 'fpe', format: 'ssn' },
  purpose,
  items: 3,
});

function outcome(work: () => View): string {
  try {
    return work();
  } catch (error) {
    expect(error).toBeInstanceOf(CallError);
    return (error as CallError).reason;
  }
}

describe('chooseView', () => {
  test.each([
    ['plain', 'plain', false, 'plain'],
    ['plain', 'masked', false, 'masked'],
    ['plain', 'redacted', true, 'redacted'],
    ['masked', 'plain', false, 'VIEW_DENIED'],
    ['masked', 'plain', true, 'masked'],
    ['masked', 'masked', false, 'masked'],
    ['masked', 'redacted', false, 'redacted'],
    ['redacted', 'plain', true, 'redacted'],
    ['redacted', 'masked', true, 'redacted'],
    ['redacted', 'masked', false, 'VIEW_DENIED'],
    ['none', 'plain', true, 'ACCESS_DENIED'],
    ['none', 'redacted', false, 'ACCESS_DENIED'],
  ] as const)('who may see %s asks for %s, lower %j: %s', (who, wanted, lower, answer) => {
    expect(outcome(() => chooseView(policy, ask(who), wanted, lower))).toBe(answer);
  });

  test('a higher view is never given instead', () => {
    expect(outcome(() => chooseView(exact, ask('plain'), 'redacted', true))).toBe('VIEW_DENIED');
    expect(outcome(() => chooseView(exact, ask('plain'), 'masked', true))).toBe('VIEW_DENIED');
  });

  test.each([
    ['', 'PURPOSE_REQUIRED'],
    ['nonsense', 'PURPOSE_UNKNOWN'],
    ['HRESCH', 'ACCESS_DENIED'],
    ['BTG', 'plain'],
  ])('purpose "%s": %s', (purpose, answer) => {
    expect(outcome(() => chooseView(policy, ask('plain', purpose), 'plain', false))).toBe(answer);
  });
});

describe('authorise', () => {
  const run = (action: Action, purpose: string, who = 'none'): string =>
    outcome(() => {
      authorise(policy, { ...ask(who, purpose), action });
      return 'plain';
    });
  test.each([
    ['Inspect', 'TREAT', 'plain'],
    ['Inspect', '', 'ACCESS_DENIED'], // The grant is for TREAT.
    ['Inspect', 'nonsense', 'PURPOSE_UNKNOWN'],
    ['Tokenize', '', 'ACCESS_DENIED'],
    ['ExchangeFrom', '', 'PURPOSE_REQUIRED'],
    ['ExchangeInto', '', 'PURPOSE_REQUIRED'],
    ['ExchangeFrom', 'TREAT', 'ACCESS_DENIED'],
    ['RevealRedacted', '', 'PURPOSE_REQUIRED'],
  ] as const)('%s for "%s": %s', (action, purpose, answer) => {
    expect(run(action, purpose)).toBe(answer);
  });
});
