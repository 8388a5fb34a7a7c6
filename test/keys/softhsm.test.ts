import { createCipheriv } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import fc from 'fast-check';
import { afterEach, describe, expect, test } from 'vitest';
import { openPkcs11Module } from '../../src/keys/pkcs11.ts';
import { codeName, moduleErrorOf } from '../../src/keys/pkcs11-codes.ts';
import { wrapOutside } from '../../src/keys/pkcs11-wrap.ts';
import { initialiseRoots, ROOT_LABEL } from '../../src/keys/roots.ts';
import { createSoftHsmToken } from '../../src/keys/softhsm.ts';
import { createTestToken, softHsmLibrary, type TestToken } from '../softhsm.ts';

const library = softHsmLibrary();

describe.skipIf(library === undefined)('createSoftHsmToken', () => {
  const tokens: TestToken[] = [];
  const made = (label?: string): TestToken => {
    const token = createTestToken(library!, label);
    tokens.push(token);
    return token;
  };
  afterEach(() => {
    for (const token of tokens.splice(0)) token.remove();
  });

  test('makes the folder, its configuration and the PIN file, closed to others', () => {
    const token = made();
    expect(token.made).toBe(true);
    expect(statSync(`${token.folder}/tokens`).mode & 0o777).toBe(0o700);
    expect(statSync(token.pinSource).mode & 0o777).toBe(0o600);
    expect(statSync(token.conf).mode & 0o777).toBe(0o600);
    expect(readFileSync(token.pinSource, 'utf8')).toBe(`${token.pin}\n`);
  });

  test('a second call keeps the token, its PIN and its keys', () => {
    const token = made();
    initialiseRoots(token);
    const again = createSoftHsmToken({ ...token, label: token.token, pin: 'another-pin' });
    expect(again.made).toBe(false);
    const module = openPkcs11Module(again);
    expect(module.generateWrapped(ROOT_LABEL, 'k').blob).toHaveLength(40);
    module.close();
  });

  test('blobs outlive the process’s login, and do not open under another token’s root', () => {
    const one = made('one');
    initialiseRoots(one);
    let module = openPkcs11Module(one);
    const { blob, key } = module.generateWrapped(ROOT_LABEL, 'k');
    const before = new Uint8Array(16);
    key.encryptBlocks(before);
    module.close();

    const two = made('žeton 2');
    initialiseRoots(two);
    module = openPkcs11Module(two);
    expect(() => module.unwrap(ROOT_LABEL, 'k', blob)).toThrow();
    module.close();

    process.env['SOFTHSM2_CONF'] = one.conf;
    module = openPkcs11Module(one);
    const after = new Uint8Array(16);
    module.unwrap(ROOT_LABEL, 'k', blob).encryptBlocks(after);
    module.close();
    expect(after).toEqual(before);
  });
});

// OpenSSL's RFC 5649 is the oracle of the one that finds the mechanism.
test('wrapOutside equals id-aes256-wrap-pad', () =>
  fc.assert(
    fc.property(bytes32(), bytes32(), (kek, key) => {
      const encrypt = (block: Buffer): Buffer =>
        createCipheriv('aes-256-ecb', kek, null).setAutoPadding(false).update(block);
      const iv = Buffer.from('a65959a6', 'hex');
      const oracle = createCipheriv('id-aes256-wrap-pad', kek, iv);
      const wanted = Buffer.concat([oracle.update(key), oracle.final()]);
      expect(Buffer.from(wrapOutside(key, encrypt)).equals(wanted)).toBe(true);
    }),
  ));

test('codes have their names, a vendor’s its number', () => {
  expect(codeName(0xa0)).toBe('CKR_PIN_INCORRECT');
  expect(codeName(0x1b)).toBe('CKR_ACTION_PROHIBITED');
  expect(codeName(0x8000_0001)).toBe('CKR_0x80000001');
  expect(moduleErrorOf(new Error('CKR_VENDOR_DEFINED:27')).code).toBe('CKR_ACTION_PROHIBITED');
  expect(moduleErrorOf(new TypeError('something else')).code).toBe('CKR_FUNCTION_FAILED');
});

const bytes32 = () => fc.uint8Array({ minLength: 32, maxLength: 32 });
