import { join } from 'node:path';
import type { CallRules, Engine } from '../../src/engine/calls.ts';
import type { RestrictCall } from '../../src/engine/vault-calls.ts';
import { openLevelStore } from '../../src/storage/level-store.ts';
import { fsck } from '../../src/vault/fsck.ts';
import { eraseCall } from './erasing.ts';
import { copyOf, detokenizeCall, textOf, tokenizeCall } from './harness.ts';

/** Calls that make tokens with rules, and what comes of them. */

export const NO_RULES: CallRules = { idleMs: 0, expireMs: 0, revealsMax: 0, labels: [] };

let requests = 0;
export const newRequest = (): string => `r${requests++}`;

/** Tokens of values, with rules where any are given. */
export async function mintWith(
  engine: Engine,
  domainId: string,
  values: readonly string[],
  rules: Partial<CallRules> = {},
  more = {},
): Promise<string[]> {
  const all = { ...NO_RULES, ...rules };
  const call = { requestId: newRequest(), rules: all, ...more };
  const answer = await engine.tokenize(tokenizeCall(domainId, values, call));
  if (answer.errors.length > 0) throw new Error(answer.errors[0]!.reason);
  return textOf(answer.tokens);
}

/** Row by row the value, or the reason. */
export async function reveal(
  engine: Engine,
  domainId: string,
  tokens: readonly string[],
  more = {},
): Promise<string[]> {
  const answer = await engine.detokenize(detokenizeCall(domainId, tokens, more));
  const reasons = new Map(answer.errors.map(({ index, reason }) => [index, reason]));
  return textOf(answer.values).map((value, i) => reasons.get(i) ?? value);
}

export function restrictCall(
  domainId: string,
  items: RestrictCall['items'],
  more: Partial<RestrictCall> = {},
): RestrictCall {
  const { mode: _, ...call } = eraseCall(domainId, items);
  return { ...call, lift: false, ...more };
}

/** What fsck says of a copy of an installation's vault. */
export async function findings(folder: string): Promise<unknown[]> {
  const store = await openLevelStore({ folder: join(copyOf(folder), 'vault'), create: false });
  const found: unknown[] = [];
  for await (const finding of fsck(store)) found.push(finding);
  await store.close();
  return found;
}
