/** One AES-256 key, wherever it lives. No member returns key bytes: a caller cannot leak them. */
export interface BlockKey {
  /** Owner, role and version, e.g. `clinic/mrn.fpe.v1`. Safe to log. */
  readonly id: string;
  /** Most blocks one call takes: the module's buffer bound, and SoftHSM's cost cliff (8,192). */
  readonly blocksMax: number;
  /** AES-ECB, in place, over whole 16-byte blocks, at most `blocksMax` of them. Synchronous: it
   *  runs inside the key worker. Throws `ModuleError`; the blocks are then undefined. */
  encryptBlocks(blocks: Uint8Array): void;
}

/** What a key may be used for; one key serves one role (SP 800-57 part 1 §5.2). */
export type DomainRole =
  | 'fpe'
  | 'count'
  | 'siv-mac'
  | 'siv-ctr'
  | 'pseudo'
  | 'idx'
  | 'seal-mac'
  | 'seal-ctr'
  | 'shift';
export type InstallationRole = 'subject' | 'body-mac' | 'body-ctr' | 'idem' | 'catalogue';
export type Role = DomainRole | InstallationRole;

/** A wrapped key version as the catalogue keeps it. */
export interface WrappedKey {
  /** Domain id, or '' for the installation's own keys. */
  readonly owner: string;
  readonly role: Role;
  /** From 1. */
  readonly version: number;
  /** Label of the root that wraps it. */
  readonly root: string;
  /** RFC 5649, 40 bytes, base64. PIN and blob together are the key. */
  readonly blob: string;
  /** First 8 bytes of CMAC(K, "lockstep kcv" ‖ role), hex. */
  readonly checkValue: string;
}

/** The module as the engine uses it, behind one file a module. Lives in the key worker; all
 *  members are synchronous and throw `ModuleError`. */
export interface KeyModule {
  /** Vendor and library version, for people. */
  readonly description: string;
  /** Makes an AES-256 key inside the module, wraps it by `root`, and forgets it. */
  generateWrapped(root: string, id: string): { blob: Uint8Array; key: BlockKey };
  /** Unwraps into a session object: sensitive, not extractable, encrypt only. */
  unwrap(root: string, id: string, blob: Uint8Array): BlockKey;
  /** Ed25519 over the message; 64 bytes (RFC 8032). `label` names the key pair. */
  sign(label: string, message: Uint8Array): Uint8Array;
  /** The raw 32-byte Ed25519 public key. */
  publicKey(label: string): Uint8Array;
  /** Whether data objects outlive the process. */
  readonly keepsData: boolean;
  /** The private data objects of Lockstep under this label, in no order. One as a rule; two after a
   *  crash in `replaceData`. Whoever has the PIN can make more, so the bytes must prove
   *  themselves. */
  readData(label: string): readonly Uint8Array[];
  /** Stores what `change` makes of `readData`'s answer, and only then destroys what it was given:
   *  never are there none, and one that another process made meanwhile stays. Nothing happens where
   *  `change` answers undefined. */
  replaceData(
    label: string,
    change: (found: readonly Uint8Array[]) => Uint8Array | undefined,
  ): void;
  close(): void;
}

/** A call into the module that failed. `code` is the CKR name, e.g. `CKR_DEVICE_ERROR`. */
export class ModuleError extends Error {
  override readonly name = 'ModuleError';
  readonly code: string;
  constructor(code: string, cause?: unknown) {
    super(`the PKCS#11 module answered ${code}`, cause === undefined ? {} : { cause });
    this.code = code;
  }
}
