import assert from 'node:assert';
import { readFileSync } from 'node:fs';
import pkcs11js, { type Handle, type PKCS11 } from 'pkcs11js';
import type { BlockKey } from '../../src/keys/key.ts';
import { createTestToken } from '../softhsm.ts';

/** A SoftHSM token that takes keys of known bytes as session objects, for test vectors. The
 *  product never creates a key from bytes, and its recording tap forbids C_CreateObject. */
export interface VectorModule {
  /** 16, 24 or 32 bytes. */
  importVectorKey(raw: Uint8Array, id: string): BlockKey;
  /** Finalises the module and removes its token. */
  close(): void;
}

const CKF_OS_LOCKING_OK = 2;
const CKF_SERIAL_SESSION = 4;
const CKF_RW_SESSION = 2;
const TOKEN_INITIALIZED = 0x400;
const { CKA_CLASS, CKA_KEY_TYPE, CKA_TOKEN, CKA_PRIVATE, CKA_SENSITIVE } = pkcs11js;
const { CKA_EXTRACTABLE, CKA_ENCRYPT, CKA_DECRYPT, CKA_VALUE } = pkcs11js;
/** Keys a file has are many and used once each, so the oldest are destroyed. */
const KEYS_MAX = 16;

/** One a process, and not beside another module of the same library. */
export function openVectorModule(library: string): VectorModule {
  const token = createTestToken(library, 'lockstep-vectors');
  const lib = new pkcs11js.PKCS11();
  lib.load(library);
  lib.C_Initialize({ flags: CKF_OS_LOCKING_OK });
  const slot = lib
    .C_GetSlotList(true)
    .find((each) => (lib.C_GetTokenInfo(each).flags & TOKEN_INITIALIZED) !== 0);
  assert(slot !== undefined, 'the token is not there');
  const session = lib.C_OpenSession(slot, CKF_SERIAL_SESSION | CKF_RW_SESSION);
  lib.C_Login(session, pkcs11js.CKU_USER, readFileSync(token.pinSource, 'utf8').trim());
  const keys = new Map<string, Handle>();
  return {
    importVectorKey: (raw, id) => new VectorKey(lib, slot, handleOf(lib, session, keys, raw), id),
    close: () => {
      lib.C_Finalize();
      token.remove();
    },
  };
}

function handleOf(
  lib: PKCS11,
  session: Handle,
  keys: Map<string, Handle>,
  raw: Uint8Array,
): Handle {
  assert([16, 24, 32].includes(raw.length), 'an AES key');
  const name = Buffer.from(raw).toString('hex');
  const old = keys.get(name);
  if (old !== undefined) return old;
  const [oldest] = keys;
  if (oldest !== undefined && keys.size >= KEYS_MAX) {
    lib.C_DestroyObject(session, oldest[1]);
    keys.delete(oldest[0]);
  }
  const handle = lib.C_CreateObject(session, [
    { type: CKA_CLASS, value: pkcs11js.CKO_SECRET_KEY },
    { type: CKA_KEY_TYPE, value: pkcs11js.CKK_AES },
    { type: CKA_TOKEN, value: false },
    { type: CKA_PRIVATE, value: true },
    { type: CKA_SENSITIVE, value: true },
    { type: CKA_EXTRACTABLE, value: false },
    { type: CKA_ENCRYPT, value: true },
    { type: CKA_DECRYPT, value: false },
    { type: CKA_VALUE, value: Buffer.from(raw) },
  ]);
  keys.set(name, handle);
  return handle;
}

/** A session a call, so that keys of finished cases hold none. */
class VectorKey implements BlockKey {
  readonly id: string;
  readonly blocksMax = 8_192;
  readonly #lib: PKCS11;
  readonly #slot: Handle;
  readonly #key: Handle;

  constructor(lib: PKCS11, slot: Handle, key: Handle, id: string) {
    this.#lib = lib;
    this.#slot = slot;
    this.#key = key;
    this.id = id;
  }

  encryptBlocks(blocks: Uint8Array): void {
    const session = this.#lib.C_OpenSession(this.#slot, CKF_SERIAL_SESSION);
    try {
      this.#lib.C_EncryptInit(session, { mechanism: pkcs11js.CKM_AES_ECB }, this.#key);
      const output = Buffer.alloc(blocks.length);
      blocks.set(this.#lib.C_Encrypt(session, Buffer.from(blocks), output));
    } finally {
      this.#lib.C_CloseSession(session);
    }
  }
}
