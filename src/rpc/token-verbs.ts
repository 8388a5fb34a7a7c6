import type { View } from '../base/domain.ts';
import type { CallRules, TokenState } from '../engine/calls.ts';
import type { CallOptions, Connection } from './client.ts';
import type { ItemError } from './gen/lockstep/v1/common_pb.ts';
import { type TokenDetails, TokenService } from './gen/lockstep/v1/token_service_pb.ts';
import { STATE_NUMBER, VIEW_NUMBER, wordOf } from './names.ts';
import { msOf, readRules, wireRules } from './rules.ts';

/** Items of one call: values or tokens. */
export interface Batch {
  readonly domain: string;
  readonly items: readonly string[];
  /** '' for none. */
  readonly purpose: string;
  readonly requestId: string;
  /** One text for all, or one an item; '' for none. */
  readonly subject: string | readonly string[];
  readonly context: string | readonly string[];
}

/** What of a verb may bring rules of the records that it makes. */
export interface RuledBatch extends Batch {
  readonly rules?: CallRules | undefined;
}

export interface FailedItem {
  readonly index: number;
  readonly reason: string;
  readonly retryable: boolean;
}

export interface BatchOutcome {
  /** Tokens, values or token states (`live`, `well-formed`, …); as many as items, empty where
   *  `errors` names one. */
  readonly outputs: readonly string[];
  readonly errors: readonly FailedItem[];
  readonly leafIndex: number;
}

export interface MultipleOutcome {
  /** The tokens of each item; as many lists as items. */
  readonly tokens: readonly (readonly string[])[];
  readonly errors: readonly FailedItem[];
  readonly leafIndex: number;
}

export interface ShownDetails extends CallRules {
  /** 0 where not known. */
  readonly createdMs: number;
  readonly reveals: number;
}

export interface InspectOutcome extends BatchOutcome {
  /** As many as items where they were asked for, else none. */
  readonly details: readonly ShownDetails[];
}

export interface TokenVerbs {
  tokenize(batch: RuledBatch, options?: CallOptions): Promise<BatchOutcome>;
  /** `count` 0 lists the tokens there are. */
  tokenizeMultiple(
    batch: RuledBatch & { readonly count: number },
    options?: CallOptions,
  ): Promise<MultipleOutcome>;
  lookup(batch: Batch, options?: CallOptions): Promise<BatchOutcome>;
  detokenize(
    batch: Batch & { readonly view: View; readonly acceptLowerView: boolean },
    options?: CallOptions,
  ): Promise<BatchOutcome>;
  exchange(
    batch: RuledBatch & { readonly targetDomain: string; readonly targetContext: string },
    options?: CallOptions,
  ): Promise<BatchOutcome>;
  inspect(
    batch: Batch & { readonly withDetails?: boolean },
    options?: CallOptions,
  ): Promise<InspectOutcome>;
}

export function tokenVerbs(connection: Connection): TokenVerbs {
  const tokens = connection.stub(TokenService);
  return {
    async tokenize(batch, options) {
      const message = { ...common(batch), ...rulesOf(batch), values: [...batch.items] };
      const answer = await tokens.tokenize(message, options);
      return outcomeOf(answer, answer.tokens);
    },
    async tokenizeMultiple(batch, options) {
      const { count } = batch;
      const message = { ...common(batch), ...rulesOf(batch), values: [...batch.items], count };
      const answer = await tokens.tokenizeMultiple(message, options);
      let end = 0;
      const lists = answer.counts.map((of) => {
        end += of;
        return answer.tokens.slice(end - of, end);
      });
      return { tokens: lists, errors: failedItems(answer.errors), leafIndex: leafOf(answer) };
    },
    async lookup(batch, options) {
      const { requestId: _, ...fields } = common(batch);
      const answer = await tokens.lookup({ ...fields, values: [...batch.items] }, options);
      return outcomeOf(answer, answer.tokens);
    },
    async detokenize(batch, options) {
      const view = VIEW_NUMBER[batch.view];
      const { acceptLowerView } = batch;
      const answer = await tokens.detokenize(
        { ...common(batch), tokens: [...batch.items], view, acceptLowerView },
        options,
      );
      return outcomeOf(answer, answer.values);
    },
    async exchange(batch, options) {
      const { targetDomain, targetContext } = batch;
      const rules = rulesOf(batch);
      const answer = await tokens.exchange(
        { ...common(batch), ...rules, tokens: [...batch.items], targetDomain, targetContext },
        options,
      );
      return outcomeOf(answer, answer.tokens);
    },
    async inspect(batch, options) {
      const { domain, purpose, context, contexts } = common(batch);
      const { withDetails = false } = batch;
      const answer = await tokens.inspect(
        { domain, purpose, context, contexts, tokens: [...batch.items], withDetails },
        options,
      );
      const words = answer.states.map(
        (state): TokenState | '' => wordOf(STATE_NUMBER, state) ?? '',
      );
      return { ...outcomeOf(answer, words), details: answer.details.map(shownDetails) };
    },
  };
}

function common({ domain, purpose, requestId, subject, context }: Batch) {
  return {
    domain,
    purpose,
    requestId,
    ...(typeof subject === 'string'
      ? { subject, subjects: [] }
      : { subject: '', subjects: [...subject] }),
    ...(typeof context === 'string'
      ? { context, contexts: [] }
      : { context: '', contexts: [...context] }),
  };
}

const rulesOf = ({ rules }: RuledBatch) => (rules === undefined ? {} : { rules: wireRules(rules) });

function shownDetails({ createTime, rules, reveals }: TokenDetails): ShownDetails {
  return { ...readRules(rules), createdMs: msOf(createTime), reveals };
}

function outcomeOf(
  answer: Receipted & { readonly errors: readonly ItemError[] },
  outputs: readonly string[],
): BatchOutcome {
  return { outputs, errors: failedItems(answer.errors), leafIndex: leafOf(answer) };
}

export const failedItems = (errors: readonly ItemError[]): FailedItem[] =>
  errors.map(({ index = 0, reason, retryable }) => ({ index, reason, retryable }));

export interface Receipted {
  readonly receipt?: { readonly leafIndex: bigint } | undefined;
}

export const leafOf = (answer: Receipted): number => Number(answer.receipt?.leafIndex ?? 0n);
