import { CallError } from '../base/call-error.ts';
import type { Parts } from './parts.ts';
import type { ExportBatch, ExportCall } from './vault-calls.ts';

/** Every pair of a domain, in batches. */
// biome-ignore lint/correctness/useYield: not written yet.
export async function* exportTokens(_parts: Parts, _call: ExportCall): AsyncGenerator<ExportBatch> {
  throw new CallError('INTERNAL');
}
