import { CallError } from '../base/call-error.ts';
import type { Parts } from './parts.ts';
import type { ImportAnswer, ImportCall } from './vault-calls.ts';

/** Pairs that keep their tokens. */
export async function importTokens(_parts: Parts, _call: ImportCall): Promise<ImportAnswer> {
  throw new CallError('INTERNAL');
}
