/** Templates and numbers of PKCS#11 as Lockstep uses them. Every usage is named in every template,
 *  because SoftHSM makes true what a template leaves out. */

export const CKM = {
  AES_KEY_GEN: 0x1080,
  AES_ECB: 0x1081,
  /** RFC 5649 on SoftHSM; on NSS another format has this number. */
  AES_KEY_WRAP_PAD: 0x210a,
  /** RFC 5649 since PKCS#11 v3.0. */
  AES_KEY_WRAP_KWP: 0x210b,
  EC_EDWARDS_KEY_PAIR_GEN: 0x1055,
  EDDSA: 0x1057,
} as const;

export const CKA = {
  CLASS: 0x00,
  TOKEN: 0x01,
  PRIVATE: 0x02,
  LABEL: 0x03,
  APPLICATION: 0x10,
  VALUE: 0x11,
  KEY_TYPE: 0x100,
  ID: 0x102,
  SENSITIVE: 0x103,
  ENCRYPT: 0x104,
  DECRYPT: 0x105,
  WRAP: 0x106,
  UNWRAP: 0x107,
  SIGN: 0x108,
  SIGN_RECOVER: 0x109,
  VERIFY: 0x10a,
  VERIFY_RECOVER: 0x10b,
  DERIVE: 0x10c,
  START_DATE: 0x110,
  END_DATE: 0x111,
  VALUE_LEN: 0x161,
  EXTRACTABLE: 0x162,
  LOCAL: 0x163,
  NEVER_EXTRACTABLE: 0x164,
  ALWAYS_SENSITIVE: 0x165,
  MODIFIABLE: 0x170,
  COPYABLE: 0x171,
  DESTROYABLE: 0x172,
  EC_PARAMS: 0x180,
  EC_POINT: 0x181,
} as const;

export const CKO = {
  DATA: 0,
  CERTIFICATE: 1,
  PUBLIC_KEY: 2,
  PRIVATE_KEY: 3,
  SECRET_KEY: 4,
} as const;
export const CKK = { RSA: 0, EC: 3, GENERIC_SECRET: 0x10, AES: 0x1f, EC_EDWARDS: 0x40 } as const;

export interface Attribute {
  type: number;
  value: number | boolean | Buffer;
}

/** What a secret key may do; whatever is not named is false. */
interface Powers {
  readonly token?: boolean;
  readonly extractable?: boolean;
  readonly encrypt?: boolean;
  readonly wrap?: boolean;
}

function secretKey(powers: Powers): Attribute[] {
  const { token = false, extractable = false, encrypt = false, wrap = false } = powers;
  return [
    { type: CKA.CLASS, value: CKO.SECRET_KEY },
    { type: CKA.KEY_TYPE, value: CKK.AES },
    { type: CKA.TOKEN, value: token },
    { type: CKA.PRIVATE, value: true },
    { type: CKA.SENSITIVE, value: true },
    { type: CKA.EXTRACTABLE, value: extractable },
    { type: CKA.ENCRYPT, value: encrypt },
    { type: CKA.DECRYPT, value: false },
    { type: CKA.WRAP, value: wrap },
    { type: CKA.UNWRAP, value: wrap },
    { type: CKA.SIGN, value: false },
    { type: CKA.VERIFY, value: false },
    { type: CKA.DERIVE, value: false },
    { type: CKA.COPYABLE, value: false },
    // An officer must be able to shred a root, and the engine to forget a session object.
    { type: CKA.DESTROYABLE, value: true },
    // Last: SoftHSM's C_UnwrapKey sets attributes one by one, and stops at the first after this one
    // with CKR_ATTRIBUTE_READ_ONLY.
    { type: CKA.MODIFIABLE, value: false },
  ];
}

const AES_256 = { type: CKA.VALUE_LEN, value: 32 };

/** A domain key as it works: a session object that only encrypts. */
export const unwrappedTemplate = (): Attribute[] => secretKey({ encrypt: true });

/** A domain key in the moment between its birth and its wrapping: it can do nothing but leave,
 *  wrapped. A key that was not born extractable could not be wrapped at all. */
export const newbornTemplate = (): Attribute[] => [...secretKey({ extractable: true }), AES_256];

/** A throwaway key that finds out how the module wraps. */
export const probeTemplate = (): Attribute[] => [
  ...secretKey({ encrypt: true, wrap: true }),
  AES_256,
];

/** The root that wraps domain keys: a token object that wraps and unwraps, and nothing else. */
export const rootTemplate = (label: string, id: Buffer): Attribute[] => [
  ...secretKey({ token: true, wrap: true }),
  AES_256,
  { type: CKA.LABEL, value: Buffer.from(label, 'utf8') },
  { type: CKA.ID, value: id },
];

/** id-Ed25519 (RFC 8410 §3) in DER; PKCS#11 v3.0 §2.3.10 also allows the curve's name. */
const ED25519_OID = Buffer.from('06032b6570', 'hex');

/** Data of ours, found by class, application and label. Private, so that it takes the PIN to see
 *  or to make one; a public object of the same name is never looked at. */
export const dataTemplate = (label: string): Attribute[] => [
  { type: CKA.CLASS, value: CKO.DATA },
  { type: CKA.TOKEN, value: true },
  { type: CKA.PRIVATE, value: true },
  { type: CKA.APPLICATION, value: Buffer.from('lockstep', 'utf8') },
  { type: CKA.LABEL, value: Buffer.from(label, 'utf8') },
];

export const signingPublicTemplate = (label: string, id: Buffer): Attribute[] => [
  { type: CKA.CLASS, value: CKO.PUBLIC_KEY },
  { type: CKA.KEY_TYPE, value: CKK.EC_EDWARDS },
  { type: CKA.TOKEN, value: true },
  { type: CKA.PRIVATE, value: false },
  { type: CKA.ENCRYPT, value: false },
  { type: CKA.WRAP, value: false },
  { type: CKA.VERIFY, value: true },
  { type: CKA.VERIFY_RECOVER, value: false },
  { type: CKA.DERIVE, value: false },
  { type: CKA.MODIFIABLE, value: false },
  { type: CKA.COPYABLE, value: false },
  { type: CKA.DESTROYABLE, value: true },
  { type: CKA.EC_PARAMS, value: ED25519_OID },
  { type: CKA.LABEL, value: Buffer.from(label, 'utf8') },
  { type: CKA.ID, value: id },
];

export const signingPrivateTemplate = (label: string, id: Buffer): Attribute[] => [
  { type: CKA.CLASS, value: CKO.PRIVATE_KEY },
  { type: CKA.KEY_TYPE, value: CKK.EC_EDWARDS },
  { type: CKA.TOKEN, value: true },
  { type: CKA.PRIVATE, value: true },
  { type: CKA.SENSITIVE, value: true },
  { type: CKA.EXTRACTABLE, value: false },
  { type: CKA.SIGN, value: true },
  { type: CKA.SIGN_RECOVER, value: false },
  { type: CKA.DECRYPT, value: false },
  { type: CKA.UNWRAP, value: false },
  { type: CKA.DERIVE, value: false },
  { type: CKA.MODIFIABLE, value: false },
  { type: CKA.COPYABLE, value: false },
  { type: CKA.DESTROYABLE, value: true },
  { type: CKA.LABEL, value: Buffer.from(label, 'utf8') },
  { type: CKA.ID, value: id },
];
