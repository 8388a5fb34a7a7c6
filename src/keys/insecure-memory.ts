import assert from 'node:assert';
import {
  createCipheriv,
  createDecipheriv,
  createHmac,
  createPrivateKey,
  createPublicKey,
  createSecretKey,
  type KeyObject,
  randomBytes,
  sign,
} from 'node:crypto';
import { type BlockKey, type KeyModule, ModuleError } from './key.ts';

const BLOCKS_MAX = 8_192;
const BLOB_BYTES = 40;
/** RFC 5649 §3: the high half of the alternative initial value; OpenSSL adds the length. */
const KWP_IV = Buffer.from('a65959a6', 'hex');
/** RFC 8410 §7: a PKCS#8 Ed25519 private key up to its 32 bytes of seed. */
const ED25519_PKCS8 = Buffer.from('302e020100300506032b657004220420', 'hex');

export interface InsecureMemoryOptions {
  /** Two modules of one seed have the same roots and signing keys, so that each unwraps the other's
   *  blobs; random where absent. */
  readonly seed?: Uint8Array;
}

/** INSECURE: a module in this process's memory, for tests and comparisons. Any root label and any
 *  signing label exists. Blobs are RFC 5649, as a real module's. */
export function insecureMemoryModule(options: InsecureMemoryOptions = {}): KeyModule {
  return new InsecureMemoryModule(options.seed ?? randomBytes(32));
}

/** INSECURE: a key whose bytes the caller knows, for vectors and properties; 16, 24 or 32 bytes. */
export function insecureMemoryKey(rawKey: Uint8Array, id: string): BlockKey {
  assert([16, 24, 32].includes(rawKey.length), 'an AES key');
  return new InsecureMemoryKey(id, createSecretKey(rawKey), rawKey.length * 8, () => true);
}

class InsecureMemoryModule implements KeyModule {
  readonly description = 'INSECURE keys in memory';
  readonly keepsData = false;
  readonly #data = new Map<string, Uint8Array>();
  readonly #seed: KeyObject;
  #open = true;

  constructor(seed: Uint8Array) {
    this.#seed = createSecretKey(seed);
  }

  generateWrapped(root: string, id: string): { blob: Uint8Array; key: BlockKey } {
    this.#assertOpen();
    const value = randomBytes(32);
    const cipher = createCipheriv('id-aes256-wrap-pad', this.#root(root), KWP_IV);
    const blob = Uint8Array.from(Buffer.concat([cipher.update(value), cipher.final()]));
    value.fill(0);
    return { blob, key: this.unwrap(root, id, blob) };
  }

  unwrap(root: string, id: string, blob: Uint8Array): BlockKey {
    this.#assertOpen();
    if (blob.length !== BLOB_BYTES) throw new ModuleError('CKR_WRAPPED_KEY_LEN_RANGE');
    let value: Buffer;
    try {
      const decipher = createDecipheriv('id-aes256-wrap-pad', this.#root(root), KWP_IV);
      value = Buffer.concat([decipher.update(blob), decipher.final()]);
    } catch (error) {
      throw new ModuleError('CKR_WRAPPED_KEY_INVALID', error);
    }
    const key = createSecretKey(value);
    value.fill(0);
    return new InsecureMemoryKey(id, key, 256, () => this.#open);
  }

  sign(label: string, message: Uint8Array): Uint8Array {
    this.#assertOpen();
    return Uint8Array.from(sign(null, message, this.#signingKey(label)));
  }

  publicKey(label: string): Uint8Array {
    this.#assertOpen();
    const key = createPublicKey(this.#signingKey(label));
    return Uint8Array.from(key.export({ type: 'spki', format: 'der' }).subarray(-32));
  }

  readData(label: string): readonly Uint8Array[] {
    this.#assertOpen();
    const value = this.#data.get(label);
    return value === undefined ? [] : [Uint8Array.from(value)];
  }

  replaceData(
    label: string,
    change: (found: readonly Uint8Array[]) => Uint8Array | undefined,
  ): void {
    const value = change(this.readData(label));
    if (value !== undefined) this.#data.set(label, Uint8Array.from(value));
  }

  close(): void {
    this.#open = false;
  }

  #assertOpen(): void {
    if (!this.#open) throw new ModuleError('CKR_CRYPTOKI_NOT_INITIALIZED');
  }

  #root(label: string): KeyObject {
    return createSecretKey(createHmac('sha256', this.#seed).update(`root ${label}`).digest());
  }

  #signingKey(label: string): KeyObject {
    const seed = createHmac('sha256', this.#seed).update(`sign ${label}`).digest();
    const der = Buffer.concat([ED25519_PKCS8, seed]);
    return createPrivateKey({ key: der, format: 'der', type: 'pkcs8' });
  }
}

class InsecureMemoryKey implements BlockKey {
  readonly id: string;
  readonly blocksMax = BLOCKS_MAX;
  /** ECB keeps no state between blocks, so one cipher serves every call. */
  readonly #cipher: ReturnType<typeof createCipheriv>;
  readonly #isOpen: () => boolean;

  constructor(id: string, key: KeyObject, bits: number, isOpen: () => boolean) {
    this.id = id;
    this.#cipher = createCipheriv(`aes-${bits}-ecb`, key, null).setAutoPadding(false);
    this.#isOpen = isOpen;
  }

  encryptBlocks(blocks: Uint8Array): void {
    const bytes = blocks.length;
    assert(bytes % 16 === 0 && bytes <= BLOCKS_MAX * 16, 'whole blocks, at most blocksMax');
    if (!this.#isOpen()) throw new ModuleError('CKR_CRYPTOKI_NOT_INITIALIZED');
    blocks.set(this.#cipher.update(blocks));
  }
}
