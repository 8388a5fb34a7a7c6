import type { Change, Store } from '../../storage/store.ts';
import { placeChange } from '../../vault/continuity.ts';
import { PREFIX, textKey } from '../../vault/layout.ts';
import { checked } from '../../vault/rows.ts';
import type { ManifestTail } from './manifest.ts';
import type { BackupReader } from './reader.ts';

/** Bytes of one atomic write: two of them are in memory. */
const WRITE_BYTES = 4 * 1024 * 1024;

export const RESTORE_STATE = 'restore';

/** What the next open has to finish; a state row of the vault. */
export interface RestoreState {
  readonly backup: string;
  /** When the backup was made. */
  readonly createdMs: number;
  /** The vault's rows know every leaf below it. */
  readonly logSize: number;
  /** Last commit of the backup. */
  readonly commit: number;
  readonly log: 'kept' | 'lost';
  /** Erasure certificates, where the log is lost. */
  readonly certificates: readonly string[];
  /** Of the log that the backup was made beside; certificates are signed by it. */
  readonly origin: string;
  readonly publicKey: string;
  readonly catalogueGeneration: number;
  readonly catalogueHash: string;
}

export interface LoadOptions {
  readonly progress?: ((rows: number, bytesRead: number, fileBytes: number) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Sees each row as it passes. */
  readonly see?: ((key: Uint8Array, value: Uint8Array) => void) | undefined;
}

/** Writes every row of the backup into an empty store. Nothing of it may be believed before this
 *  resolves: the proof stands at the end of the file. Rejects with `BackupError`, `StoreError` or
 *  the signal's reason. */
export async function loadRows(
  reader: BackupReader,
  store: Store,
  { progress, signal, see }: LoadOptions,
): Promise<ManifestTail> {
  const frames = reader.rows();
  let changes: Change[] = [];
  let bytes = 0;
  for (let rows = 0; ; ) {
    signal?.throwIfAborted();
    const step = await frames.next();
    if (step.done === true) {
      await store.write(changes);
      return step.value;
    }
    for (const [key, value] of step.value) {
      see?.(key, value);
      changes.push({ type: 'put', key, value });
      bytes += key.length + value.length;
      rows += 1;
    }
    if (bytes >= WRITE_BYTES) {
      await store.write(changes);
      changes = [];
      bytes = 0;
    }
    progress?.(rows, reader.bytesRead, reader.fileBytes);
  }
}

/** What differs in a vault that was restored: where it lies, and that its restore is to be
 *  finished. */
export function finalChanges(store: Store, state: RestoreState): Change[] {
  const key = textKey(PREFIX.state, RESTORE_STATE);
  const value = checked(key, Buffer.from(JSON.stringify(state), 'utf8'));
  return [placeChange(store.place), { type: 'put', key, value }];
}
