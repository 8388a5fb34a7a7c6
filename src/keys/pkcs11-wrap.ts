import { createCipheriv } from 'node:crypto';
import type { Handle } from 'pkcs11js';
import { ModuleError } from './key.ts';
import type { Login } from './pkcs11-session.ts';
import { CKM, newbornTemplate, probeTemplate, unwrappedTemplate } from './pkcs11-templates.ts';

/** RFC 5649 §4.1: 32 bytes of key become the same, and one block of integrity. */
export const BLOB_BYTES = 40;

/** The one function that calls `C_UnwrapKey`. The blob of a key could as well be unwrapped into a
 *  readable object, so nothing else may unwrap, and the template is no argument. The object lives
 *  as long as the holder session. */
export function unwrapDomainKey(
  login: Login,
  mechanism: number,
  root: Handle,
  blob: Uint8Array,
): Handle {
  if (blob.length !== BLOB_BYTES) throw new ModuleError('CKR_WRAPPED_KEY_LEN_RANGE');
  return login.whileUnwrapping(() =>
    login.lib.C_UnwrapKey(
      login.holder,
      { mechanism },
      root,
      Buffer.from(blob),
      unwrappedTemplate(),
    ),
  );
}

/** Makes a key inside the module, wraps it, and destroys it: what works later is only ever the
 *  unwrapped one, whose attributes are narrower. */
export function generateBlob(login: Login, mechanism: number, root: Handle): Uint8Array {
  const { lib, holder } = login;
  const newborn = lib.C_GenerateKey(holder, { mechanism: CKM.AES_KEY_GEN }, newbornTemplate());
  try {
    // Longer than a blob, since some modules want room for padding.
    const blob = lib.C_WrapKey(holder, { mechanism }, root, newborn, Buffer.alloc(64));
    if (blob.length !== BLOB_BYTES) throw new ModuleError('CKR_WRAPPED_KEY_LEN_RANGE');
    return Uint8Array.from(blob);
  } finally {
    lib.C_DestroyObject(holder, newborn);
  }
}

/** Which mechanism number is RFC 5649 here: SoftHSM says 0x210A, which on NSS is another format,
 *  and PKCS#11 v3.0 says 0x210B. Found by a known answer, without importing a key: a throwaway
 *  wrapping key encrypts blocks for us, so RFC 5649 can be computed outside over a published key;
 *  the mechanism that unwraps that blob into just this key is the right one. Wrapping with it is
 *  proven at each use, since unwrapping checks the 64 bits of integrity. */
export function findWrapMechanism(login: Login): number {
  const { lib, holder } = login;
  const probe = lib.C_GenerateKey(holder, { mechanism: CKM.AES_KEY_GEN }, probeTemplate());
  try {
    const blob = withEncryption(login, probe, (encrypt) => wrapOutside(PUBLISHED_KEY, encrypt));
    for (const mechanism of [CKM.AES_KEY_WRAP_KWP, CKM.AES_KEY_WRAP_PAD]) {
      if (!login.mechanisms.includes(mechanism)) continue;
      if (unwrapsTo(login, mechanism, probe, blob)) return mechanism;
    }
  } finally {
    lib.C_DestroyObject(holder, probe);
  }
  throw new ModuleError('CKR_MECHANISM_INVALID', new Error('the module does not wrap by RFC 5649'));
}

/** Protects nothing; its value is here for all to read. */
const PUBLISHED_KEY = Buffer.from('lockstep: a key that hides nothing'.slice(0, 32), 'utf8');

function unwrapsTo(login: Login, mechanism: number, probe: Handle, blob: Uint8Array): boolean {
  let key: Handle;
  try {
    key = unwrapDomainKey(login, mechanism, probe, blob);
  } catch {
    return false; // Another format, or a mechanism that the module lists and does not have.
  }
  const block = Buffer.alloc(16, 0x5a);
  const cipher = createCipheriv('aes-256-ecb', PUBLISHED_KEY, null).setAutoPadding(false);
  const wanted = cipher.update(block);
  try {
    return withEncryption(login, key, (encrypt) => encrypt(block).equals(wanted));
  } finally {
    login.lib.C_DestroyObject(login.holder, key);
  }
}

/** RFC 5649 §4.1 with the wrapping function W of RFC 3394 §2.2.1, for 32 bytes of key. */
export function wrapOutside(key: Uint8Array, encrypt: EncryptOne): Uint8Array {
  const blob = Buffer.concat([Buffer.from('a65959a600000020', 'hex'), key]); // RFC 5649 §3
  const block = Buffer.alloc(16);
  const registers = key.length / 8;
  for (let j = 0; j < 6; j++) {
    for (let i = 1; i <= registers; i++) {
      blob.copy(block, 0, 0, 8);
      blob.copy(block, 8, 8 * i, 8 * i + 8);
      const b = encrypt(block);
      b.copy(blob, 0, 0, 8);
      blob[7]! ^= registers * j + i; // t is at most 24: one byte.
      b.copy(blob, 8 * i, 8, 16);
    }
  }
  return blob;
}

type EncryptOne = (block: Buffer) => Buffer;

/** A session of its own for a key of the set-up; the hot path has its own ones. */
function withEncryption<T>(login: Login, key: Handle, use: (encrypt: EncryptOne) => T): T {
  const session = login.openSession();
  try {
    login.lib.C_EncryptInit(session, { mechanism: CKM.AES_ECB }, key);
    return use((block) => login.lib.C_EncryptUpdate(session, block, Buffer.alloc(16)));
  } finally {
    login.lib.C_CloseSession(session);
  }
}
