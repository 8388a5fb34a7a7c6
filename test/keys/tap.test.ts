import { readdirSync, readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openPkcs11Module } from '../../src/keys/pkcs11.ts';
import { findByLabel, type Login, logIn, type TokenAccess } from '../../src/keys/pkcs11-session.ts';
import {
  CKA,
  CKK,
  CKM,
  CKO,
  dataTemplate,
  unwrappedTemplate,
} from '../../src/keys/pkcs11-templates.ts';
import { findWrapMechanism, generateBlob, unwrapDomainKey } from '../../src/keys/pkcs11-wrap.ts';
import {
  CHECKPOINT_LABEL,
  initialiseRoots,
  listObjects,
  ROOT_LABEL,
} from '../../src/keys/roots.ts';
import { Recorder } from '../../src/keys/tap.ts';
import { createTestToken, softHsmLibrary, type TestToken } from '../softhsm.ts';

const library = softHsmLibrary();

describe.skipIf(library === undefined)('the recording wrapper over SoftHSM', () => {
  let token: TestToken;
  let access: TokenAccess;
  let tap: Recorder;
  beforeAll(() => {
    token = createTestToken(library!);
    tap = new Recorder();
    access = { library: token.library, token: token.token, pinSource: token.pinSource, tap };
  });
  afterAll(() => token.remove());

  test('nothing that the product does reads a value or unwraps outside the one function', () => {
    initialiseRoots(access);
    listObjects(access);
    const module = openPkcs11Module(access);
    const { blob, key } = module.generateWrapped(ROOT_LABEL, 'k');
    const again = module.unwrap(ROOT_LABEL, 'k', blob);
    for (const each of [key, again]) each.encryptBlocks(new Uint8Array(32));
    module.sign(CHECKPOINT_LABEL, blob);
    module.publicKey(CHECKPOINT_LABEL);
    module.replaceData('data', () => blob);
    module.replaceData('data', ([old]) => old);
    expect(module.readData('data')).toEqual([blob]);
    module.close();
    expect(tap.violations()).toEqual([]);
    // The probe at opening, the generated key, and its second unwrapping.
    expect(tap.count('C_UnwrapKey')).toBe(3);
    expect(tap.count('C_GetAttributeValue')).toBeGreaterThan(0);
    expect(tap.count('C_Login')).toBe(3);
  });

  test('events hold names, attribute numbers and booleans, and nothing else', () => {
    for (const event of tap.events) {
      expect(Object.keys(event)).toEqual(['name', 'attributes', 'unwrapping', 'onData']);
      for (const attribute of event.attributes) {
        expect(Object.keys(attribute)).toEqual(['type', 'flag', 'number']);
        expect(['boolean', 'undefined']).toContain(typeof attribute.flag);
        expect(['number', 'undefined']).toContain(typeof attribute.number);
      }
    }
  });

  /** Plants a deed and answers what the recorder says of it. */
  function planted(deed: (login: Login, root: Buffer) => void): string[] {
    const login = logIn(access, true);
    tap.clear();
    try {
      deed(login, findByLabel(login, CKO.SECRET_KEY, ROOT_LABEL));
    } finally {
      login.close();
    }
    return tap.violations();
  }

  test('red: a value is asked for', () => {
    const found = planted((login, root) => {
      const ask = [{ type: CKA.LABEL }, { type: CKA.VALUE }];
      expect(() => login.lib.C_GetAttributeValue(login.holder, root, ask)).toThrow();
    });
    expect(found).toEqual(['attribute 0x11 was asked for']);
  });

  test('red: the same blob unwrapped outside the function, into a readable key', () => {
    const found = planted((login, root) => {
      const mechanism = findWrapMechanism(login);
      const blob = generateBlob(login, mechanism, root);
      const changed = new Map<number, boolean>([
        [CKA.SENSITIVE, false],
        [CKA.EXTRACTABLE, true],
      ]);
      const readable = unwrappedTemplate().map(({ type, value }) => ({
        type,
        value: changed.get(type) ?? value,
      }));
      const key = login.lib.C_UnwrapKey(
        login.holder,
        { mechanism },
        root,
        Buffer.from(blob),
        readable,
      );
      const [value] = login.lib.C_GetAttributeValue(login.holder, key, [{ type: CKA.VALUE }]);
      expect(value?.value).toHaveLength(32); // This is why nothing else may unwrap.
    });
    expect(found).toEqual([
      'C_UnwrapKey outside the function that unwraps',
      'C_UnwrapKey without 0x103 = true',
      'C_UnwrapKey without 0x162 = false',
      'attribute 0x11 was asked for',
    ]);
  });

  test('red: an attribute left out of the template', () => {
    const found = planted((login, root) => {
      const mechanism = findWrapMechanism(login);
      const blob = Buffer.from(generateBlob(login, mechanism, root));
      const template = unwrappedTemplate().filter(({ type }) => type !== CKA.DECRYPT);
      login.whileUnwrapping(() =>
        login.lib.C_UnwrapKey(login.holder, { mechanism }, root, blob, template),
      );
    });
    expect(found).toEqual(['C_UnwrapKey without 0x105 = false']);
  });

  test('red: a key brought in, decryption, and a key that is not sensitive', () => {
    const found = planted((login) => {
      const known = [
        { type: CKA.CLASS, value: CKO.SECRET_KEY },
        { type: CKA.KEY_TYPE, value: CKK.AES },
        { type: CKA.TOKEN, value: false },
        { type: CKA.VALUE, value: Buffer.alloc(32) },
      ];
      const key = login.lib.C_CreateObject(login.holder, known);
      login.lib.C_DecryptInit(login.holder, { mechanism: CKM.AES_ECB }, key);
      const open = [
        { type: CKA.VALUE_LEN, value: 32 },
        { type: CKA.SENSITIVE, value: false },
      ];
      login.lib.C_GenerateKey(login.holder, { mechanism: CKM.AES_KEY_GEN }, open);
    });
    expect(found).toEqual([
      'C_CreateObject was called',
      'C_DecryptInit was called',
      'C_GenerateKey of a key that is not sensitive',
    ]);
  });

  test('red: an object that is no data, a value read outside the functions for data', () => {
    const found = planted((login, root) => {
      const { lib, holder } = login;
      const session = login.openWritableSession();
      login.whileOnData(() => {
        const key = [
          { type: CKA.CLASS, value: CKO.SECRET_KEY },
          { type: CKA.KEY_TYPE, value: CKK.AES },
          { type: CKA.TOKEN, value: false },
          { type: CKA.VALUE, value: Buffer.alloc(32) },
        ];
        lib.C_CreateObject(session, key);
      });
      const data = [...dataTemplate('planted'), { type: CKA.VALUE, value: Buffer.alloc(1) }];
      const object = lib.C_CreateObject(session, data);
      lib.C_GetAttributeValue(session, object, [{ type: CKA.VALUE }]);
      lib.C_DestroyObject(session, object);
      expect(() => lib.C_GetAttributeValue(holder, root, [{ type: CKA.VALUE }])).toThrow();
    });
    expect(found).toEqual([
      'C_CreateObject was called',
      'C_CreateObject was called',
      'attribute 0x11 was asked for',
      'attribute 0x11 was asked for',
    ]);
  });

  test('green again: the function itself', () => {
    const found = planted((login, root) => {
      const mechanism = findWrapMechanism(login);
      unwrapDomainKey(login, mechanism, root, generateBlob(login, mechanism, root));
    });
    expect(found).toEqual([]);
  });
});

test('in the sources, one place calls C_UnwrapKey, and one asks for CKA.VALUE: of data', () => {
  const folder = new URL('../../src/keys/', import.meta.url);
  const files = readdirSync(folder).filter((name) => name.endsWith('.ts'));
  const calls = (pattern: RegExp): string[] =>
    files.flatMap((name) =>
      (readFileSync(new URL(name, folder), 'utf8').match(pattern) ?? []).map(() => name),
    );
  expect(calls(/\.C_UnwrapKey\(/g)).toEqual(['pkcs11-wrap.ts']);
  expect(calls(/whileUnwrapping\(/g)).toEqual(['pkcs11-wrap.ts']);
  expect(new Set(calls(/CKA\.VALUE\b/g))).toEqual(new Set(['pkcs11-data.ts']));
  expect(new Set(calls(/whileOnData\(/g))).toEqual(new Set(['pkcs11-data.ts']));
  expect(calls(/\.C_CreateObject\(/g)).toEqual(['pkcs11-data.ts']);
});
