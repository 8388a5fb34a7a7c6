import { CallError } from '../../base/call-error.ts';
import type { Ready, WorkerStart } from '../job.ts';
import { KeyLane } from '../key-lane.ts';
import { ENGINE_LIMITS } from '../parts.ts';
import { BackupError } from './backup-error.ts';

export interface ModuleOptions {
  readonly module: WorkerStart['module'];
  /** Label of the root that wraps the keys, and of the key pair that signs checkpoints. */
  readonly root: string;
  readonly checkpointKey: string;
}

/** Opens the module with a catalogue of wrapped keys: its check values prove the root. Rejects with
 *  `BackupError` (`root-missing`, `keys-differ`), or with `CallError` where the module does not
 *  answer. */
export async function openRestoreModule(
  { module, root, checkpointKey }: ModuleOptions,
  catalogue: Uint8Array,
): Promise<{ lane: KeyLane; ready: Ready }> {
  const text = Buffer.from(catalogue).toString('utf8');
  try {
    return await KeyLane.start({
      start: { module, root, checkpointKey, catalogue: text, moduleDelayMs: 0 },
      limits: ENGINE_LIMITS,
      metrics: { keyJob() {} },
      onHang() {},
      onDeath() {},
    });
  } catch (error) {
    if (!(error instanceof CallError)) throw error;
    if (error.cause === 'CKR_KEY_HANDLE_INVALID') throw new BackupError('root-missing', error);
    const differs = error.reason === 'KEY_VERSION_UNUSABLE' || DIFFERS.has(String(error.cause));
    throw differs ? new BackupError('keys-differ', error) : error;
  }
}

/** What modules say of a blob that another root wrapped, and we of a key that is not the one. */
const DIFFERS: ReadonlySet<string> = new Set([
  'CKR_WRAPPED_KEY_INVALID',
  'CKR_ENCRYPTED_DATA_INVALID',
  'CKR_KEY_CHANGED',
  'CKR_GENERAL_ERROR',
  'CKR_FUNCTION_FAILED',
]);
