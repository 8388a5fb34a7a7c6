import type { Handle } from 'pkcs11js';
import { moduleErrorOf } from './pkcs11-codes.ts';
import { findObjects, type Login } from './pkcs11-session.ts';
import { CKA, dataTemplate } from './pkcs11-templates.ts';

/** Values of our data objects under a label (PKCS#11 v2.40 §4.5), in the module's order. Throws
 *  `ModuleError`. */
export function readData(login: Login, label: string): Uint8Array[] {
  return guarded(() => find(login, login.holder, label).map(({ value }) => value));
}

/** Stores what `change` makes of them, then destroys those, and no others: an object that another
 *  process made in between stays, so that neither can undo the other unseen. Replacing costs 3 ms
 *  on SoftHSM. Throws `ModuleError`; the old or the new ones are there then, or both. */
export function replaceData(
  login: Login,
  label: string,
  change: (found: readonly Uint8Array[]) => Uint8Array | undefined,
): void {
  // Of its own: the session that holds the keys stays one that can write nothing.
  const session = guarded(() => login.openWritableSession());
  try {
    const found = guarded(() => find(login, session, label));
    const value = change(found.map((object) => object.value));
    if (value === undefined) return;
    guarded(() => {
      create(login, session, label, value);
      for (const { handle } of found) destroy(login, session, handle);
    });
  } finally {
    guarded(() => login.lib.C_CloseSession(session));
  }
}

interface DataObject {
  readonly handle: Handle;
  readonly value: Uint8Array;
}

/** Only handles that were found as data objects are asked for a value. */
function find(login: Login, session: Handle, label: string): DataObject[] {
  return login.whileOnData(() =>
    findObjects(login, session, dataTemplate(label)).flatMap((handle) => {
      const value = readValue(login, session, handle);
      return value === undefined ? [] : [{ handle, value }];
    }),
  );
}

function readValue(login: Login, session: Handle, handle: Handle): Uint8Array | undefined {
  try {
    const [attribute] = login.lib.C_GetAttributeValue(session, handle, [{ type: CKA.VALUE }]);
    return Uint8Array.from(attribute?.value ?? []);
  } catch (error) {
    // Found, and destroyed by another process before it was read.
    if (moduleErrorOf(error).code === 'CKR_OBJECT_HANDLE_INVALID') return undefined;
    throw error;
  }
}

function create(login: Login, session: Handle, label: string, value: Uint8Array): void {
  const template = [
    ...dataTemplate(label),
    { type: CKA.MODIFIABLE, value: false },
    { type: CKA.VALUE, value: Buffer.from(value) },
  ];
  login.whileOnData(() => login.lib.C_CreateObject(session, template));
}

function destroy(login: Login, session: Handle, handle: Handle): void {
  try {
    login.lib.C_DestroyObject(session, handle);
  } catch (error) {
    if (moduleErrorOf(error).code !== 'CKR_OBJECT_HANDLE_INVALID') throw error;
  }
}

function guarded<T>(work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw moduleErrorOf(error);
  }
}
