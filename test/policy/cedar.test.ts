import fc from 'fast-check';
import { beforeAll, describe, expect, test } from 'vitest';
import { type Ask, sizeExponent } from '../../src/policy/ask.ts';
import {
  openPolicy,
  PolicyError,
  type PolicyOptions,
  splitPolicies,
} from '../../src/policy/cedar.ts';
import { ACTIONS, type CallerGrants, NEEDS_PURPOSE } from '../../src/policy/grants.ts';
import { purposes, subsumers } from '../../src/policy/purpose.ts';
import { starterPolicies, starterSchema } from '../../src/policy/starter/starter.ts';

const ehr: CallerGrants = {
  id: 'spiffe://clinic.example/ehr',
  organisation: 'clinic',
  grants: [{ actions: ['Tokenize'], domains: ['clinic/ssn'], purposes: [] }],
};
const tokenize: Ask = {
  caller: { id: ehr.id, organisation: 'clinic' },
  action: 'Tokenize',
  domain: { id: 'clinic/ssn', kind: 'fpe', format: 'ssn' },
  purpose: '',
  items: 1,
};

let starter: PolicyOptions;
beforeAll(() => {
  starter = { policies: starterPolicies(), schema: starterSchema(), callers: [ehr] };
});

const withRules = (policies: Record<string, string>): PolicyOptions => ({ ...starter, policies });

function faultsOf(options: PolicyOptions): readonly string[] {
  try {
    openPolicy(options);
  } catch (error) {
    expect(error).toBeInstanceOf(PolicyError);
    return (error as PolicyError).faults;
  }
  return [];
}

describe('errors deny', () => {
  // i64 overflows at run time only, which no validator sees.
  const overflow = 'context.items * 9223372036854775807 < 0';

  test('a permit beside a rule that errs does not permit', () => {
    const errors: string[] = [];
    const policy = openPolicy({
      ...withRules({
        everything: 'permit (principal, action, resource);',
        wall: `forbid (principal, action, resource) when { ${overflow} };`,
      }),
      onError: (message) => errors.push(message),
    });
    expect(policy.decide(tokenize).allow).toBe(true); // Once the largest number fits.
    const erring = { ...tokenize, items: 2 };
    expect(policy.decide(erring)).toEqual({ allow: false, rules: ['(error)'] });
    expect(errors).toHaveLength(1);
    expect(errors[0]).toMatch(/^wall: .*overflow/);
    policy.decide(erring);
    expect(errors, 'an error is not remembered').toHaveLength(2);
  });

  test('a request that the schema refuses is denied', () => {
    const errors: string[] = [];
    const policy = openPolicy({
      ...withRules({ everything: 'permit (principal, action, resource);' }),
      onError: (message) => errors.push(message),
    });
    const action = 'Print' as 'Tokenize';
    expect(policy.decide({ ...tokenize, action, purpose: 'TREAT' }).allow).toBe(false);
    expect(errors).toHaveLength(1);
  });
});

describe('purposes', () => {
  test.each([
    ['RevealPlain', '', false],
    ['ExchangeInto', '', false],
    ['RevealPlain', 'TREAT', true],
    ['Tokenize', '', true],
    ['Tokenize', 'nonsense', false],
  ] as const)('%s for "%s" under a rule that permits everything: %j', (action, purpose, allow) => {
    const policy = openPolicy(withRules({ all: 'permit (principal, action, resource);' }));
    expect(policy.decide({ ...tokenize, action, purpose }).allow).toBe(allow);
  });
});

describe('what cannot be loaded', () => {
  test.each([
    ['no Cedar', { a: 'permit (principal' }, /unexpected/],
    ['two policies under one id', { a: 'permit(principal,action,resource);'.repeat(2) }, /./],
    [
      'an attribute that is not there',
      { a: 'permit(principal,action,resource) when { principal.age > 1 };' },
      /age/,
    ],
    [
      'a type that does not fit',
      { a: 'permit(principal,action,resource) when { context.items == "1" };' },
      /./,
    ],
    [
      'an action that is not there',
      { a: 'permit(principal,action == Action::"Print",resource);' },
      /./,
    ],
    [
      'a rule that can never match',
      { a: 'permit(principal,action,resource) when { false };' },
      /./,
    ],
    ['an id that is none', { 'A b': 'permit(principal,action,resource);' }, /rule id/],
    ['a template', { a: 'permit(principal == ?principal,action,resource);' }, /./],
  ])('%s', (_name, policies, fault) => {
    expect(faultsOf(withRules(policies)).join('\n')).toMatch(fault);
  });

  test('a schema that does not parse', () => {
    expect(faultsOf({ ...starter, schema: 'entity' })).not.toEqual([]);
  });

  test('a schema that does not take the requests of the engine', () => {
    const schema = starterSchema().replace('items: Long', 'items: String');
    const policies = { a: 'permit(principal,action,resource);' };
    expect(faultsOf({ ...starter, policies, schema }).join('\n')).toMatch(/Tokenize/);
  });

  test.each([
    [
      'an action nobody knows',
      { actions: ['Print' as 'Inspect'], domains: ['clinic/a'], purposes: [] },
    ],
    ['a reveal for any purpose', { actions: ['RevealPlain'], domains: ['clinic/a'], purposes: [] }],
    ['a purpose nobody knows', { actions: ['Inspect'], domains: ['clinic/a'], purposes: ['X'] }],
    ['a domain of everybody', { actions: ['Inspect'], domains: ['*'], purposes: [] }],
    ['a domain of everybody', { actions: ['Inspect'], domains: ['*/ssn'], purposes: [] }],
    ['half a name', { actions: ['Inspect'], domains: ['clinic/s*'], purposes: [] }],
    ['no action', { actions: [], domains: ['clinic/a'], purposes: [] }],
    ['no domain', { actions: ['Inspect'], domains: [], purposes: [] }],
  ] as const)('a grant with %s', (_name, grant) => {
    expect(faultsOf({ ...starter, callers: [{ ...ehr, grants: [grant] }] })).toHaveLength(1);
  });

  test('one caller twice', () => {
    expect(faultsOf({ ...starter, callers: [ehr, { ...ehr, organisation: 'rival' }] })).toEqual([
      `caller ${ehr.id} stands there twice`,
    ]);
  });
});

describe('splitPolicies', () => {
  const one = '@id("a") permit (principal, action, resource);';
  test('takes the names from @id', () => {
    const parts = splitPolicies(
      `${one}\n// More.\n@id("b")\nforbid (principal, action, resource);`,
    );
    expect(Object.keys(parts)).toEqual(['a', 'b']);
    expect(parts['b']).toContain('forbid');
  });
  test.each([
    ['without an @id', 'permit (principal, action, resource);'],
    ['an @id twice', `${one}${one}`],
    ['a template', '@id("t") permit (principal == ?principal, action, resource);'],
    ['no Cedar', 'permit'],
  ])('refuses %s', (_name, text) => {
    expect(() => splitPolicies(text)).toThrow(PolicyError);
  });
});

describe('reload', () => {
  test('new rules and grants hold at once, and bad ones leave the old in force', () => {
    const policy = openPolicy(starter);
    const first = policy.policyHash;
    expect(policy.decide(tokenize).allow).toBe(true);
    policy.reload({ ...starter, callers: [{ ...ehr, grants: [] }] });
    const second = policy.policyHash;
    expect(second).not.toBe(first);
    expect(policy.decide(tokenize).allow).toBe(false);
    for (const policies of [
      { a: 'permit' },
      { a: 'permit(principal,action,resource) when { 1 };' },
    ]) {
      expect(() => policy.reload(withRules(policies))).toThrow(PolicyError);
    }
    expect(() => policy.reload({ ...starter, schema: 'x' })).toThrow(PolicyError);
    const misfit = starter.schema.replace('items: Long', 'items: String');
    expect(() => policy.reload({ ...starter, schema: misfit })).toThrow(PolicyError);
    expect(policy.policyHash).toBe(second);
    expect(policy.decide({ ...tokenize, items: 2 })).toEqual({ allow: false, rules: [] });
    policy.reload(starter);
    expect(policy.policyHash).toBe(first);
    expect(policy.decide({ ...tokenize, items: 3 }).allow).toBe(true);
  });

  test('two policies of one process do not disturb each other', () => {
    const open = openPolicy(withRules({ all: 'permit (principal, action, resource);' }));
    const closed = openPolicy(withRules({ none: 'forbid (principal, action, resource);' }));
    expect(open.decide(tokenize).rules).toEqual(['all']);
    expect(closed.decide(tokenize).rules).toEqual(['none']);
  });
});

describe('policyHash', () => {
  test('does not see order or line ends, and sees everything else', () => {
    const hash = (options: PolicyOptions): string => openPolicy(options).policyHash;
    const rules = Object.entries(starter.policies);
    const other = { ...ehr, id: 'dns:b.example' };
    const base = hash({ ...starter, callers: [ehr, other] });
    expect(base).toMatch(/^[0-9a-f]{64}$/);
    expect(
      hash({
        policies: Object.fromEntries(
          rules.toReversed().map(([id, text]) => [id, `${text.replaceAll('\n', '\r\n')}\n`]),
        ),
        schema: starter.schema,
        callers: [other, ehr],
      }),
    ).toBe(base);
    const grants = [
      { actions: ['Tokenize'], domains: ['clinic/ssn'], purposes: ['TREAT'] },
    ] as const;
    const hashes = [
      base,
      hash(starter),
      hash({ ...starter, callers: [{ ...ehr, grants }, other] }),
      hash({ ...starter, callers: [{ ...ehr, organisation: 'rival' }, other] }),
      hash({ ...starter, callers: [ehr, other], schema: `${starter.schema}// More.` }),
      hash({ ...starter, callers: [ehr, other], policies: Object.fromEntries(rules.slice(1)) }),
    ];
    expect(new Set(hashes).size).toBe(hashes.length);
  });
});

describe('size of a batch', () => {
  test.each([
    [0, 0],
    [1, 0],
    [2, 1],
    [3, 2],
    [4, 2],
    [5, 3],
    [1_000, 10],
    [1_024, 10],
    [1_025, 11],
    [10_000, 14],
    [2 ** 31, 31],
    [2 ** 31 + 1, 32],
    [2 ** 40 + 1, 41],
  ])('%d items are in the bucket of 2^%d', (items, exponent) => {
    expect(sizeExponent(items)).toBe(exponent);
  });

  test('rules see the bucket, rounded up', () => {
    const policy = openPolicy(
      withRules({ small: 'permit (principal,action,resource) when { context.items <= 64 };' }),
    );
    const allowed = [0, 1, 63, 64, 65, 128].map(
      (items) => policy.decide({ ...tokenize, items }).allow,
    );
    expect(allowed).toEqual([true, true, true, true, false, false]);
  });

  test.each([-1, 0.5, Number.NaN, Infinity])('%d is no number of items', (items) => {
    expect(() => sizeExponent(items)).toThrow();
  });
});

/** Small words, so that asks meet grants often. */
const organisation = fc.constantFrom('clinic', 'rival');
const domainName = fc.constantFrom('ssn', 'mrn');
const purpose = fc.constantFrom(
  '',
  'TREAT',
  'ETREAT',
  'BTG',
  'HRESCH',
  'CLINTRCH',
  'HOPERAT',
  'HLEGAL',
);
const callerId = fc.constantFrom('dev:a', 'dev:b');
const asks: fc.Arbitrary<Ask> = fc.record({
  caller: fc.record({ id: callerId, organisation }),
  action: fc.constantFrom(...ACTIONS),
  domain: fc.record({
    id: fc.tuple(organisation, domainName).map(([org, name]) => `${org}/${name}`),
    kind: fc.constantFrom('fpe', 'siv'),
    format: fc.constantFrom('ssn', 'digits:9'),
  }),
  purpose,
  items: fc.constantFrom(0, 1, 2, 3, 4, 100),
});
const callers: fc.Arbitrary<readonly CallerGrants[]> = fc.uniqueArray(
  fc.record({
    id: callerId,
    organisation,
    grants: fc.array(
      fc.record({
        actions: fc.uniqueArray(fc.constantFrom(...ACTIONS), { minLength: 1, maxLength: 4 }),
        domains: fc.uniqueArray(
          fc
            .tuple(organisation, fc.constantFrom('ssn', 'mrn', '*'))
            .map(([org, name]) => `${org}/${name}`),
          { minLength: 1, maxLength: 2 },
        ),
        purposes: fc.uniqueArray(fc.constantFrom(...purposes()), { minLength: 1, maxLength: 3 }),
      }),
      { maxLength: 3 },
    ),
  }),
  { selector: (caller) => caller.id, maxLength: 2 },
);

describe('properties', () => {
  test('a remembered decision is the decision, whatever was asked before', () => {
    fc.assert(
      fc.property(
        callers,
        fc.array(asks, { maxLength: 40 }),
        fc.integer({ min: 2, max: 9 }),
        (known, list, size) => {
          const rules = {
            ...starter.policies,
            big: `forbid (principal, action, resource) when {
              context.items > 3 || (resource.kind == "siv" && resource.format == "ssn")
            };`,
          };
          const options = { ...starter, policies: rules, callers: known };
          const remembering = openPolicy({ ...options, cacheEntries: size });
          const asking = openPolicy({ ...options, cacheEntries: 0 });
          for (const one of [...list, ...list.toReversed()]) {
            expect(remembering.decide(one)).toEqual(asking.decide(one));
          }
        },
      ),
      { numRuns: 25 },
    );
  });

  /** The starter policy once more, by loops over the grants. */
  function naive(known: readonly CallerGrants[], ask: Ask): boolean {
    const [org] = ask.domain.id.split('/');
    if (ask.purpose === '' && NEEDS_PURPOSE[ask.action]) return false;
    if (org !== ask.caller.organisation) return false;
    const valued = ask.action.startsWith('Reveal') || ask.action.startsWith('Exchange');
    if (valued && ['HLEGAL', 'MLTRAINING'].includes(ask.purpose)) return false;
    const rank = ['RevealPlain', 'RevealMasked', 'RevealRedacted'];
    const enough = rank.includes(ask.action)
      ? rank.slice(0, rank.indexOf(ask.action) + 1)
      : [ask.action];
    return known.some(
      (caller) =>
        caller.id === ask.caller.id &&
        caller.organisation === ask.caller.organisation &&
        caller.grants.some(
          (grant) =>
            grant.actions.some((action) => enough.includes(action)) &&
            (grant.domains.includes(ask.domain.id) || grant.domains.includes(`${org}/*`)) &&
            (grant.purposes.length === 0 ||
              grant.purposes.some((code) => subsumers(ask.purpose).includes(code))),
        ),
    );
  }

  test('grants mean what a plain reading of them means', () => {
    fc.assert(
      fc.property(callers, fc.array(asks, { minLength: 20, maxLength: 30 }), (known, list) => {
        const policy = openPolicy({ ...starter, callers: known });
        for (const one of list) expect(policy.decide(one).allow).toBe(naive(known, one));
      }),
      { numRuns: 30 },
    );
  });
});
