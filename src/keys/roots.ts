import { randomBytes } from 'node:crypto';
import { moduleErrorOf } from './pkcs11-codes.ts';
import { listTokenObjects, type TokenObject } from './pkcs11-objects.ts';
import { type Login, logIn, type TokenAccess } from './pkcs11-session.ts';
import {
  CKM,
  rootTemplate,
  signingPrivateTemplate,
  signingPublicTemplate,
} from './pkcs11-templates.ts';
import { type RootBackup, type RootUse, rootFaults } from './root-lint.ts';

/** Labels are `purpose.name.vN`, without ':', which p11tool would print as %3A. */
export const ROOT_LABEL = 'lockstep.root.v1';
export const CHECKPOINT_LABEL = 'lockstep.checkpoint.v1';

/** What the ceremony makes, and nothing else. */
const ROOTS = [
  { label: ROOT_LABEL, use: 'wrapping' },
  { label: CHECKPOINT_LABEL, use: 'signing' },
] as const satisfies readonly { label: string; use: RootUse }[];

/** The ceremony was refused; `message` is for the officer and holds labels and attribute names. */
export class RootError extends Error {
  override readonly name = 'RootError';
}

export interface InitialiseOptions {
  /** Leaves what is there and makes what is not; without it anything there is an error. */
  readonly ifMissing?: boolean;
}

export interface Initialised {
  /** Labels made now. */
  readonly made: readonly string[];
  /** Every token object afterwards. */
  readonly objects: readonly TokenObject[];
}

/** The key ceremony: makes the wrapping root (AES-256) and the checkpoint key pair (Ed25519) as
 *  token objects, then reads their attributes back and refuses what is not as asked. Throws
 *  `RootError` or `ModuleError`. The module must not be open in this process. */
export function initialiseRoots(access: TokenAccess, options: InitialiseOptions = {}): Initialised {
  return withToken(access, true, (login) => {
    const before = listTokenObjects(login);
    const present = ROOTS.filter(({ label }) => before.some((object) => object.label === label));
    if (present.length > 0 && options.ifMissing !== true) {
      const labels = present.map(({ label }) => label).join(', ');
      throw new RootError(`the token holds ${labels} already; nothing was made`);
    }
    const missing = ROOTS.filter((root) => !present.includes(root));
    for (const { label, use } of missing) {
      if (use === 'wrapping') makeWrappingRoot(login, label);
      else makeSigningPair(login, label);
    }
    const objects = listTokenObjects(login);
    const faults = lintRoots(objects);
    if (faults.length > 0) throw new RootError(faults.join('; '));
    return { made: missing.map(({ label }) => label), objects };
  });
}

/** Every token object with its security flags, for `lockstep keys list`. The module must not be
 *  open in this process. */
export function listObjects(access: TokenAccess): TokenObject[] {
  return withToken(access, false, listTokenObjects);
}

/** What is wrong with the roots, one line each, e.g. `lockstep.root.v1: decrypt is true`; empty
 *  when the engine may use them. */
export function lintRoots(objects: readonly TokenObject[], backup: RootBackup = 'none'): string[] {
  return ROOTS.flatMap(({ label, use }) => {
    const kind = use === 'wrapping' ? 'secret key' : 'private key';
    const found = objects.filter((object) => object.label === label && object.kind === kind);
    const [only] = found;
    if (only === undefined) return [`${label}: missing`];
    if (found.length > 1) return [`${label}: ${found.length} keys carry this label`];
    const faults = rootFaults(use, only.flags, backup).map((fault) => `${label}: ${fault}`);
    const type = use === 'wrapping' ? 'AES' : 'EC_EDWARDS';
    return only.type === type ? faults : [`${label}: is ${only.type}, not ${type}`, ...faults];
  });
}

function makeWrappingRoot(login: Login, label: string): void {
  const template = rootTemplate(label, randomBytes(8));
  login.lib.C_GenerateKey(login.holder, { mechanism: CKM.AES_KEY_GEN }, template);
}

function makeSigningPair(login: Login, label: string): void {
  const id = randomBytes(8); // One id for both halves; p11tool and pkcs11-tool pair them by it.
  login.lib.C_GenerateKeyPair(
    login.holder,
    { mechanism: CKM.EC_EDWARDS_KEY_PAIR_GEN },
    signingPublicTemplate(label, id),
    signingPrivateTemplate(label, id),
  );
}

function withToken<T>(access: TokenAccess, writable: boolean, use: (login: Login) => T): T {
  const login = logIn(access, writable);
  let result: T;
  try {
    result = use(login);
  } catch (error) {
    login.closeQuietly();
    throw error instanceof RootError ? error : moduleErrorOf(error);
  }
  login.close();
  return result;
}
