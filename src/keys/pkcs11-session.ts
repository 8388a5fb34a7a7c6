import assert from 'node:assert';
import { readFileSync } from 'node:fs';
import { Module, type Slot } from 'graphene-pk11';
import pkcs11js, { type Handle, type PKCS11 } from 'pkcs11js';
import { ModuleError } from './key.ts';
import { moduleErrorOf } from './pkcs11-codes.ts';
import { type Attribute, CKA } from './pkcs11-templates.ts';
import type { RootBackup } from './root-lint.ts';
import type { Tap, TapAttribute } from './tap.ts';

/** How to reach a token. */
export interface TokenAccess {
  /** Path of the PKCS#11 library. */
  readonly library: string;
  /** Label of the token; exactly one token must carry it. */
  readonly token: string;
  /** Path of a file whose first line is the PIN. It is read once and the PIN is tried once. */
  readonly pinSource: string;
  /** Default `none`: the wrapping root was born here and never could leave. */
  readonly rootBackup?: RootBackup;
  /** Watches every call; for tests. */
  readonly tap?: Tap;
}

/** `C_EncryptUpdate` without pkcs11js's wrapper: it answers the bytes written and allocates
 *  nothing, which the wrapper does (an output view a call, a third of the cost of a small one). */
export type EncryptUpdate = (session: Handle, input: Uint8Array, output: Uint8Array) => number;

/** A module initialised, a token found and logged in to. One a process: the module's state is the
 *  process's own, so a second owner would end the first one's sessions. */
export interface Login {
  readonly lib: PKCS11;
  readonly encryptUpdate: EncryptUpdate;
  /** Vendor, library version and token label, for people. */
  readonly description: string;
  readonly mechanisms: readonly number[];
  /** Lives as long as the login: it holds the unwrapped keys and computes nothing, so no failed
   *  operation ever forces us to close it. */
  readonly holder: Handle;
  openSession(): Handle;
  /** A session that may make and destroy token objects. */
  openWritableSession(): Handle;
  /** Runs inside the one function that may call `C_UnwrapKey`; the tap sees the mark. */
  whileUnwrapping<T>(unwrap: () => T): T;
  /** Runs inside the functions that may make a data object and read its value; the same. */
  whileOnData<T>(work: () => T): T;
  /** Ends every session and key of the process in this module. Throws `ModuleError`. */
  close(): void;
  /** The same, where another error is already on its way. */
  closeQuietly(): void;
}

const CKF_OS_LOCKING_OK = 2; // Without it SoftHSM takes no locks at all, and crashes.
const CKF_RW_SESSION = 2;
const CKF_SERIAL_SESSION = 4;
const CKU_SO = 0;
const CKU_USER = 1;
const TOKEN_INITIALIZED = 0x400;

/** Loads, initialises and logs in. `writable` sessions may make token objects. Throws
 *  `ModuleError`, having finalised the module again. */
export function logIn(access: TokenAccess, writable: boolean): Login {
  const pin = readPin(access.pinSource);
  const loaded = initialise(access.library, access.tap);
  const { lib } = loaded;
  try {
    const slot = findSlot(loaded.module, access.token);
    const flags = CKF_SERIAL_SESSION | (writable ? CKF_RW_SESSION : 0);
    const openSession = (): Handle => lib.C_OpenSession(slot.handle, flags);
    const holder = openSession();
    lib.C_Login(holder, CKU_USER, pin);
    return {
      lib,
      encryptUpdate: loaded.encryptUpdate,
      description: describe(lib, access.token),
      mechanisms: lib.C_GetMechanismList(slot.handle),
      holder,
      openSession,
      openWritableSession: () =>
        lib.C_OpenSession(slot.handle, CKF_SERIAL_SESSION | CKF_RW_SESSION),
      whileUnwrapping: loaded.whileUnwrapping,
      whileOnData: loaded.whileOnData,
      close: () => finalise(lib),
      closeQuietly: () => finaliseQuietly(lib),
    };
  } catch (error) {
    finaliseQuietly(lib);
    throw moduleErrorOf(error);
  }
}

/** Makes a token in the first free slot of a module (PKCS#11 v2.40 §5.5), with its user PIN, so
 *  that no PIN crosses a command line. For SoftHSM; the module must not be in use here. */
export function initialiseToken(
  library: string,
  token: { readonly label: string; readonly pin: string; readonly soPin: string },
): void {
  assert(Buffer.byteLength(token.label, 'utf8') <= 32, 'a token label has at most 32 bytes');
  const { lib, module } = initialise(library, undefined);
  try {
    const slot = slotsOf(module).find((each) => !isInitialised(each));
    if (slot === undefined) throw new ModuleError('CKR_SLOT_ID_INVALID');
    const padding = ' '.repeat(32 - Buffer.byteLength(token.label, 'utf8'));
    lib.C_InitToken(slot.handle, token.soPin, token.label + padding);
    const session = lib.C_OpenSession(slot.handle, CKF_SERIAL_SESSION | CKF_RW_SESSION);
    lib.C_Login(session, CKU_SO, token.soPin);
    lib.C_InitPIN(session, token.pin);
  } catch (error) {
    throw moduleErrorOf(error);
  } finally {
    finaliseQuietly(lib);
  }
}

/** Whether the library has a token of this label. The module must not be in use here. */
export function hasToken(library: string, label: string): boolean {
  const { lib, module } = initialise(library, undefined);
  try {
    return slotsOf(module).some((slot) => isInitialised(slot) && labelOf(slot) === label);
  } catch (error) {
    throw moduleErrorOf(error);
  } finally {
    finaliseQuietly(lib);
  }
}

/** Handles of all objects that match, in the module's order. */
export function findObjects(login: Login, session: Handle, template: Attribute[]): Handle[] {
  const found: Handle[] = [];
  login.lib.C_FindObjectsInit(session, template);
  try {
    for (;;) {
      const some = login.lib.C_FindObjects(session, 64);
      if (some.length === 0) return found;
      found.push(...some);
    }
  } finally {
    login.lib.C_FindObjectsFinal(session);
  }
}

/** The one object of a class and label; two are as wrong as none, since one of them was planted. */
export function findByLabel(login: Login, objectClass: number, label: string): Handle {
  const found = findObjects(login, login.holder, [
    { type: CKA.CLASS, value: objectClass },
    { type: CKA.LABEL, value: Buffer.from(label, 'utf8') },
  ]);
  const [only] = found;
  if (only === undefined || found.length !== 1) {
    const why = `the token has ${found.length} objects labelled ${label}, not one`;
    throw new ModuleError('CKR_KEY_HANDLE_INVALID', new Error(why));
  }
  return only;
}

interface Loaded {
  readonly lib: PKCS11;
  readonly module: Module;
  readonly encryptUpdate: EncryptUpdate;
  readonly whileUnwrapping: <T>(unwrap: () => T) => T;
  readonly whileOnData: <T>(work: () => T) => T;
}

/** Libraries stay loaded: unloading one whose threads or exit handlers live on would crash, and
 *  pkcs11js unloads when its object is collected. */
const libraries = new Map<string, PKCS11>();

function initialise(library: string, tap: Tap | undefined): Loaded {
  let raw = libraries.get(library);
  try {
    if (raw === undefined) {
      raw = new pkcs11js.PKCS11();
      raw.load(library);
      libraries.set(library, raw);
    }
  } catch (error) {
    throw new ModuleError('CKR_LIBRARY_LOAD_FAILED', error);
  }
  const mark = { unwrapping: false, onData: false };
  const lib = tap === undefined ? raw : tapped(raw, tap, mark);
  try {
    // Not graphene's initialize(): it takes "already initialised" for success, and a second owner
    // would then finalise the first one's sessions away.
    lib.C_Initialize({ flags: CKF_OS_LOCKING_OK });
  } catch (error) {
    throw moduleErrorOf(error);
  }
  return {
    lib,
    module: new Module(lib),
    encryptUpdate: encryptUpdateOf(raw, tap, mark),
    whileUnwrapping: (unwrap) => marked(mark, 'unwrapping', unwrap),
    whileOnData: (work) => marked(mark, 'onData', work),
  };
}

function marked<T>(mark: Mark, name: keyof Mark, work: () => T): T {
  mark[name] = true;
  try {
    return work();
  } finally {
    mark[name] = false;
  }
}

function finalise(lib: PKCS11): void {
  try {
    lib.C_Finalize();
  } catch (error) {
    throw moduleErrorOf(error);
  }
}

function finaliseQuietly(lib: PKCS11): void {
  try {
    lib.C_Finalize();
  } catch {
    // What failed before is what the caller must hear of.
  }
}

/** What the tap is told of the function that calls. */
interface Mark {
  unwrapping: boolean;
  onData: boolean;
}

/** pkcs11js puts its wrappers on each instance, so the prototype's function is the native one. */
function encryptUpdateOf(raw: PKCS11, tap: Tap | undefined, mark: Mark): EncryptUpdate {
  const native: unknown = Reflect.get(pkcs11js.PKCS11.prototype, 'C_EncryptUpdate');
  assert(typeof native === 'function');
  const update = native.bind(raw) as EncryptUpdate;
  if (tap === undefined) return update;
  return (session, input, output) => {
    tap.called({ name: 'C_EncryptUpdate', attributes: [], ...mark });
    return update(session, input, output);
  };
}

function tapped(lib: PKCS11, tap: Tap, mark: Mark): PKCS11 {
  return new Proxy(lib, {
    get(target, name) {
      const member: unknown = Reflect.get(target, name);
      if (typeof member !== 'function') return member;
      if (typeof name !== 'string' || !name.startsWith('C_')) return member.bind(target);
      return (...args: unknown[]): unknown => {
        const attributes = args.flatMap((arg) => attributesOf(arg));
        tap.called({ name, attributes, ...mark });
        return member.apply(target, args);
      };
    },
  });
}

/** The attributes of an argument that is a template; none of any other. */
function attributesOf(arg: unknown): TapAttribute[] {
  if (!Array.isArray(arg)) return [];
  return arg.flatMap((entry: { type?: unknown; value?: unknown }) => {
    const { type, value } = entry ?? {};
    if (typeof type !== 'number') return [];
    const flag = typeof value === 'boolean' ? value : undefined;
    return [{ type, flag, number: typeof value === 'number' ? value : undefined }];
  });
}

function readPin(path: string): string {
  let pin: string;
  try {
    pin = readFileSync(path, 'utf8');
  } catch (error) {
    throw new ModuleError('CKR_PIN_INVALID', error);
  }
  const [line = ''] = pin.split(/\r?\n/, 1);
  if (line === '') throw new ModuleError('CKR_PIN_INVALID', new Error('the PIN file is empty'));
  return line;
}

function slotsOf(module: Module): Slot[] {
  const slots = module.getSlots(true);
  return Array.from({ length: slots.length }, (_, i) => slots.items(i));
}

const isInitialised = (slot: Slot): boolean => (slot.getToken().flags & TOKEN_INITIALIZED) !== 0;
const labelOf = (slot: Slot): string => slot.getToken().label;

function findSlot(module: Module, label: string): Slot {
  const found = slotsOf(module).filter((slot) => isInitialised(slot) && labelOf(slot) === label);
  const [only] = found;
  if (only === undefined || found.length !== 1) {
    const why = `the module has ${found.length} tokens labelled ${label}, not one`;
    throw new ModuleError('CKR_TOKEN_NOT_PRESENT', new Error(why));
  }
  return only;
}

function describe(lib: PKCS11, token: string): string {
  const { manufacturerID, libraryDescription, libraryVersion } = lib.C_GetInfo();
  const version = `${libraryVersion.major}.${libraryVersion.minor}`;
  return `${manufacturerID.trim()} ${libraryDescription.trim()} ${version}, token ${token}`;
}
