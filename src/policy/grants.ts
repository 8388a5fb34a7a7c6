import { isPurpose } from './purpose.ts';

/** What one caller may do: plain data, as the `callers` section of lockstep.toml carries it.
 *
 *  [[callers]]
 *  id = "spiffe://clinic.example/ehr"
 *  organisation = "clinic"
 *  [[callers.grants]]
 *  actions = ["RevealMasked"]
 *  domains = ["clinic/ssn", "clinic/*"]
 *  purposes = ["TREAT"]
 */
export interface CallerGrants {
  /** `spiffe://trust-domain/path`, `dns:name`, or `dev:name` in a development server. */
  readonly id: string;
  /** `[a-z0-9-]{1,63}`. */
  readonly organisation: string;
  readonly grants: readonly Grant[];
}

/** Each action on each domain for each purpose. */
export interface Grant {
  /** At least one. */
  readonly actions: readonly Action[];
  /** At least one: a domain id, or `organisation/*` for every domain of an organisation. */
  readonly domains: readonly string[];
  /** v3-ActReason codes; a code reaches the codes under it. Empty: any purpose, also none; only
   *  for actions that need no purpose. */
  readonly purposes: readonly string[];
}

/** Everything a policy decides on. Places in this list are cache keys within one process. */
export const ACTIONS = [
  'Tokenize',
  'Lookup',
  'RevealPlain',
  'RevealMasked',
  'RevealRedacted',
  'ExchangeFrom',
  'ExchangeInto',
  'Inspect',
  'CreateDomain',
  'UpdateDomain',
  'ReadDomain',
  'GrantBulk',
  'Restrict',
  'Erase',
  'ListSubject',
  'MergeSubjects',
  'ImportTokens',
  'ExportTokens',
  'ManageVault',
] as const;

export type Action = (typeof ACTIONS)[number];

/** Actions that are refused without a purpose: values leave, or tokens change domain. */
export const NEEDS_PURPOSE: Readonly<Record<Action, boolean>> = {
  Tokenize: false,
  Lookup: false,
  RevealPlain: true,
  RevealMasked: true,
  RevealRedacted: true,
  ExchangeFrom: true,
  ExchangeInto: true,
  Inspect: false,
  CreateDomain: false,
  UpdateDomain: false,
  ReadDomain: false,
  GrantBulk: false,
  Restrict: true,
  Erase: true,
  ListSubject: true,
  MergeSubjects: false,
  ImportTokens: true,
  ExportTokens: true,
  ManageVault: false,
};

const ORGANISATION = /^[a-z0-9-]{1,63}$/;
const DOMAIN_SCOPE = /^[a-z0-9-]{1,63}\/(?:[a-z0-9-]{1,63}|\*)$/;

/** What is wrong with the grants, one sentence a fault; empty where they can be loaded. Grants are
 *  configuration, so the faults may name what they found. */
export function faultsOfCallers(callers: readonly CallerGrants[]): string[] {
  const faults: string[] = [];
  const seen = new Set<string>();
  for (const caller of callers) {
    if (caller.id === '') faults.push('a caller has no id');
    if (seen.has(caller.id)) faults.push(`caller ${caller.id} stands there twice`);
    seen.add(caller.id);
    if (!ORGANISATION.test(caller.organisation)) {
      faults.push(`caller ${caller.id}: the organisation is not of [a-z0-9-]{1,63}`);
    }
    for (const [i, grant] of caller.grants.entries()) {
      for (const fault of faultsOfGrant(grant)) {
        faults.push(`caller ${caller.id}, grant ${i + 1}: ${fault}`);
      }
    }
  }
  return faults;
}

function faultsOfGrant(grant: Grant): string[] {
  const faults: string[] = [];
  if (grant.actions.length === 0) faults.push('it names no action');
  if (grant.domains.length === 0) faults.push('it names no domain');
  for (const action of grant.actions) {
    // `action` comes from a file, so the type alone proves nothing.
    if (!ACTIONS.includes(action)) faults.push(`there is no action ${action}`);
    else if (NEEDS_PURPOSE[action] && grant.purposes.length === 0) {
      faults.push(`${action} needs purposes`);
    }
  }
  for (const domain of grant.domains) {
    if (!DOMAIN_SCOPE.test(domain)) faults.push(`${domain} is no domain id and no organisation/*`);
  }
  for (const purpose of grant.purposes) {
    if (!isPurpose(purpose)) faults.push(`${purpose} is no code of v3-ActReason`);
  }
  return faults;
}
