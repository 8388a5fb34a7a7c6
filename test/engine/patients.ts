import { expect } from 'vitest';
import type { Engine } from '../../src/engine/calls.ts';
import type { MergeAnswer, SubjectTokensAnswer } from '../../src/engine/vault-calls.ts';
import { DEV, detokenizeCall, one, textOf, tokenizeCall } from './harness.ts';

/** What a reveal says of a token that is not this patient's. */
export const UNKNOWN = 'TOKEN_NOT_FOUND';

export const listCall = (who: string) => ({
  caller: DEV,
  domain: '',
  purpose: 'PATRQT',
  deadlineMs: Date.now() + 30_000,
  cancelled: () => false,
  subject: Buffer.from(who),
  limit: 1_000,
  after: '',
});

/** A page as `domain token`, row by row. */
export const rowsOf = ({ domains, tokens }: SubjectTokensAnswer): string[] =>
  textOf(tokens).map((text, row) => `${domains[row]} ${text}`);

let requests = 0;
let people = 0;

/** Three ids that no other test has. */
export function patients(): [string, string, string] {
  people += 3;
  return [`p${people}`, `p${people + 1}`, `p${people + 2}`];
}

const named = (who: string | undefined) => (who === undefined ? {} : { subject: one(who) });

/** Calls about one patient, to whichever engine is open. */
export function callsOf(engine: () => Engine) {
  const tokens = async (
    id: string,
    who: string | undefined,
    ...values: string[]
  ): Promise<string[]> => {
    const more = { ...named(who), requestId: `patients-${++requests}` };
    const answer = await engine().tokenize(tokenizeCall(id, values, more));
    expect(answer.errors).toEqual([]);
    return textOf(answer.tokens);
  };
  return {
    tokens,
    token: async (id: string, who: string, value: string): Promise<string> =>
      (await tokens(id, who, value))[0]!,
    /** The value, or why there is none. */
    reveal: async (id: string, who: string | undefined, token: string): Promise<string> => {
      const call = detokenizeCall(id, [token], named(who));
      const { values, errors } = await engine().detokenize(call);
      return errors[0]?.reason ?? textOf(values)[0]!;
    },
    list: (who: string, more = {}): Promise<SubjectTokensAnswer> =>
      engine().listSubjectTokens({ ...listCall(who), ...more }),
    merge: (survivor: string, prior: string, requestId = ''): Promise<MergeAnswer> =>
      engine().mergeSubjects({
        caller: DEV,
        survivor: Buffer.from(survivor),
        prior: Buffer.from(prior),
        note: '',
        requestId,
        deadlineMs: Date.now() + 30_000,
      }),
    unmerge: (merge: string, requestId = '') => engine().unmergeSubjects(DEV, merge, '', requestId),
  };
}
