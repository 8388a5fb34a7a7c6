import type { Delivery, DomainSpec, View } from '../base/domain.ts';
import type { TokenState } from '../engine/calls.ts';
import type { EraseCall, JobState, VaultState } from '../engine/vault-calls.ts';
import { Delivery as WireDelivery, View as WireView } from './gen/lockstep/v1/common_pb.ts';
import {
  DomainKind as WireKind,
  OnInvalid as WireOnInvalid,
  TokenSafety as WireSafety,
} from './gen/lockstep/v1/domain_service_pb.ts';
import { JobState as WireJobState } from './gen/lockstep/v1/job_service_pb.ts';
import {
  EraseKind as WireEraseKind,
  TokenState as WireState,
} from './gen/lockstep/v1/token_service_pb.ts';
import { VaultState as WireVaultState } from './gen/lockstep/v1/vault_service_pb.ts';

// The engine's words and the contract's numbers. An engine's word without a number does not
// compile.

export const VIEW_NUMBER = {
  plain: WireView.PLAIN,
  masked: WireView.MASKED,
  redacted: WireView.REDACTED,
} as const satisfies Record<View, number>;

export const DELIVERY_NUMBER = {
  'best-effort': WireDelivery.BEST_EFFORT,
  'all-or-nothing': WireDelivery.ALL_OR_NOTHING,
  'ordered-stop': WireDelivery.ORDERED_STOP,
} as const satisfies Record<Delivery, number>;

export const STATE_NUMBER = {
  'well-formed': WireState.WELL_FORMED,
  live: WireState.LIVE,
  restricted: WireState.RESTRICTED,
  ended: WireState.ENDED,
  unlinked: WireState.UNLINKED,
  unknown: WireState.UNKNOWN,
} as const satisfies Record<TokenState, number>;

export const KIND_NUMBER = {
  fpe: WireKind.FPE,
  siv: WireKind.SIV,
  static: WireKind.STATIC,
  dynamic: WireKind.DYNAMIC,
  'one-way': WireKind.ONE_WAY,
  transform: WireKind.TRANSFORM,
} as const satisfies Record<DomainSpec['kind'], number>;

export const SAFETY_NUMBER = {
  'never-real': WireSafety.NEVER_REAL,
  valid: WireSafety.VALID,
} as const satisfies Record<DomainSpec['safety'], number>;

export const ON_INVALID_NUMBER = {
  reject: WireOnInvalid.REJECT,
  'tokenize-opaque': WireOnInvalid.TOKENIZE_OPAQUE,
  pass: WireOnInvalid.PASS,
} as const satisfies Record<DomainSpec['onInvalid'], number>;

export const ERASE_NUMBER = {
  delete: WireEraseKind.DELETE,
  unlink: WireEraseKind.UNLINK,
} as const satisfies Record<EraseCall['mode'], number>;

export const VAULT_STATE_NUMBER = {
  serving: WireVaultState.SERVING,
  'low-space': WireVaultState.LOW_SPACE,
  fenced: WireVaultState.FENCED,
  restoring: WireVaultState.RESTORING,
} as const satisfies Record<VaultState, number>;

export const JOB_STATE_NUMBER = {
  running: WireJobState.RUNNING,
  done: WireJobState.DONE,
  failed: WireJobState.FAILED,
  cancelled: WireJobState.CANCELLED,
} as const satisfies Record<JobState, number>;

/** The word of a number, or undefined for one that the table does not know. */
export function wordOf<W extends string>(
  table: Readonly<Record<W, number>>,
  number: number,
): W | undefined {
  for (const word in table) if (table[word] === number) return word;
  return undefined;
}
