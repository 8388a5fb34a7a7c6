import { randomBytes } from 'node:crypto';
import type { DomainSpec } from '../base/domain.ts';
import { rolesOf } from '../codec/domain.ts';
import {
  type Catalogue,
  CatalogueError,
  catalogueHash,
  openCatalogue,
  peekCatalogueKey,
  sealCatalogue,
} from '../keys/catalogue.ts';
import {
  type BlockKey,
  type DomainRole,
  type InstallationRole,
  type KeyModule,
  ModuleError,
  type Role,
  type WrappedKey,
} from '../keys/key.ts';
import { checkValue } from '../modes/check-value.ts';
import { cmac } from '../modes/cmac.ts';
import type { CatalogueState } from './job.ts';

const INSTALLATION_ROLES: readonly InstallationRole[] = [
  'subject',
  'body-mac',
  'body-ctr',
  'idem',
  'catalogue',
];

/** The catalogue and its keys, opened. Lives in the key worker. A key is unwrapped and held to its
 *  check value once, when the ring is made; nothing is served under a key that fails it. */
export class KeyRing {
  readonly #module: KeyModule;
  readonly #root: string;
  readonly #keys = new Map<string, BlockKey>();
  #catalogue: Catalogue;

  private constructor(module: KeyModule, root: string, catalogue: Catalogue) {
    this.#module = module;
    this.#root = root;
    this.#catalogue = catalogue;
  }

  /** A new installation: its own keys and no domains. */
  static make(module: KeyModule, root: string): KeyRing {
    const installation = randomBytes(16).toString('hex');
    const empty = { format: 1, generation: 1, installation, keys: [], domains: [] } as const;
    const ring = new KeyRing(module, root, empty);
    const keys = INSTALLATION_ROLES.map((role) => ring.#generate('', role));
    ring.#catalogue = { ...empty, keys };
    return ring;
  }

  /** Throws `CatalogueError` where the catalogue is not the one that was sealed, and `ModuleError`
   *  CKR_KEY_CHANGED where a key is not the one it was. */
  static open(module: KeyModule, root: string, bytes: Uint8Array): KeyRing {
    const own = peekCatalogueKey(bytes);
    if (own.root !== root) {
      throw new CatalogueError('the configured root is not the one that wraps its keys');
    }
    const key = unwrapChecked(module, own);
    const catalogue = openCatalogue(bytes, (message) => cmac(key, message));
    const ring = new KeyRing(module, root, catalogue);
    for (const wrapped of catalogue.keys) {
      ring.#keys.set(nameOf(wrapped.owner, wrapped.role), unwrapChecked(module, wrapped));
    }
    for (const role of INSTALLATION_ROLES) {
      if (!ring.#keys.has(nameOf('', role))) {
        throw new CatalogueError('the catalogue lacks a key of the installation');
      }
    }
    return ring;
  }

  /** The installation's id, 32 hex digits. */
  get installation(): string {
    return this.#catalogue.installation;
  }

  get domains(): readonly DomainSpec[] {
    return this.#catalogue.domains;
  }

  /** The key of an installation role. */
  own(role: InstallationRole): BlockKey {
    return this.#find('', role);
  }

  /** The keys of a domain by role. */
  keysOf(spec: DomainSpec): { [R in DomainRole]?: BlockKey } {
    return Object.fromEntries(rolesOf(spec).map((role) => [role, this.#find(spec.id, role)]));
  }

  /** Adds a domain with new keys, or changes one that is there. The caller keeps the new catalogue
   *  on the disk, or opens the old one again. */
  put(spec: DomainSpec): void {
    const { domains, keys, generation } = this.#catalogue;
    const known = domains.some((domain) => domain.id === spec.id);
    const made = known ? [] : rolesOf(spec).map((role) => this.#generate(spec.id, role));
    this.#catalogue = {
      ...this.#catalogue,
      generation: generation + 1,
      keys: [...keys, ...made],
      domains: [...domains.filter((domain) => domain.id !== spec.id), spec],
    };
  }

  state(): CatalogueState {
    const catalogue = this.#catalogue;
    const sealed = sealCatalogue(catalogue, (bytes) => cmac(this.own('catalogue'), bytes));
    const versions: Record<string, number> = {};
    for (const { id } of catalogue.domains) versions[id] = 1;
    for (const { owner, version } of catalogue.keys) {
      if (owner !== '') versions[owner] = Math.max(versions[owner] ?? 1, version);
    }
    return {
      text: Buffer.from(sealed).toString('utf8'),
      hash: Buffer.from(catalogueHash(catalogue)).toString('hex'),
      generation: catalogue.generation,
      installation: catalogue.installation,
      domains: catalogue.domains,
      keyVersions: versions,
    };
  }

  #find(owner: string, role: Role): BlockKey {
    const key = this.#keys.get(nameOf(owner, role));
    if (key === undefined) throw new CatalogueError('the catalogue lacks a key of a domain');
    return key;
  }

  #generate(owner: string, role: Role): WrappedKey {
    const version = 1;
    const { blob, key } = this.#module.generateWrapped(this.#root, idOf(owner, role, version));
    this.#keys.set(nameOf(owner, role), key);
    return {
      owner,
      role,
      version,
      root: this.#root,
      blob: Buffer.from(blob).toString('base64'),
      checkValue: checkValue(key, role),
    };
  }
}

const nameOf = (owner: string, role: Role): string => `${owner} ${role}`;
const idOf = (owner: string, role: Role, version: number): string =>
  `${owner === '' ? 'installation' : owner}.${role}.v${version}`;

function unwrapChecked(module: KeyModule, wrapped: WrappedKey): BlockKey {
  const { owner, role, version, root } = wrapped;
  const key = module.unwrap(root, idOf(owner, role, version), Buffer.from(wrapped.blob, 'base64'));
  if (checkValue(key, role) !== wrapped.checkValue) throw new ModuleError('CKR_KEY_CHANGED');
  return key;
}
