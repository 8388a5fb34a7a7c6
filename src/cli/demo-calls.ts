import { RpcError } from '../rpc/rpc-error.ts';
import type { Batch, BatchOutcome } from '../rpc/token-verbs.ts';
import { retrying } from './connection.ts';
import { pump } from './pump.ts';

/** What one column of values or tokens became. */
export interface ColumnOutcome {
  /** As many as items, empty where one failed. */
  readonly outputs: readonly string[];
  /** Failed items by reason. */
  readonly failures: ReadonlyMap<string, number>;
  readonly seconds: number;
  readonly calls: number;
}

export type BatchVerb = (batch: Batch, options: { signal: AbortSignal }) => Promise<BatchOutcome>;

/** Sends a whole column, 1,000 items a call, four calls under way at a time. `contexts` is empty or
 *  as long as the items. Rejects as the calls do. */
export async function sendColumn(
  call: BatchVerb,
  to: { readonly domain: string; readonly purpose: string },
  items: readonly string[],
  contexts: readonly string[],
  signal: AbortSignal,
): Promise<ColumnOutcome> {
  const outputs: string[] = [];
  const failures = new Map<string, number>();
  const startMs = performance.now();
  let calls = 0;
  const lines = items.map((value, i) => ({ line: i, value }));
  const answers = pump(
    once(lines),
    async (batch, stop) => {
      const own = contexts.length === 0 ? '' : batch.map(({ line }) => contexts[line] ?? '');
      const asked = batchOf(
        to,
        batch.map(({ value }) => value),
        own,
      );
      const { outputs: got, errors } = await retrying(() => call(asked, { signal: stop }), stop);
      return { outputs: got, failures: errors };
    },
    { signal },
  );
  for await (const batch of answers) {
    calls++;
    outputs.push(...batch.outputs);
    for (const { reason } of batch.failures) failures.set(reason, (failures.get(reason) ?? 0) + 1);
  }
  return { outputs, failures, seconds: (performance.now() - startMs) / 1_000, calls };
}

export const batchOf = (
  { domain, purpose }: { readonly domain: string; readonly purpose: string },
  items: readonly string[],
  context: string | readonly string[] = '',
): Batch => ({ domain, purpose, items, context, subject: '', requestId: '' });

/** The reason of a call that must fail; '' where it did not. Rejects where no reason was given. */
export async function refusalOf(call: Promise<unknown>): Promise<string> {
  try {
    await call;
    return '';
  } catch (cause) {
    if (cause instanceof RpcError && cause.reason !== '') return cause.reason;
    throw cause;
  }
}

async function* once<T>(chunk: readonly T[]): AsyncGenerator<readonly T[]> {
  yield chunk;
}
