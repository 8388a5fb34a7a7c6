import {
  Decrypter,
  Encrypter,
  generateHybridIdentity,
  generateX25519Identity,
  identityToRecipient,
} from 'age-encryption';
import { BackupError } from './backup-error.ts';

const HYBRID = /^age1pq1[02-9ac-hj-np-z]{1000,3000}$/;
const CLASSIC = /^age1[02-9ac-hj-np-z]{58}$/;

/** Whether a backup may be made for this age public key: one against quantum computers, or with
 *  `classic` one of X25519 too. Plugins and passphrases are none of ours. */
export function isRecipient(text: string, classic: boolean): boolean {
  if (!HYBRID.test(text) && !(classic && CLASSIC.test(text))) return false;
  try {
    new Encrypter().addRecipient(text); // Checks the bech32 sum and the length.
    return true;
  } catch {
    return false;
  }
}

/** An age file (age-encryption.org/v1) of the bytes, as they come. */
export function encryptStream(
  plain: ReadableStream<Uint8Array>,
  recipients: readonly string[],
): Promise<ReadableStream<Uint8Array>> {
  const encrypter = new Encrypter();
  for (const recipient of recipients) encrypter.addRecipient(recipient);
  return encrypter.encrypt(plain);
}

/** The bytes of an age file, as they come; each is authentic, and the end is. Rejects with
 *  `BackupError`: `identity-malformed`, `identity`, `not-a-backup`. A damaged payload shows while
 *  reading, as an error of any kind. */
export async function decryptStream(
  file: ReadableStream<Uint8Array>,
  identities: readonly string[],
): Promise<ReadableStream<Uint8Array>> {
  const decrypter = new Decrypter();
  try {
    for (const identity of identities) decrypter.addIdentity(identity);
  } catch (cause) {
    throw new BackupError('identity-malformed', cause);
  }
  try {
    return await decrypter.decrypt(file);
  } catch (cause) {
    const foreign = cause instanceof Error && /identity|identities/.test(cause.message);
    throw new BackupError(foreign ? 'identity' : 'not-a-backup', cause);
  }
}

/** The identities in an age identity file: a line each, `#` begins a comment. Throws
 *  `BackupError('identity-malformed')`. */
export function identitiesOf(text: string): readonly string[] {
  const lines = text.split('\n').map((line) => line.trim());
  const identities = lines.filter((line) => line !== '' && !line.startsWith('#'));
  if (identities.length === 0) throw new BackupError('identity-malformed');
  return identities;
}

/** A new key pair. Whoever has the identity reads every backup made for the recipient. */
export async function newIdentity(
  classic: boolean,
): Promise<{ readonly identity: string; readonly recipient: string }> {
  const identity = await (classic ? generateX25519Identity() : generateHybridIdentity());
  return { identity, recipient: await identityToRecipient(identity) };
}
