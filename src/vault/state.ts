import type { Change } from '../storage/store.ts';
import { PREFIX, textKey } from './layout.ts';
import { checked } from './rows.ts';

/** The row of a state, for a write that must not be without it; `Vault.loadState` reads it. */
export function stateChange(name: string, bytes: Uint8Array): Change {
  const key = textKey(PREFIX.state, name);
  return { type: 'put', key, value: checked(key, bytes) };
}
