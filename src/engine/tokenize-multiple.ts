import { CallError } from '../base/call-error.ts';
import type { Parts } from './parts.ts';
import type { MultipleAnswer, TokenizeMultipleCall } from './vault-calls.ts';

/** 1:n tokens of a dynamic domain: mints more of them, or lists those there are. */
export async function tokenizeMultiple(
  _parts: Parts,
  _call: TokenizeMultipleCall,
): Promise<MultipleAnswer> {
  throw new CallError('INTERNAL');
}
