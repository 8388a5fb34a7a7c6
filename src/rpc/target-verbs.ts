import type { EraseCall } from '../engine/vault-calls.ts';
import type { CallOptions, Connection } from './client.ts';
import { TokenService } from './gen/lockstep/v1/token_service_pb.ts';
import { ERASE_NUMBER } from './names.ts';
import { type FailedItem, failedItems, leafOf } from './token-verbs.ts';

/** What Restrict and Erase concern. */
export interface Targets {
  /** '' with `by: 'subject'` is all of the caller's organisation. */
  readonly domain: string;
  readonly purpose: string;
  readonly requestId: string;
  readonly by: 'tokens' | 'values' | 'subject';
  /** None by subject. */
  readonly items: readonly string[];
  /** Beside values: whose they are. '' for none. */
  readonly subject: string;
  /** Of the values; one text for all, or one an item. */
  readonly context: string | readonly string[];
}

export interface TargetOutcome {
  /** Tokens concerned, item by item; one entry for a subject. */
  readonly counts: readonly number[];
  readonly errors: readonly FailedItem[];
  readonly leafIndex: number;
}

export interface EraseOutcome extends TargetOutcome {
  /** Of the first stage. */
  readonly certificate: string;
}

export interface TargetVerbs {
  restrict(
    targets: Targets & { readonly lift: boolean },
    options?: CallOptions,
  ): Promise<TargetOutcome>;
  erase(
    targets: Targets & { readonly mode: EraseCall['mode'] },
    options?: CallOptions,
  ): Promise<EraseOutcome>;
}

export function targetVerbs(connection: Connection): TargetVerbs {
  const tokens = connection.stub(TokenService);
  return {
    async restrict({ lift, ...targets }, options) {
      return outcomeOf(await tokens.restrict({ ...fieldsOf(targets), lift }, options));
    },
    async erase({ mode, ...targets }, options) {
      const kind = ERASE_NUMBER[mode];
      const answer = await tokens.erase({ ...fieldsOf(targets), kind }, options);
      return { ...outcomeOf(answer), certificate: answer.certificate };
    },
  };
}

function fieldsOf({ domain, purpose, requestId, by, items, subject, context }: Targets) {
  return {
    domain,
    purpose,
    requestId,
    subject,
    tokens: by === 'tokens' ? [...items] : [],
    values: by === 'values' ? [...items] : [],
    ...(typeof context === 'string' ? { context } : { contexts: [...context] }),
  };
}

function outcomeOf(
  answer: Parameters<typeof leafOf>[0] & {
    readonly tokenCounts: readonly number[];
    readonly errors: Parameters<typeof failedItems>[0];
  },
): TargetOutcome {
  return {
    counts: answer.tokenCounts,
    errors: failedItems(answer.errors),
    leafIndex: leafOf(answer),
  };
}
