import type { Handle } from 'pkcs11js';
import { moduleErrorOf } from './pkcs11-codes.ts';
import { findObjects, type Login } from './pkcs11-session.ts';
import { CKA, CKK, CKO } from './pkcs11-templates.ts';
import type { FlagName, SecurityFlags } from './root-lint.ts';

/** A token object as officers see it; no value is ever read. */
export interface TokenObject {
  readonly label: string;
  readonly kind: 'secret key' | 'private key' | 'public key' | 'certificate' | 'data' | 'other';
  /** e.g. `AES`, `EC_EDWARDS`; '' for what is not a key. */
  readonly type: string;
  /** CKA_ID in hex. */
  readonly id: string;
  readonly flags: SecurityFlags;
}

const FLAGS: Readonly<Record<FlagName, number>> = {
  token: CKA.TOKEN,
  private: CKA.PRIVATE,
  sensitive: CKA.SENSITIVE,
  extractable: CKA.EXTRACTABLE,
  alwaysSensitive: CKA.ALWAYS_SENSITIVE,
  neverExtractable: CKA.NEVER_EXTRACTABLE,
  local: CKA.LOCAL,
  modifiable: CKA.MODIFIABLE,
  copyable: CKA.COPYABLE,
  destroyable: CKA.DESTROYABLE,
  encrypt: CKA.ENCRYPT,
  decrypt: CKA.DECRYPT,
  wrap: CKA.WRAP,
  unwrap: CKA.UNWRAP,
  sign: CKA.SIGN,
  verify: CKA.VERIFY,
  derive: CKA.DERIVE,
};

/** Reads the security attributes back, each by a call of its own: one that an object lacks would
 *  fail a common call. */
export function readFlags(login: Login, object: Handle): SecurityFlags {
  const entries = Object.entries(FLAGS).map(([name, type]) => {
    const value = readAttribute(login, object, type);
    return [name, value === undefined || value.length === 0 ? undefined : value[0] !== 0];
  });
  return Object.fromEntries(entries);
}

/** All token objects, by label and then kind. */
export function listTokenObjects(login: Login): TokenObject[] {
  const handles = findObjects(login, login.holder, [{ type: CKA.TOKEN, value: true }]);
  const objects = handles.map((object): TokenObject => {
    const objectClass = numberOf(readAttribute(login, object, CKA.CLASS));
    const keyType = readAttribute(login, object, CKA.KEY_TYPE);
    return {
      label: readAttribute(login, object, CKA.LABEL)?.toString('utf8') ?? '',
      kind: KINDS.get(objectClass) ?? 'other',
      type: keyType === undefined ? '' : (TYPES.get(numberOf(keyType)) ?? 'other'),
      id: readAttribute(login, object, CKA.ID)?.toString('hex') ?? '',
      flags: readFlags(login, object),
    };
  });
  const order = ({ label, kind, id }: TokenObject): string => `${label}\0${kind}\0${id}`;
  return objects.sort((a, b) => (order(a) < order(b) ? -1 : 1));
}

const KINDS: ReadonlyMap<number, TokenObject['kind']> = new Map([
  [CKO.SECRET_KEY, 'secret key'],
  [CKO.PRIVATE_KEY, 'private key'],
  [CKO.PUBLIC_KEY, 'public key'],
  [CKO.CERTIFICATE, 'certificate'],
  [CKO.DATA, 'data'],
]);
const TYPES: ReadonlyMap<number, string> = new Map([
  [CKK.AES, 'AES'],
  [CKK.GENERIC_SECRET, 'GENERIC_SECRET'],
  [CKK.RSA, 'RSA'],
  [CKK.EC, 'EC'],
  [CKK.EC_EDWARDS, 'EC_EDWARDS'],
]);

/** A CK_ULONG in the machine's own order, 4 or 8 bytes; numbers here are small. */
const numberOf = (value: Buffer | undefined): number =>
  value === undefined || value.length < 4 ? -1 : value.readUInt32LE(0);

/** Undefined where the object has no such attribute. */
function readAttribute(login: Login, object: Handle, type: number): Buffer | undefined {
  try {
    return login.lib.C_GetAttributeValue(login.holder, object, [{ type }])[0]?.value;
  } catch (error) {
    const failure = moduleErrorOf(error);
    if (failure.code === 'CKR_ATTRIBUTE_TYPE_INVALID') return undefined;
    throw failure; // Nothing may pass for absent that only could not be read.
  }
}
