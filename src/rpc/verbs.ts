import type { Connection } from './client.ts';
import { type AccessVerbs, accessVerbs, type DomainVerbs, domainVerbs } from './domain-verbs.ts';
import { type PairVerbs, pairVerbs } from './pair-verbs.ts';
import { type TargetVerbs, targetVerbs } from './target-verbs.ts';
import { type TokenVerbs, tokenVerbs } from './token-verbs.ts';
import { type JobVerbs, jobVerbs, type VaultVerbs, vaultVerbs } from './vault-verbs.ts';

/** The contract in the project's own words, for programs of ours that are its clients: no
 *  generated type leaves this folder. Every method rejects with `RpcError`. */
export interface Verbs
  extends TokenVerbs,
    TargetVerbs,
    DomainVerbs,
    AccessVerbs,
    VaultVerbs,
    PairVerbs,
    JobVerbs {}

export function verbsOf(connection: Connection): Verbs {
  return {
    ...tokenVerbs(connection),
    ...targetVerbs(connection),
    ...domainVerbs(connection),
    ...accessVerbs(connection),
    ...vaultVerbs(connection),
    ...pairVerbs(connection),
    ...jobVerbs(connection),
  };
}
