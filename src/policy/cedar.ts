import { createHash } from 'node:crypto';
import { createRequire } from 'node:module';
import type * as CedarWasm from '@cedar-policy/cedar-wasm/nodejs';
import { DOMAIN_ID } from '../base/domain.ts';
import { type Ask, MAY_NOTHING, type May, mayOf, requestOf, sizeExponent } from './ask.ts';
import { type Decision, DecisionCache } from './decision-cache.ts';
import { type CallerGrants, faultsOfCallers, NEEDS_PURPOSE } from './grants.ts';
import { faultsOfRequests } from './probe.ts';
import { purposePlace } from './purpose.ts';
import { PURPOSE_TREE_VERSION } from './purpose-tree.ts';

/** Cedar ships CommonJS for Node; the ESM build wants a bundler. State is per thread. */
const cedar = createRequire(import.meta.url)('@cedar-policy/cedar-wasm/nodejs') as typeof CedarWasm;

export interface PolicyOptions {
  /** Rule id (`[a-z0-9-]{1,63}`) to the text of one Cedar policy; see `splitPolicies`. */
  readonly policies: Readonly<Record<string, string>>;
  /** starter/schema.cedarschema, or one that accepts the same requests. */
  readonly schema: string;
  readonly callers: readonly CallerGrants[];
  /** Decisions remembered, 10,000 unless given; 0 asks Cedar each time. */
  readonly cacheEntries?: number;
  /** Told of each denial that an error caused. The text names rules and attributes; it is for
   *  the log and never for a client. */
  readonly onError?: (message: string) => void;
}

/** The loaded rules and grants. Lives on the main thread. */
export interface Policy {
  /** SHA-256 (hex) over rules, schema, grants, purpose tree: with an ask it fixes the answer. */
  readonly policyHash: string;
  /** Denies by default, on any error, for an unknown purpose, and where an action that needs a
   *  purpose has none. Never throws for what a caller sent. Under a microsecond when remembered,
   *  about 0.4 ms when Cedar has to be asked. */
  decide(ask: Ask): Decision;
  /** Puts other rules and grants in force, at once and whole. Throws `PolicyError`; what was in
   *  force then stays. */
  reload(options: PolicyOptions): void;
}

/** Rules, schema or grants that cannot be loaded. The faults are Cedar's words or ours about
 *  configuration, for whoever wrote it. */
export class PolicyError extends Error {
  override readonly name = 'PolicyError';
  readonly faults: readonly string[];
  constructor(faults: readonly string[]) {
    super(`the policy cannot be loaded: ${faults.join('; ')}`);
    this.faults = faults;
  }
}

/** Throws `PolicyError`. */
export function openPolicy(options: PolicyOptions): Policy {
  return new CedarPolicy(options);
}

/** A file of policies as the record that `openPolicy` takes: each needs an `@id`, since Cedar
 *  itself would name them by their place in the file. Throws `PolicyError`. */
export function splitPolicies(text: string): Record<string, string> {
  const parts = cedar.policySetTextToParts(text);
  if (parts.type === 'failure') throw new PolicyError(parts.errors.map((error) => error.message));
  if (parts.policy_templates.length > 0) throw new PolicyError(['templates are not used here']);
  const byId = new Map<string, string>();
  for (const policy of parts.policies) {
    const parsed = cedar.policyToJson(policy);
    const id = parsed.type === 'success' ? parsed.json.annotations?.['id'] : undefined;
    if (id === undefined) throw new PolicyError(['a policy has no @id']);
    if (byId.has(id)) throw new PolicyError([`@id("${id}") stands there twice`]);
    byId.set(id, policy);
  }
  return Object.fromEntries(byId);
}

const DENIED: Decision = { allow: false, rules: [] };
const ERRED: Decision = { allow: false, rules: ['(error)'] };
const RULE_ID = /^[a-z0-9-]{1,63}$/;
const CACHE_ENTRIES = 10_000;

/** Each policy has two names in Cedar's memory, in force and next: Cedar replaces by name but
 *  forgets none, so a fresh name at every reload would leak. */
let policiesOpened = 0;

interface Loaded {
  readonly name: string;
  readonly hash: string;
  readonly may: ReadonlyMap<string, { readonly organisation: string; readonly may: May }>;
  readonly cache: DecisionCache;
  readonly onError: (message: string) => void;
}

class CedarPolicy implements Policy {
  readonly #names: readonly [string, string];
  #loaded: Loaded;

  constructor(options: PolicyOptions) {
    const number = policiesOpened++;
    this.#names = [`lockstep-${number}-a`, `lockstep-${number}-b`];
    this.#loaded = load(this.#names[0], options);
  }

  get policyHash(): string {
    return this.#loaded.hash;
  }

  reload(options: PolicyOptions): void {
    const [a, b] = this.#names;
    this.#loaded = load(this.#loaded.name === a ? b : a, options);
  }

  decide(ask: Ask): Decision {
    const purpose = purposePlace(ask.purpose);
    if (purpose < 0 || (purpose === 0 && NEEDS_PURPOSE[ask.action])) return DENIED;
    const loaded = this.#loaded;
    const key = {
      callerId: ask.caller.id,
      organisation: ask.caller.organisation,
      action: ask.action,
      domainId: ask.domain.id,
      kind: ask.domain.kind,
      format: ask.domain.format,
      purpose,
      exponent: sizeExponent(ask.items),
    };
    const known = loaded.cache.get(key);
    if (known !== undefined) return known;
    const decision = evaluate(loaded, ask);
    if (decision !== ERRED) loaded.cache.put(key, decision);
    return decision;
  }
}

function evaluate(loaded: Loaded, ask: Ask): Decision {
  // The names of uses are built from the id, so nothing but an id may stand in it.
  if (!DOMAIN_ID.test(ask.domain.id)) return DENIED;
  const known = loaded.may.get(ask.caller.id);
  // Grants are for a caller of an organisation; the same id from elsewhere has none of them.
  const may = known?.organisation === ask.caller.organisation ? known.may : MAY_NOTHING;
  try {
    const answer = cedar.statefulIsAuthorized({
      ...requestOf(ask, may),
      preparsedPolicySetId: loaded.name,
      preparsedSchemaName: loaded.name,
      validateRequest: true,
    });
    const errors =
      answer.type === 'failure'
        ? answer.errors.map((error) => error.message)
        : answer.response.diagnostics.errors.map((one) => `${one.policyId}: ${one.error.message}`);
    if (answer.type === 'success' && errors.length === 0) {
      const rules = answer.response.diagnostics.reason.toSorted();
      return { allow: answer.response.decision === 'allow', rules };
    }
    // Cedar itself skips a policy that errs; were that a forbid, the call would slip through.
    loaded.onError(errors.join('; '));
  } catch (cause) {
    loaded.onError(cause instanceof Error ? cause.message : 'Cedar failed');
  }
  return ERRED;
}

function load(name: string, options: PolicyOptions): Loaded {
  const ids = Object.keys(options.policies).toSorted();
  const policies = Object.fromEntries(ids.map((id) => [id, tidyText(options.policies[id]!)]));
  const schema = tidyText(options.schema);
  const faults = [
    ...ids.filter((id) => !RULE_ID.test(id)).map((id) => `${id} is no rule id`),
    ...faultsOfCallers(options.callers),
    ...faultsOfPolicies(policies, schema),
  ];
  if (faults.length > 0) throw new PolicyError(faults);
  parsed(cedar.preparseSchema(name, schema));
  parsed(cedar.preparsePolicySet(name, { staticPolicies: policies }));
  const misfits = faultsOfRequests(cedar, name);
  if (misfits.length > 0) throw new PolicyError(misfits);
  return {
    name,
    hash: hashOf(policies, schema, options.callers),
    may: new Map(
      options.callers.map((one) => [one.id, { organisation: one.organisation, may: mayOf(one) }]),
    ),
    cache: new DecisionCache(options.cacheEntries ?? CACHE_ENTRIES),
    onError: options.onError ?? (() => undefined),
  };
}

/** Cedar's own verdict. Its warnings count as faults: a rule that can never match is a mistake. */
function faultsOfPolicies(policies: Record<string, string>, schema: string): string[] {
  const answer = cedar.validate({ schema, policies: { staticPolicies: policies } });
  if (answer.type === 'failure') return answer.errors.map((error) => error.message);
  return [...answer.validationErrors, ...answer.validationWarnings].map(
    (one) => `${one.policyId}: ${one.error.message}`,
  );
}

function parsed(answer: CedarWasm.CheckParseAnswer): void {
  if (answer.type === 'failure') throw new PolicyError(answer.errors.map((error) => error.message));
}

/** Line ends and outer blanks differ between editors and mean nothing. */
const tidyText = (text: string): string => text.replaceAll('\r\n', '\n').trim();

function hashOf(
  policies: Record<string, string>,
  schema: string,
  callers: readonly CallerGrants[],
): string {
  const grants = callers
    .map((caller) => [
      caller.id,
      caller.organisation,
      caller.grants
        .map((grant) => [grant.actions, grant.domains, grant.purposes].map((one) => one.toSorted()))
        .map((grant) => JSON.stringify(grant))
        .toSorted(),
    ])
    .map((caller) => JSON.stringify(caller))
    .toSorted();
  // JSON quotes every part, so no two inputs run together into the same bytes.
  const text = JSON.stringify([PURPOSE_TREE_VERSION, Object.entries(policies), schema, grants]);
  return createHash('sha256').update(text).digest('hex');
}
