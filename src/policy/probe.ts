import type * as CedarWasm from '@cedar-policy/cedar-wasm/nodejs';
import { MAY_NOTHING, requestOf } from './ask.ts';
import { ACTIONS, NEEDS_PURPOSE } from './grants.ts';

/** Asks the loaded rules one harmless question an action, so that a schema that does not accept
 *  the engine's requests is refused at load and does not deny every call later. Rules that err on
 *  it are faults too. */
export function faultsOfRequests(cedar: typeof CedarWasm, name: string): string[] {
  const faults = new Set<string>();
  for (const action of ACTIONS) {
    const caller = { id: 'probe', organisation: 'probe' };
    const request = requestOf(
      {
        caller,
        action,
        domain: { id: 'probe/probe', kind: 'fpe', format: 'digits:9' },
        purpose: NEEDS_PURPOSE[action] ? 'ETREAT' : '',
        items: 1,
      },
      MAY_NOTHING,
    );
    const answer = cedar.statefulIsAuthorized({
      ...request,
      preparsedPolicySetId: name,
      preparsedSchemaName: name,
      validateRequest: true,
    });
    if (answer.type === 'failure') {
      for (const error of answer.errors) faults.add(`${action}: ${error.message}`);
      continue;
    }
    for (const one of answer.response.diagnostics.errors) {
      faults.add(`${one.policyId}: ${one.error.message}`);
    }
  }
  return [...faults];
}
