import { BackupError } from './backup-error.ts';
import type { ManifestHead, ManifestTail } from './manifest.ts';
import { type BackupReader, openBackup } from './reader.ts';

export interface VerifyOptions {
  readonly identities: readonly string[];
  /** Raw public key that must have signed it; without it the one that the backup names. */
  readonly signer?: Uint8Array | undefined;
  readonly progress?: ((rows: number, bytesRead: number, fileBytes: number) => void) | undefined;
}

export interface VerifiedBackup {
  readonly head: ManifestHead;
  readonly tail: ManifestTail;
  readonly fileBytes: number;
}

/** Reads a whole backup: it decrypts, each frame reads, the counts and the hash are those of its
 *  end, the signature holds. Needs no module and writes nothing. Rejects with `BackupError`. */
export async function verifyBackup(path: string, options: VerifyOptions): Promise<VerifiedBackup> {
  const reader = await openBackup(path, options.identities);
  try {
    checkSigner(reader, options.signer);
    const frames = reader.rows();
    for (let rows = 0; ; ) {
      const step = await frames.next();
      if (step.done === true) {
        return { head: reader.head, tail: step.value, fileBytes: reader.fileBytes };
      }
      for (const _ of step.value) rows += 1;
      options.progress?.(rows, reader.bytesRead, reader.fileBytes);
    }
  } finally {
    await reader.close();
  }
}

/** Throws `BackupError('other-signer')`. */
export function checkSigner({ head }: BackupReader, signer: Uint8Array | undefined): void {
  if (signer !== undefined && head.publicKey !== Buffer.from(signer).toString('base64')) {
    throw new BackupError('other-signer');
  }
}
