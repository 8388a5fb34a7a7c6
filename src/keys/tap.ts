/** One attribute of a template: its CKA number, and its value where that is a boolean or a number.
 *  Bytes never reach a tap. */
export interface TapAttribute {
  readonly type: number;
  readonly flag: boolean | undefined;
  readonly number: number | undefined;
}

/** One PKCS#11 call, seen before it is made. */
export interface TapEvent {
  /** The function's name in the standard, e.g. `C_EncryptUpdate`. */
  readonly name: string;
  readonly attributes: readonly TapAttribute[];
  /** True inside the one function that may call `C_UnwrapKey`. */
  readonly unwrapping: boolean;
  /** True inside the functions that may read and make data objects. */
  readonly onData: boolean;
}

/** Watches every call into the module. Tests use it to count calls and to prove that no key value
 *  is read; production opens modules without one. */
export interface Tap {
  called(event: TapEvent): void;
}

/** A tap that keeps what it saw. */
export class Recorder implements Tap {
  readonly events: TapEvent[] = [];

  called(event: TapEvent): void {
    this.events.push(event);
  }

  /** Calls of one function, or of all. */
  count(name?: string): number {
    if (name === undefined) return this.events.length;
    return this.events.filter((event) => event.name === name).length;
  }

  clear(): void {
    this.events.length = 0;
  }

  /** What no code of ours may do; empty when all is well. */
  violations(): string[] {
    return this.events.flatMap((event) => violationsOf(event));
  }
}

/** CKA_VALUE, the RSA private components and CKA_PRIME…: whatever holds key material. CKA_EC_POINT
 *  is public. */
const KEY_MATERIAL: ReadonlySet<number> = new Set([
  0x11, 0x122, 0x123, 0x124, 0x125, 0x126, 0x127, 0x128,
]);

/** Functions that could take a key out of the module, widen one, or decrypt. */
const FORBIDDEN: ReadonlySet<string> = new Set([
  'C_CopyObject',
  'C_SetAttributeValue',
  'C_DeriveKey',
  'C_DecryptInit',
  'C_Decrypt',
  'C_DecryptUpdate',
  'C_GetOperationState',
]);

const CKA_CLASS = 0x00;
const CKO_DATA = 0;
const CKA_VALUE = 0x11;
const CKA_ENCRYPT = 0x104;
/** What an unwrapped key must carry: CKA_SENSITIVE and CKA_PRIVATE true; CKA_TOKEN, EXTRACTABLE,
 *  DECRYPT, WRAP, UNWRAP, SIGN, VERIFY, DERIVE, MODIFIABLE and COPYABLE false, each by name, since
 *  SoftHSM makes true what is left out. */
const UNWRAPPED: ReadonlyMap<number, boolean> = new Map([
  [CKA_ENCRYPT, true],
  [0x103, true],
  [0x02, true],
  [0x01, false],
  [0x162, false],
  [0x105, false],
  [0x106, false],
  [0x107, false],
  [0x108, false],
  [0x10a, false],
  [0x10c, false],
  [0x170, false],
  [0x171, false],
]);

function violationsOf(event: TapEvent): string[] {
  const found: string[] = [];
  if (FORBIDDEN.has(event.name)) found.push(`${event.name} was called`);
  if (event.name === 'C_GetAttributeValue') {
    for (const { type } of event.attributes) {
      // A data object's bytes are its value: no key's.
      if (event.onData && type === CKA_VALUE) continue;
      if (KEY_MATERIAL.has(type)) found.push(`attribute 0x${type.toString(16)} was asked for`);
    }
  }
  if (event.name === 'C_CreateObject') {
    const { number } = event.attributes.find(({ type }) => type === CKA_CLASS) ?? {};
    if (!event.onData || number !== CKO_DATA) found.push('C_CreateObject was called');
  }
  if (event.name === 'C_UnwrapKey') {
    if (!event.unwrapping) found.push('C_UnwrapKey outside the function that unwraps');
    for (const [type, wanted] of UNWRAPPED) {
      const flag = event.attributes.find((attribute) => attribute.type === type)?.flag;
      if (flag !== wanted) found.push(`C_UnwrapKey without 0x${type.toString(16)} = ${wanted}`);
    }
  }
  if (event.name === 'C_GenerateKey') {
    const sensitive = event.attributes.find((attribute) => attribute.type === 0x103);
    if (sensitive?.flag !== true) found.push('C_GenerateKey of a key that is not sensitive');
  }
  return found;
}
