import type { CallerGrants } from '../grants.ts';

const ALL = ['clinic/*'];
const ANY_PURPOSE: readonly string[] = [];

/** The callers of a development server and of the demo, all of the organisation `clinic`. Each
 *  shows one way of being trusted; none of them exists outside `lockstep serve --dev`. */
export const devCallers: readonly CallerGrants[] = [
  {
    // The record system: makes tokens all day, and shows the last digits on its screens.
    id: 'dev:ehr',
    organisation: 'clinic',
    grants: [
      {
        actions: ['Tokenize', 'Lookup', 'Inspect', 'ReadDomain'],
        domains: ALL,
        purposes: ANY_PURPOSE,
      },
      { actions: ['RevealMasked'], domains: ALL, purposes: ['TREAT', 'HPAYMT'] },
    ],
  },
  {
    id: 'dev:clinician',
    organisation: 'clinic',
    grants: [
      { actions: ['Inspect', 'ReadDomain'], domains: ALL, purposes: ANY_PURPOSE },
      { actions: ['RevealPlain'], domains: ALL, purposes: ['TREAT'] },
    ],
  },
  {
    id: 'dev:billing',
    organisation: 'clinic',
    grants: [
      { actions: ['Inspect', 'ReadDomain'], domains: ALL, purposes: ANY_PURPOSE },
      { actions: ['RevealMasked'], domains: ALL, purposes: ['HPAYMT'] },
    ],
  },
  {
    // Carries tokens into a study, where nobody can follow them back; of values, a fixed mark.
    id: 'dev:researcher',
    organisation: 'clinic',
    grants: [
      { actions: ['Inspect', 'ReadDomain'], domains: ALL, purposes: ANY_PURPOSE },
      { actions: ['RevealRedacted', 'ExchangeFrom'], domains: ALL, purposes: ['HRESCH'] },
      {
        actions: ['ExchangeInto'],
        domains: ['clinic/study', 'clinic/study7'],
        purposes: ['HRESCH'],
      },
    ],
  },
  {
    // Runs the domains and never sees a value or makes a token.
    id: 'dev:officer',
    organisation: 'clinic',
    grants: [
      {
        actions: [
          'CreateDomain',
          'UpdateDomain',
          'ReadDomain',
          'GrantBulk',
          'MergeSubjects',
          'ManageVault',
        ],
        domains: ALL,
        purposes: ANY_PURPOSE,
      },
      {
        actions: ['Restrict', 'Erase', 'ListSubject', 'ImportTokens'],
        domains: ALL,
        purposes: ['PATRQT', 'HOPERAT'],
      },
    ],
  },
  {
    // Whoever tries Lockstep out: everything at home, yet no reveal without a purpose.
    id: 'dev:dev',
    organisation: 'clinic',
    grants: [
      {
        actions: [
          'Tokenize',
          'Lookup',
          'Inspect',
          'CreateDomain',
          'UpdateDomain',
          'ReadDomain',
          'GrantBulk',
          'MergeSubjects',
          'ManageVault',
        ],
        domains: ALL,
        purposes: ANY_PURPOSE,
      },
      {
        actions: ['Restrict', 'Erase', 'ListSubject', 'ImportTokens', 'ExportTokens'],
        domains: ALL,
        purposes: ['PATRQT', 'HOPERAT'],
      },
      {
        actions: ['RevealPlain', 'ExchangeFrom', 'ExchangeInto'],
        domains: ALL,
        purposes: ['TREAT', 'HPAYMT', 'HOPERAT', 'HRESCH', 'PUBHLTH', 'HMARKT', 'PATRQT'],
      },
    ],
  },
];
