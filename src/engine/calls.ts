import type { Caller } from '../base/caller.ts';
import type { Column } from '../base/column.ts';
import type { Delivery, DomainSpec, View } from '../base/domain.ts';
import type { Plain } from '../base/plain.ts';
import type { ItemError, Reason } from '../base/reason.ts';
import type { VaultVerbs } from './vault-calls.ts';

/** One for the whole call, one an item, or none. A column has as many rows as the batch. */
export type PerCall =
  | { readonly kind: 'none' }
  | { readonly kind: 'one'; readonly value: Uint8Array }
  | { readonly kind: 'each'; readonly values: Column };

export const NONE: PerCall = { kind: 'none' };

/** What every call carries. Column lengths and byte limits were checked by the edge. */
export interface CallBase {
  readonly caller: Caller;
  /** As the caller wrote it: `org/domain`, or `domain` of the caller's own organisation. */
  readonly domain: string;
  /** v3-ActReason code, or '' where the verb does not need one. */
  readonly purpose: string;
  /** Absolute, on the system clock. */
  readonly deadlineMs: number;
  /** True once the client is gone: work not begun is dropped. */
  readonly cancelled: () => boolean;
}

export interface BatchBase extends CallBase {
  readonly delivery: Delivery;
  readonly context: PerCall;
  readonly subject: PerCall;
  /** At most 64 bytes; '' for none. */
  readonly requestId: string;
}

/** Rules of the records that a call makes; 0 and none where it names none. */
export interface CallRules {
  readonly idleMs: number;
  readonly expireMs: number;
  readonly revealsMax: number;
  readonly labels: readonly string[];
}

export interface TokenizeCall extends BatchBase {
  readonly values: Plain;
  /** Vaulted kinds only, else KIND_UNSUPPORTED. */
  readonly rules?: CallRules | undefined;
  readonly waitForProof: boolean;
}

export interface LookupCall extends CallBase {
  readonly values: Plain;
  readonly delivery: Delivery;
  readonly context: PerCall;
  readonly subject: PerCall;
}

export interface DetokenizeCall extends BatchBase {
  readonly tokens: Column;
  readonly view: View;
  /** Rather a lower view than VIEW_DENIED. */
  readonly acceptLowerView: boolean;
  readonly waitForProof: boolean;
}

export interface ExchangeCall extends BatchBase {
  readonly tokens: Column;
  readonly targetDomain: string;
  readonly targetContext: PerCall;
  readonly rules?: CallRules | undefined;
  readonly waitForProof: boolean;
}

export interface InspectCall extends CallBase {
  readonly tokens: Column;
  readonly context: PerCall;
  /** At most 1,000 items then. */
  readonly withDetails: boolean;
}

/** Where the log holds this call; durable before the answer. */
export interface Receipt {
  readonly leafIndex: number;
  /** RFC 6962 leaf hash, 32 bytes. */
  readonly leafHash: Uint8Array;
  /** Opens the leaf's body hash; 32 bytes. */
  readonly salt: Uint8Array;
  /** The entry as hashed and its C2SP tlog-proof; only where the call waited for the proof. */
  readonly proof?: { readonly leaf: Uint8Array; readonly text: string };
}

/** A remark on items that succeeded. Places ascend. */
export interface Notice {
  readonly reason: 'VALUE_PASSED' | 'VALUE_OPAQUE';
  readonly indexes: readonly number[];
}

/** Rows keep the items' order and are empty where `errors` names them. Under ordered-stop the
 *  column ends before the first failed item. */
export interface TokenAnswer {
  readonly tokens: Column;
  readonly errors: readonly ItemError[];
  readonly receipt: Receipt;
  readonly keyVersion: number;
  /** 1 where the item minted a record now; vaulted kinds only, else empty. */
  readonly created: Uint8Array;
  readonly notices: readonly Notice[];
}

export interface RevealAnswer {
  readonly values: Plain;
  readonly errors: readonly ItemError[];
  readonly receipt: Receipt;
  readonly view: View;
  readonly notices: readonly Notice[];
}

export type TokenState = 'well-formed' | 'live' | 'restricted' | 'ended' | 'unlinked' | 'unknown';

export interface TokenDetails extends CallRules {
  /** 0 where the record has no rules. */
  readonly createdMs: number;
  readonly reveals: number;
}

export interface InspectAnswer {
  readonly states: readonly TokenState[];
  readonly errors: readonly ItemError[];
  readonly receipt: Receipt;
  /** 0 where unknown. */
  readonly keyVersions: readonly number[];
  /** As many as items where they were asked for, else none. */
  readonly details: readonly (TokenDetails | undefined)[];
}

/** What a new domain is asked to be; unset fields take the format's own defaults. */
export interface DomainRequest {
  readonly id: string;
  readonly kind: DomainSpec['kind'];
  readonly format: string;
  readonly formatOptions?: Readonly<Record<string, string>>;
  readonly safety?: DomainSpec['safety'];
  readonly assigner?: string;
  readonly displayName?: string;
  readonly onInvalid?: DomainSpec['onInvalid'];
  readonly subjectRequired?: boolean;
  readonly listable?: boolean;
  readonly subjectsShared?: boolean;
  readonly population?: number;
  readonly note?: string;
}

export interface DomainView {
  readonly spec: DomainSpec;
  readonly keyVersion: number;
  readonly liveTokens: number;
  /** log2 of the number of possible tokens. */
  readonly capacityBits: number;
  /** Share of the possible tokens given out for good, 0 to 1; 0 for kinds without a vault. */
  readonly fill: number;
  /** Opaque; changes with each update. */
  readonly etag: string;
}

export interface DomainAnswer {
  readonly domain: DomainView;
  readonly receipt: Receipt;
}

/** The engine as the edges see it. Every method rejects with `CallError` and nothing else. */
export interface Engine extends VaultVerbs {
  tokenize(call: TokenizeCall): Promise<TokenAnswer>;
  lookup(call: LookupCall): Promise<TokenAnswer>;
  detokenize(call: DetokenizeCall): Promise<RevealAnswer>;
  exchange(call: ExchangeCall): Promise<TokenAnswer>;
  inspect(call: InspectCall): Promise<InspectAnswer>;
  createDomain(caller: Caller, request: DomainRequest): Promise<DomainAnswer>;
  getDomain(caller: Caller, id: string): Promise<DomainView>;
  /** Those the caller may see, ascending by id, after `after` ('' for the start). */
  listDomains(caller: Caller, after: string, limit: number): Promise<readonly DomainView[]>;
  /** `etag` '' skips the check. */
  updateDomain(
    caller: Caller,
    id: string,
    change: { readonly displayName?: string; readonly disabled?: boolean },
    etag: string,
  ): Promise<DomainAnswer>;
  /** Raises a quota for a while; itself a leaf. */
  grantBulk(
    caller: Caller,
    grant: { caller: string; domain: string; count: number; untilMs: number },
  ): Promise<Receipt>;
  /** Whether a call made now would be served, and why not. */
  health(): { readonly serving: boolean; readonly reason: Reason | undefined };
  /** Waits for calls under way, then refuses new ones and closes what it opened. */
  close(): Promise<void>;
}
