import assert from 'node:assert';
import type { Caller } from '../base/caller.ts';
import type { DomainSpec } from '../base/domain.ts';
import { ACTIONS, type Action, type CallerGrants } from './grants.ts';
import { subsumers } from './purpose.ts';

/** One question to the policy: one a call and domain, never one an item. */
export interface Ask {
  readonly caller: Caller;
  readonly action: Action;
  /** A whole `DomainSpec` fits; the rest of it is not looked at. */
  readonly domain: Pick<DomainSpec, 'id' | 'kind' | 'format'>;
  /** v3-ActReason code, or '' where the call gave none. */
  readonly purpose: string;
  /** Items of the call, from 0. */
  readonly items: number;
}

/** A value in Cedar's JSON form, as far as requests need it. */
export type CedarValue = boolean | number | string | EntityValue | CedarValue[] | CedarRecord;
export type CedarRecord = { [key: string]: CedarValue };
type EntityValue = { __entity: EntityUid };
export type EntityUid = { type: string; id: string };

export interface Entity {
  readonly uid: EntityUid;
  readonly attrs: CedarRecord;
  readonly parents: EntityUid[];
}

/** What one question becomes in Cedar: the shape that starter/schema.cedarschema declares. */
export interface Request {
  readonly principal: EntityUid;
  readonly action: EntityUid;
  readonly resource: EntityUid;
  readonly context: CedarRecord;
  readonly entities: Entity[];
}

const ANY = '*';

const uid = (type: string, id: string): EntityUid => ({ type, id });
const useName = (scope: string, purpose: string): string => `${scope} for ${purpose}`;

/** The smallest e with 2^e ≥ items; 0 for none and for one. */
export function sizeExponent(items: number): number {
  assert(Number.isSafeInteger(items) && items >= 0, 'a number of items is a whole number');
  if (items <= 1) return 0;
  if (items <= 0x8000_0000) return 32 - Math.clz32(items - 1);
  return Math.ceil(Math.log2(items));
}

/** The organisation that owns a domain: the part of its id before the slash. */
export const organisationOf = (domainId: string): string =>
  domainId.slice(0, Math.max(0, domainId.indexOf('/')));

/** A caller's grants: per action the names of what was granted. Made once, at load. */
export type May = ReadonlyMap<Action, ReadonlySet<string>>;

export function mayOf(caller: CallerGrants): May {
  const may = new Map<Action, Set<string>>(ACTIONS.map((action) => [action, new Set()]));
  for (const grant of caller.grants) {
    const purposes = grant.purposes.length === 0 ? [ANY] : grant.purposes;
    for (const action of grant.actions) {
      for (const domain of grant.domains) {
        for (const purpose of purposes) may.get(action)?.add(useName(domain, purpose));
      }
    }
  }
  return may;
}

/** For callers without grants. */
export const MAY_NOTHING: May = new Map();

/** The question in Cedar's terms. Of the grants only those go along that reach this use: turning
 *  entities over to Cedar is nearly the whole cost of a decision, and so it does not grow with a
 *  caller's grants. */
export function requestOf(ask: Ask, may: May): Request {
  const organisation = organisationOf(ask.domain.id);
  const every = `${organisation}/*`;
  const purposes = subsumers(ask.purpose);
  const [asked, ...wider] = usesOf([ask.domain.id, every], [...purposes, ANY]);
  assert(asked !== undefined, 'the narrowest use stands first');
  const reaching = [asked, ...wider].map((use): EntityValue => ({ __entity: use }));
  const attribute: CedarRecord = {};
  for (const action of ACTIONS) {
    const granted = may.get(action);
    attribute[action] = reaching.filter((use) => granted?.has(use.__entity.id));
  }
  const principal = uid('Caller', ask.caller.id);
  const resource = uid('Domain', ask.domain.id);
  return {
    principal,
    action: uid('Action', ask.action),
    resource,
    context: {
      purpose: ask.purpose,
      purposes: [...purposes],
      items: 2 ** sizeExponent(ask.items),
      use: { __entity: asked },
    },
    entities: [
      {
        uid: principal,
        attrs: { organisation: ask.caller.organisation, may: attribute },
        parents: [],
      },
      {
        uid: resource,
        attrs: { organisation, kind: ask.domain.kind, format: ask.domain.format },
        parents: [uid('Domain', every)],
      },
      // All wider uses are direct parents, so no entity is needed for any of them.
      { uid: asked, attrs: {}, parents: wider },
    ],
  };
}

/** Each scope for each purpose, the narrowest first. */
function usesOf(scopes: readonly string[], purposes: readonly string[]): EntityUid[] {
  return scopes.flatMap((scope) => purposes.map((purpose) => uid('Use', useName(scope, purpose))));
}
