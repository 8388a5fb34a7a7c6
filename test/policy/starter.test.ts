import { describe, expect, test } from 'vitest';
import type { Ask } from '../../src/policy/ask.ts';
import { openPolicy } from '../../src/policy/cedar.ts';
import type { Action } from '../../src/policy/grants.ts';
import { devCallers } from '../../src/policy/starter/callers.ts';
import { starterPolicies, starterSchema } from '../../src/policy/starter/starter.ts';

const errors: string[] = [];
const policy = openPolicy({
  policies: starterPolicies(),
  schema: starterSchema(),
  callers: devCallers,
  onError: (message) => errors.push(message),
});

function ask(who: string, action: Action, domain: string, purpose: string, org = 'clinic'): Ask {
  return {
    caller: { id: `dev:${who}`, organisation: org },
    action,
    domain: { id: domain, kind: 'fpe', format: 'ssn' },
    purpose,
    items: 100,
  };
}

const AS_GRANTED: Readonly<Record<Action, string>> = {
  Tokenize: 'tokenize-as-granted',
  Lookup: 'lookup-as-granted',
  RevealPlain: 'reveal-plain-as-granted',
  RevealMasked: 'reveal-masked-as-granted',
  RevealRedacted: 'reveal-redacted-as-granted',
  ExchangeFrom: 'exchange-from-as-granted',
  ExchangeInto: 'exchange-into-as-granted',
  Inspect: 'inspect-as-granted',
  CreateDomain: 'create-domain-as-granted',
  UpdateDomain: 'update-domain-as-granted',
  ReadDomain: 'read-domain-as-granted',
  GrantBulk: 'grant-bulk-as-granted',
  Restrict: 'restrict-as-granted',
  Erase: 'erase-as-granted',
  ListSubject: 'list-subject-as-granted',
  MergeSubjects: 'merge-subjects-as-granted',
  ImportTokens: 'import-tokens-as-granted',
  ExportTokens: 'export-tokens-as-granted',
  ManageVault: 'manage-vault-as-granted',
};
const NOBODY = '';
const OTHER = 'own-organisation-only';
const CUT = 'no-legal-use-no-training';

/** Caller, action, domain, purpose, and the rule that denies: null where it is permitted, '' where
 *  nothing permits it. */
type Row = readonly [string, Action, string, string, string | null];

const TABLE: readonly Row[] = [
  ['ehr', 'Tokenize', 'clinic/ssn', '', null],
  ['ehr', 'Tokenize', 'clinic/ssn', 'TREAT', null],
  ['ehr', 'Tokenize', 'clinic/mrn', 'HLEGAL', null],
  ['ehr', 'Lookup', 'clinic/ssn', '', null],
  ['ehr', 'Inspect', 'clinic/ssn', '', null],
  ['ehr', 'ReadDomain', 'clinic/ssn', '', null],
  ['ehr', 'RevealMasked', 'clinic/ssn', 'TREAT', null],
  ['ehr', 'RevealMasked', 'clinic/ssn', 'COVAUTH', null],
  ['ehr', 'RevealRedacted', 'clinic/ssn', 'TREAT', null],
  ['ehr', 'RevealMasked', 'clinic/ssn', 'HRESCH', NOBODY],
  ['ehr', 'RevealPlain', 'clinic/ssn', 'TREAT', NOBODY],
  ['ehr', 'ExchangeFrom', 'clinic/ssn', 'TREAT', NOBODY],
  ['ehr', 'CreateDomain', 'clinic/new', '', NOBODY],
  ['ehr', 'GrantBulk', 'clinic/ssn', '', NOBODY],
  ['ehr', 'Tokenize', 'rival/ssn', '', OTHER],
  ['ehr', 'ReadDomain', 'rival/ssn', '', OTHER],

  ['clinician', 'RevealPlain', 'clinic/ssn', 'TREAT', null],
  ['clinician', 'RevealPlain', 'clinic/ssn', 'ETREAT', null],
  ['clinician', 'RevealPlain', 'clinic/ssn', 'BTG', null],
  ['clinician', 'RevealPlain', 'clinic/ssn', 'COC', null],
  ['clinician', 'RevealMasked', 'clinic/ssn', 'TREAT', null],
  ['clinician', 'RevealRedacted', 'clinic/ssn', 'ETREAT', null],
  ['clinician', 'RevealPlain', 'clinic/ssn', 'CAREMGT', NOBODY],
  ['clinician', 'RevealPlain', 'clinic/ssn', 'HPAYMT', NOBODY],
  ['clinician', 'RevealPlain', 'clinic/ssn', 'HRESCH', NOBODY],
  ['clinician', 'RevealPlain', 'clinic/ssn', 'HLEGAL', CUT],
  ['clinician', 'Tokenize', 'clinic/ssn', 'TREAT', NOBODY],
  ['clinician', 'RevealPlain', 'rival/ssn', 'TREAT', OTHER],

  ['billing', 'RevealMasked', 'clinic/ssn', 'HPAYMT', null],
  ['billing', 'RevealMasked', 'clinic/ssn', 'CLMATTCH', null],
  ['billing', 'RevealRedacted', 'clinic/ssn', 'HPAYMT', null],
  ['billing', 'RevealMasked', 'clinic/ssn', 'TREAT', NOBODY],
  ['billing', 'RevealPlain', 'clinic/ssn', 'HPAYMT', NOBODY],
  ['billing', 'ExchangeFrom', 'clinic/ssn', 'HPAYMT', NOBODY],
  ['billing', 'Lookup', 'clinic/ssn', '', NOBODY],

  ['researcher', 'RevealRedacted', 'clinic/ssn', 'HRESCH', null],
  ['researcher', 'RevealRedacted', 'clinic/ssn', 'CLINTRCHPC', null],
  ['researcher', 'RevealMasked', 'clinic/ssn', 'HRESCH', NOBODY],
  ['researcher', 'RevealPlain', 'clinic/ssn', 'HRESCH', NOBODY],
  ['researcher', 'RevealRedacted', 'clinic/ssn', 'TREAT', NOBODY],
  ['researcher', 'ExchangeFrom', 'clinic/ssn', 'HRESCH', null],
  ['researcher', 'ExchangeInto', 'clinic/study7', 'CLINTRCH', null],
  ['researcher', 'ExchangeInto', 'clinic/ssn', 'HRESCH', NOBODY],
  ['researcher', 'ExchangeInto', 'clinic/study70', 'HRESCH', NOBODY],
  ['researcher', 'ExchangeFrom', 'clinic/ssn', 'HMARKT', NOBODY],

  ['officer', 'CreateDomain', 'clinic/new', '', null],
  ['officer', 'UpdateDomain', 'clinic/ssn', '', null],
  ['officer', 'ReadDomain', 'clinic/ssn', '', null],
  ['officer', 'GrantBulk', 'clinic/ssn', '', null],
  ['officer', 'CreateDomain', 'rival/new', '', OTHER],
  ['officer', 'RevealPlain', 'clinic/ssn', 'TREAT', NOBODY],
  ['officer', 'RevealRedacted', 'clinic/ssn', 'HOPERAT', NOBODY],
  ['officer', 'Tokenize', 'clinic/ssn', '', NOBODY],
  ['officer', 'Inspect', 'clinic/ssn', '', NOBODY],

  ['dev', 'Tokenize', 'clinic/ssn', '', null],
  ['dev', 'RevealPlain', 'clinic/ssn', 'TREAT', null],
  ['dev', 'RevealPlain', 'clinic/ssn', 'HTEST', null],
  ['dev', 'RevealMasked', 'clinic/ssn', 'FAMRQT', null],
  ['dev', 'RevealPlain', 'clinic/ssn', 'HLEGAL', CUT],
  ['dev', 'ExchangeFrom', 'clinic/ssn', 'MLTRAINING', CUT],
  ['dev', 'ExchangeInto', 'clinic/any', 'HRESCH', null],
  ['dev', 'GrantBulk', 'clinic/ssn', '', null],
  ['dev', 'CreateDomain', 'clinic/new', '', null],
  ['dev', 'CreateDomain', 'rival/new', '', OTHER],

  ['stranger', 'Tokenize', 'clinic/ssn', '', NOBODY],
  ['stranger', 'ReadDomain', 'clinic/ssn', '', NOBODY],
  ['stranger', 'RevealRedacted', 'clinic/ssn', 'TREAT', NOBODY],
];

describe('the starter policy and the development callers', () => {
  test.each(TABLE)('%s, %s, %s for "%s": %j', (who, action, domain, purpose, denial) => {
    const decision = policy.decide(ask(who, action, domain, purpose));
    expect(decision.allow).toBe(denial === null);
    const rule = denial ?? AS_GRANTED[action];
    expect(decision.rules).toEqual(rule === '' ? [] : [rule]);
  });

  test('the same id from another organisation has no grant, at home or away', () => {
    for (const domain of ['clinic/ssn', 'rival/ssn']) {
      expect(policy.decide(ask('dev', 'Tokenize', domain, '', 'rival')).allow).toBe(false);
    }
  });

  test.each([
    ['RevealPlain', ''],
    ['RevealMasked', ''],
    ['RevealRedacted', ''],
    ['ExchangeFrom', ''],
    ['ExchangeInto', ''],
    ['RevealPlain', 'treat'],
    ['Tokenize', 'NONSENSE'],
    ['Tokenize', '*'],
  ] as const)('%s for "%s" is denied before any rule is asked', (action, purpose) => {
    expect(policy.decide(ask('dev', action, 'clinic/ssn', purpose))).toEqual({
      allow: false,
      rules: [],
    });
  });

  test.each(['clinic/*', 'clinic', '', '/', 'clinic/ssn for TREAT', 'clinic/ssn\n', 'Clinic/ssn'])(
    'a domain id that is none is denied: %j',
    (domain) => {
      expect(policy.decide(ask('dev', 'Tokenize', domain, ''))).toEqual({
        allow: false,
        rules: [],
      });
    },
  );

  test('nothing of the above made a rule err', () => {
    expect(errors).toEqual([]);
  });
});
