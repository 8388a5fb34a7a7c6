import { readFileSync, writeFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ModuleError } from '../../src/keys/key.ts';
import { openPkcs11Module } from '../../src/keys/pkcs11.ts';
import { readFlags } from '../../src/keys/pkcs11-objects.ts';
import { findByLabel, logIn, type TokenAccess } from '../../src/keys/pkcs11-session.ts';
import { CKA, CKM, CKO } from '../../src/keys/pkcs11-templates.ts';
import { findWrapMechanism, unwrapDomainKey } from '../../src/keys/pkcs11-wrap.ts';
import { CHECKPOINT_LABEL, initialiseRoots, ROOT_LABEL } from '../../src/keys/roots.ts';
import { Recorder } from '../../src/keys/tap.ts';
import { keyModuleContract } from '../contract/key-module.ts';
import { createTestToken, softHsmLibrary, type TestToken } from '../softhsm.ts';

const library = softHsmLibrary();

describe.skipIf(library === undefined)('SoftHSM', () => {
  let token: TestToken;
  let access: TokenAccess;
  beforeAll(() => {
    token = createTestToken(library!);
    access = { library: token.library, token: token.token, pinSource: token.pinSource };
    initialiseRoots(access);
  });
  afterAll(() => token.remove());

  keyModuleContract('openPkcs11Module', () => {
    const module = openPkcs11Module(access);
    return { module, root: ROOT_LABEL, signing: CHECKPOINT_LABEL, close: () => module.close() };
  });

  /** Opens, uses, closes: a process has one module at a time. */
  function withModule<T>(
    use: (module: ReturnType<typeof openPkcs11Module>, tap: Recorder) => T,
  ): T {
    const tap = new Recorder();
    const module = openPkcs11Module({ ...access, tap });
    try {
      return use(module, tap);
    } finally {
      module.close();
    }
  }

  test('a second owner in the process is refused, and the first goes on', () =>
    withModule((module) => {
      expect(() => openPkcs11Module(access)).toThrow(
        expect.objectContaining({ code: 'CKR_CRYPTOKI_ALREADY_INITIALIZED' }),
      );
      expect(module.publicKey(CHECKPOINT_LABEL)).toHaveLength(32);
    }));

  test('a wrong PIN is tried once, and the right one works afterwards', () => {
    const pinSource = `${token.folder}/wrong-pin`;
    writeFileSync(pinSource, 'not-the-pin\n');
    const tap = new Recorder();
    expect(() => openPkcs11Module({ ...access, pinSource, tap })).toThrow(
      expect.objectContaining({ code: 'CKR_PIN_INCORRECT' }),
    );
    expect(tap.count('C_Login')).toBe(1);
    expect(tap.count('C_Finalize')).toBe(1);
    withModule((module) => expect(module.description).toContain('SoftHSM'));
  });

  test('what is absent is named by its code: library, PIN file, PIN, token, root, pair', () => {
    const code = (wanted: string) => expect.objectContaining({ code: wanted });
    const open = (changed: Partial<TokenAccess>) => () =>
      openPkcs11Module({ ...access, ...changed });
    expect(open({ library: `${token.folder}/none.so` })).toThrow(code('CKR_LIBRARY_LOAD_FAILED'));
    expect(open({ pinSource: `${token.folder}/none` })).toThrow(code('CKR_PIN_INVALID'));
    writeFileSync(`${token.folder}/empty`, '\n');
    expect(open({ pinSource: `${token.folder}/empty` })).toThrow(code('CKR_PIN_INVALID'));
    expect(open({ token: 'none' })).toThrow(code('CKR_TOKEN_NOT_PRESENT'));
    withModule((module) => {
      expect(() => module.generateWrapped('none', 'x')).toThrow(code('CKR_KEY_HANDLE_INVALID'));
      expect(() => module.sign('none', new Uint8Array(1))).toThrow(code('CKR_KEY_HANDLE_INVALID'));
      expect(() => module.publicKey('none')).toThrow(code('CKR_KEY_HANDLE_INVALID'));
    });
  });

  test('no message carries the PIN', () => {
    const pin = readFileSync(token.pinSource, 'utf8').trim();
    try {
      openPkcs11Module({ ...access, token: 'none' });
    } catch (error) {
      expect(error).toBeInstanceOf(ModuleError);
      expect(`${error}${(error as Error).stack}`).not.toContain(pin);
    }
    expect.hasAssertions();
  });

  test('EncryptInit once a key, then one EncryptUpdate a call', () =>
    withModule((module, tap) => {
      const { key } = module.generateWrapped(ROOT_LABEL, 'k');
      tap.clear();
      for (const count of [1, 1_024, 8_192]) key.encryptBlocks(new Uint8Array(count * 16));
      expect(tap.events.map(({ name }) => name)).toEqual([
        'C_OpenSession',
        'C_EncryptInit',
        'C_EncryptUpdate',
        'C_EncryptUpdate',
        'C_EncryptUpdate',
      ]);
    }));

  test('of more keys than sessions the least recently used is closed, and opens again', () =>
    withModule((module, tap) => {
      const { blob } = module.generateWrapped(ROOT_LABEL, 'k');
      const keys = Array.from({ length: 66 }, (_, i) => module.unwrap(ROOT_LABEL, `k${i}`, blob));
      tap.clear();
      const seen = keys.map((key) => encryptZero(key));
      expect(tap.count('C_OpenSession')).toBe(66);
      expect(tap.count('C_CloseSession')).toBe(2);
      expect(new Set(seen).size).toBe(1);
      tap.clear();
      encryptZero(keys[2]!); // Still open.
      expect(tap.count('C_OpenSession')).toBe(0);
      expect(encryptZero(keys[0]!)).toBe(seen[0]);
      expect(tap.events.map(({ name }) => name)).toEqual([
        'C_EncryptUpdate',
        'C_CloseSession',
        'C_OpenSession',
        'C_EncryptInit',
        'C_EncryptUpdate',
      ]);
      tap.clear();
      encryptZero(keys[2]!); // It was used after keys[3], which went instead.
      expect(tap.count('C_OpenSession')).toBe(0);
    }));

  test('a call that fails closes its session, and the next one opens another', () => {
    // The tap is the fault: it throws where the module would have failed.
    const tap = new Recorder();
    let failing = false;
    const faulty = {
      called(event: Parameters<Recorder['called']>[0]): void {
        tap.called(event);
        if (failing && event.name === 'C_EncryptUpdate') throw new Error('CKR_DEVICE_ERROR:48');
      },
    };
    const module = openPkcs11Module({ ...access, tap: faulty });
    try {
      const { key } = module.generateWrapped(ROOT_LABEL, 'k');
      const before = encryptZero(key);
      failing = true;
      tap.clear();
      expect(() => encryptZero(key)).toThrow(expect.objectContaining({ code: 'CKR_DEVICE_ERROR' }));
      expect(tap.count('C_CloseSession')).toBe(1);
      failing = false;
      expect(encryptZero(key)).toBe(before);
      expect(tap.count('C_OpenSession')).toBe(1);
    } finally {
      module.close();
    }
  });

  test('a key whose object is gone fails with its code, again and again', () =>
    withModule((module) => {
      const { key } = module.generateWrapped(ROOT_LABEL, 'k');
      const handle: unknown = Reflect.get(key, 'handle');
      (handle as Buffer).fill(0xee);
      const gone = expect.objectContaining({ code: 'CKR_OBJECT_HANDLE_INVALID' });
      expect(() => encryptZero(key)).toThrow(gone);
      expect(() => encryptZero(key)).toThrow(gone);
    }));

  test('an unwrapped key reads back as encrypt only, and cannot decrypt or leave', () => {
    const blob = withModule((module) => module.generateWrapped(ROOT_LABEL, 'k').blob);
    const login = logIn(access, false);
    try {
      const root = findByLabel(login, CKO.SECRET_KEY, ROOT_LABEL);
      const key = unwrapDomainKey(login, findWrapMechanism(login), root, blob);
      expect(readFlags(login, key)).toEqual({
        token: false,
        private: true,
        sensitive: true,
        extractable: false,
        alwaysSensitive: false,
        neverExtractable: false,
        local: false,
        modifiable: false,
        copyable: false,
        destroyable: true,
        encrypt: true,
        decrypt: false,
        wrap: false,
        unwrap: false,
        sign: false,
        verify: false,
        derive: false,
      });
      const { lib, holder } = login;
      expect(() => lib.C_DecryptInit(holder, { mechanism: CKM.AES_ECB }, key)).toThrow(
        'CKR_KEY_FUNCTION_NOT_PERMITTED',
      );
      expect(() => lib.C_GetAttributeValue(holder, key, [{ type: CKA.VALUE }])).toThrow(
        'CKR_ATTRIBUTE_SENSITIVE',
      );
      const widened = [{ type: CKA.DECRYPT, value: true }];
      expect(() => lib.C_SetAttributeValue(holder, key, widened)).toThrow('CKR_');
      expect(() => lib.C_CopyObject(holder, key, widened)).toThrow('CKR_');
    } finally {
      login.close();
    }
  });
});

function encryptZero(key: { encryptBlocks(blocks: Uint8Array): void }): string {
  const block = new Uint8Array(16);
  key.encryptBlocks(block);
  return Buffer.from(block).toString('hex');
}
