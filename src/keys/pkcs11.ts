import assert from 'node:assert';
import type { Handle } from 'pkcs11js';
import { type BlockKey, type KeyModule, ModuleError } from './key.ts';
import { moduleErrorOf } from './pkcs11-codes.ts';
import { readData, replaceData } from './pkcs11-data.ts';
import { readFlags } from './pkcs11-objects.ts';
import { findByLabel, type Login, logIn, type TokenAccess } from './pkcs11-session.ts';
import { CKA, CKM, CKO } from './pkcs11-templates.ts';
import { findWrapMechanism, generateBlob, unwrapDomainKey } from './pkcs11-wrap.ts';
import { type RootBackup, type RootUse, rootFaults } from './root-lint.ts';

/** Past 8,192 blocks (128 KiB) a call into SoftHSM jumps from 50 to 350 µs. */
const BLOCKS_MAX = 8_192;
/** Modules bound their sessions, and some answer slowly when many are open. */
const SESSIONS_MAX = 64;

/** Opens a token for the engine: one login, the PIN tried once, one owner a process. The caller
 *  must close it before another module of the same library can be opened in the process. Throws
 *  `ModuleError`, e.g. CKR_PIN_INCORRECT, CKR_TOKEN_NOT_PRESENT, CKR_LIBRARY_LOAD_FAILED,
 *  CKR_CRYPTOKI_ALREADY_INITIALIZED. */
export function openPkcs11Module(access: TokenAccess): KeyModule {
  const login = logIn(access, false);
  try {
    return new Pkcs11Module(login, findWrapMechanism(login), access.rootBackup ?? 'none');
  } catch (error) {
    login.closeQuietly();
    throw moduleErrorOf(error);
  }
}

class Pkcs11Module implements KeyModule {
  readonly description: string;
  readonly keepsData = true;
  readonly #login: Login;
  readonly #mechanism: number;
  readonly #rootBackup: RootBackup;
  readonly #sessions: Sessions;
  /** Keys found and looked over, by use and label. */
  readonly #roots = new Map<string, Handle>();
  #signing: Handle | undefined;

  constructor(login: Login, mechanism: number, rootBackup: RootBackup) {
    this.#rootBackup = rootBackup;
    this.description = login.description;
    this.#login = login;
    this.#mechanism = mechanism;
    this.#sessions = new Sessions(login);
  }

  generateWrapped(root: string, id: string): { blob: Uint8Array; key: BlockKey } {
    const blob = this.#withRoot('wrapping', root, (handle) =>
      generateBlob(this.#login, this.#mechanism, handle),
    );
    return { blob, key: this.unwrap(root, id, blob) };
  }

  unwrap(root: string, id: string, blob: Uint8Array): BlockKey {
    const handle = this.#withRoot('wrapping', root, (rootHandle) =>
      unwrapDomainKey(this.#login, this.#mechanism, rootHandle, blob),
    );
    return new Pkcs11Key(id, handle, this.#sessions);
  }

  sign(label: string, message: Uint8Array): Uint8Array {
    try {
      return this.#withRoot('signing', label, (key) => {
        this.#signing ??= this.#login.openSession();
        const session = this.#signing;
        this.#login.lib.C_SignInit(session, { mechanism: CKM.EDDSA }, key);
        const signature = this.#login.lib.C_Sign(session, Buffer.from(message), Buffer.alloc(64));
        if (signature.length !== 64) throw new ModuleError('CKR_SIGNATURE_LEN_RANGE');
        return Uint8Array.from(signature);
      });
    } catch (error) {
      this.#dropSigning();
      throw error;
    }
  }

  publicKey(label: string): Uint8Array {
    this.#sessions.assertOpen();
    try {
      const key = findByLabel(this.#login, CKO.PUBLIC_KEY, label);
      const [point] = this.#login.lib.C_GetAttributeValue(this.#login.holder, key, [
        { type: CKA.EC_POINT },
      ]);
      return rawPoint(point?.value);
    } catch (error) {
      throw moduleErrorOf(error);
    }
  }

  readData(label: string): readonly Uint8Array[] {
    this.#sessions.assertOpen();
    return readData(this.#login, label);
  }

  replaceData(
    label: string,
    change: (found: readonly Uint8Array[]) => Uint8Array | undefined,
  ): void {
    this.#sessions.assertOpen();
    replaceData(this.#login, label, change);
  }

  close(): void {
    if (this.#sessions.close()) this.#login.close();
  }

  /** Finds a key of the ceremony, at first use also reading back what it may do: a root that
   *  decrypts or leaves the module is refused. An error forgets the handle, since an officer may
   *  have replaced the key. */
  #withRoot<T>(use: RootUse, label: string, act: (key: Handle) => T): T {
    this.#sessions.assertOpen();
    const name = `${use} ${label}`;
    try {
      let key = this.#roots.get(name);
      if (key === undefined) {
        const objectClass = use === 'wrapping' ? CKO.SECRET_KEY : CKO.PRIVATE_KEY;
        key = findByLabel(this.#login, objectClass, label);
        const faults = rootFaults(use, readFlags(this.#login, key), this.#rootBackup);
        if (faults.length > 0) {
          const why = `the key ${label} is refused: ${faults.join(', ')}`;
          throw new ModuleError('CKR_KEY_FUNCTION_NOT_PERMITTED', new Error(why));
        }
        this.#roots.set(name, key);
      }
      return act(key);
    } catch (error) {
      this.#roots.delete(name);
      throw moduleErrorOf(error);
    }
  }

  /** A failed operation may stay active, so its session is not used again. */
  #dropSigning(): void {
    if (this.#signing === undefined) return;
    closeQuietly(this.#login, this.#signing);
    this.#signing = undefined;
  }
}

class Pkcs11Key implements BlockKey {
  readonly id: string;
  readonly blocksMax = BLOCKS_MAX;
  readonly handle: Handle;
  readonly #sessions: Sessions;
  /** Owned by `Sessions`: open, with an encryption under way, or undefined. */
  session: Handle | undefined;
  /** Turn of its last use; the lowest is closed first. */
  turn = 0;

  constructor(id: string, handle: Handle, sessions: Sessions) {
    this.id = id;
    this.handle = handle;
    this.#sessions = sessions;
  }

  encryptBlocks(blocks: Uint8Array): void {
    const bytes = blocks.length;
    assert(bytes % 16 === 0 && bytes <= BLOCKS_MAX * 16, 'whole blocks, at most blocksMax');
    if (bytes === 0) return; // PKCS#11 has no empty update; some modules refuse it.
    this.#sessions.encrypt(this, blocks);
  }
}

/** A computing session for each key in use, its encryption begun once: ECB keeps no state between
 *  blocks, so `C_EncryptUpdate` serves call after call. */
class Sessions {
  readonly #login: Login;
  readonly #active = new Set<Pkcs11Key>();
  #turn = 0;
  #closed = false;

  constructor(login: Login) {
    this.#login = login;
  }

  encrypt(key: Pkcs11Key, blocks: Uint8Array): void {
    try {
      const session = key.session ?? this.#open(key);
      key.turn = ++this.#turn;
      const written = this.#login.encryptUpdate(session, blocks, blocks);
      // A module that holds blocks back would hand them out in the next call, to another item.
      if (written !== blocks.length) throw new ModuleError('CKR_DATA_LEN_RANGE');
    } catch (error) {
      this.#drop(key);
      throw moduleErrorOf(error);
    }
  }

  assertOpen(): void {
    if (this.#closed) throw new ModuleError('CKR_CRYPTOKI_NOT_INITIALIZED');
  }

  /** False if it was closed before. The sessions themselves end with the login. */
  close(): boolean {
    const first = !this.#closed;
    this.#closed = true;
    for (const key of this.#active) key.session = undefined;
    this.#active.clear();
    return first;
  }

  #open(key: Pkcs11Key): Handle {
    this.assertOpen();
    if (this.#active.size >= SESSIONS_MAX) this.#dropOldest();
    const session = this.#login.openSession();
    key.session = session;
    this.#active.add(key);
    this.#login.lib.C_EncryptInit(session, { mechanism: CKM.AES_ECB }, key.handle);
    return session;
  }

  #dropOldest(): void {
    let oldest: Pkcs11Key | undefined;
    for (const key of this.#active) {
      if (oldest === undefined || key.turn < oldest.turn) oldest = key;
    }
    if (oldest !== undefined) this.#drop(oldest);
  }

  #drop(key: Pkcs11Key): void {
    if (key.session !== undefined) closeQuietly(this.#login, key.session);
    key.session = undefined;
    this.#active.delete(key);
  }
}

/** The error that led here is the one to report. */
function closeQuietly(login: Login, session: Handle): void {
  try {
    login.lib.C_CloseSession(session);
  } catch {
    // The session is gone already, or the module is; either way it is not used again.
  }
}

/** CKA_EC_POINT of an Edwards key: a DER OCTET STRING (PKCS#11 v3.0 §2.3.5); bare in some. */
function rawPoint(value: Uint8Array | undefined): Uint8Array {
  if (value?.length === 34 && value[0] === 0x04 && value[1] === 32) {
    return Uint8Array.from(value.subarray(2));
  }
  if (value?.length === 32) return Uint8Array.from(value);
  throw new ModuleError('CKR_PUBLIC_KEY_INVALID');
}
