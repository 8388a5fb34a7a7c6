import { columnOf } from '../../src/base/column.ts';
import { Plain } from '../../src/base/plain.ts';
import type { Engine } from '../../src/engine/calls.ts';
import { NONE } from '../../src/engine/calls.ts';
import type {
  ExportBatch,
  ExportCall,
  ImportCall,
  MultipleAnswer,
  TokenizeMultipleCall,
} from '../../src/engine/vault-calls.ts';
import { DEV, textOf } from './harness.ts';

const base = (domain: string, purpose: string) => ({
  caller: DEV,
  domain,
  purpose,
  deadlineMs: Date.now() + 30_000,
  cancelled: () => false,
});

export const multipleCall = (
  domain: string,
  values: readonly string[],
  count: number,
  more: Partial<TokenizeMultipleCall> = {},
): TokenizeMultipleCall => ({
  ...base(domain, ''),
  values: new Plain(columnOf(values)),
  count,
  delivery: 'best-effort',
  context: NONE,
  subject: NONE,
  requestId: count > 0 ? `r${++requests}` : '',
  ...more,
});

let requests = 0;

/** Tokens by item. */
export function tokensByItem(answer: MultipleAnswer): string[][] {
  const tokens = textOf(answer.tokens);
  let at = 0;
  return Array.from(answer.counts, (count) => {
    at += count;
    return tokens.slice(at - count, at);
  });
}

export const importCall = (
  domain: string,
  pairs: readonly (readonly [value: string, token: string])[],
  more: Partial<ImportCall> = {},
): ImportCall => ({
  ...base(domain, 'HOPERAT'),
  values: new Plain(columnOf(pairs.map(([value]) => value))),
  tokens: columnOf(pairs.map(([, token]) => token)),
  subject: NONE,
  ...more,
});

export const exportCall = (domain: string, more: Partial<ExportCall> = {}): ExportCall => ({
  ...base(domain, 'HOPERAT'),
  after: '',
  ...more,
});

export async function exported(engine: Engine, call: ExportCall): Promise<ExportBatch[]> {
  const batches: ExportBatch[] = [];
  for await (const batch of engine.exportTokens(call)) batches.push(batch);
  return batches;
}

export const pairsOf = (batches: readonly ExportBatch[]): [string, string][] =>
  batches.flatMap(({ values, tokens }) => {
    const all = textOf(tokens);
    return textOf(values).map((value, i): [string, string] => [value, all[i]!]);
  });
