import { execFileSync } from 'node:child_process';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { openPkcs11Module } from '../../src/keys/pkcs11.ts';
import { logIn, type TokenAccess } from '../../src/keys/pkcs11-session.ts';
import {
  CKA,
  CKM,
  rootTemplate,
  signingPrivateTemplate,
  signingPublicTemplate,
} from '../../src/keys/pkcs11-templates.ts';
import { rootFaults, type SecurityFlags } from '../../src/keys/root-lint.ts';
import {
  CHECKPOINT_LABEL,
  initialiseRoots,
  lintRoots,
  listObjects,
  ROOT_LABEL,
  RootError,
} from '../../src/keys/roots.ts';
import { createTestToken, hasProgram, softHsmLibrary, type TestToken } from '../softhsm.ts';

const library = softHsmLibrary();

/** What the wrapping root must read back as. */
const WRAPPING: SecurityFlags = {
  token: true,
  private: true,
  sensitive: true,
  extractable: false,
  alwaysSensitive: true,
  neverExtractable: true,
  local: true,
  modifiable: false,
  copyable: false,
  destroyable: true,
  encrypt: false,
  decrypt: false,
  wrap: true,
  unwrap: true,
  sign: false,
  verify: false,
  derive: false,
};

describe.skipIf(library === undefined)('the ceremony in SoftHSM', () => {
  let token: TestToken;
  let access: TokenAccess;
  beforeEach(() => {
    token = createTestToken(library!);
    access = { library: token.library, token: token.token, pinSource: token.pinSource };
  });
  afterEach(() => token.remove());

  test('makes the two roots and reads every flag back', () => {
    const { made, objects } = initialiseRoots(access);
    expect(made).toEqual([ROOT_LABEL, CHECKPOINT_LABEL]);
    expect(lintRoots(objects)).toEqual([]);
    const root = objects.find(({ label }) => label === ROOT_LABEL);
    expect(root).toMatchObject({ kind: 'secret key', type: 'AES', flags: WRAPPING });
    expect(root?.id).toMatch(/^[0-9a-f]{16}$/);
    const pair = objects.filter(({ label }) => label === CHECKPOINT_LABEL);
    expect(pair.map(({ kind }) => kind).sort()).toEqual(['private key', 'public key']);
    expect(new Set(pair.map(({ id }) => id)).size).toBe(1);
    const secret = pair.find(({ kind }) => kind === 'private key')!;
    expect(secret.flags).toMatchObject({
      sign: true,
      decrypt: false,
      unwrap: false,
      derive: false,
    });
    expect(secret.flags).toMatchObject({ sensitive: true, extractable: false, modifiable: false });
    expect(listObjects(access)).toHaveLength(3);
  });

  test('refuses to make what is there; ifMissing leaves it as it is', () => {
    const first = initialiseRoots(access);
    expect(() => initialiseRoots(access)).toThrow(RootError);
    expect(() => initialiseRoots(access)).toThrow(/holds lockstep\.root\.v1, lockstep\.checkpoint/);
    const again = initialiseRoots(access, { ifMissing: true });
    expect(again.made).toEqual([]);
    expect(ids(again)).toEqual(ids(first));
  });

  test('ifMissing completes a ceremony that was cut short', () => {
    makeRoot(() => undefined);
    const { made, objects } = initialiseRoots(access, { ifMissing: true });
    expect(made).toEqual([CHECKPOINT_LABEL]);
    expect(objects).toHaveLength(3);
  });

  // Each of these an officer could make by a slip of a command; the engine must not use it.
  for (const [name, type, value] of [
    ['decrypt', CKA.DECRYPT, true],
    ['encrypt', CKA.ENCRYPT, true],
    ['derive', CKA.DERIVE, true],
    ['sign', CKA.SIGN, true],
    ['extractable', CKA.EXTRACTABLE, true],
    ['modifiable', CKA.MODIFIABLE, true],
    ['copyable', CKA.COPYABLE, true],
    ['wrap', CKA.WRAP, false],
    ['sensitive', CKA.SENSITIVE, false],
  ] as const) {
    test(`a root whose ${name} is ${value} is refused by name, at the ceremony and at work`, () => {
      makeRoot((attribute) => (attribute === type ? value : undefined));
      const wanted = `${ROOT_LABEL}: ${name} is ${value}`;
      expect(() => initialiseRoots(access, { ifMissing: true })).toThrow(wanted);
      const module = openPkcs11Module(access);
      try {
        expect(() => module.generateWrapped(ROOT_LABEL, 'k')).toThrow(
          expect.objectContaining({ code: 'CKR_KEY_FUNCTION_NOT_PERMITTED' }),
        );
      } finally {
        module.close();
      }
    });
  }

  test('a signing key that may do more than sign is refused by name', () => {
    const login = logIn(access, true);
    const id = Buffer.from('03', 'hex');
    const loose = signingPrivateTemplate(CHECKPOINT_LABEL, id).map((attribute) =>
      attribute.type === CKA.DERIVE ? { ...attribute, value: true } : attribute,
    );
    const pair = signingPublicTemplate(CHECKPOINT_LABEL, id);
    const mechanism = CKM.EC_EDWARDS_KEY_PAIR_GEN;
    login.lib.C_GenerateKeyPair(login.holder, { mechanism }, pair, loose);
    login.close();
    const wanted = `${CHECKPOINT_LABEL}: derive is true`;
    expect(() => initialiseRoots(access, { ifMissing: true })).toThrow(wanted);
    const module = openPkcs11Module(access);
    try {
      expect(() => module.sign(CHECKPOINT_LABEL, id)).toThrow(
        expect.objectContaining({ code: 'CKR_KEY_FUNCTION_NOT_PERMITTED' }),
      );
    } finally {
      module.close();
    }
  });

  test('two keys of the root’s label are refused: one of them was planted', () => {
    initialiseRoots(access);
    makeRoot(() => undefined);
    expect(lintRoots(listObjects(access))).toEqual([`${ROOT_LABEL}: 2 keys carry this label`]);
    const module = openPkcs11Module(access);
    try {
      expect(() => module.generateWrapped(ROOT_LABEL, 'k')).toThrow(
        expect.objectContaining({ code: 'CKR_KEY_HANDLE_INVALID' }),
      );
    } finally {
      module.close();
    }
  });

  test.skipIf(!hasProgram('pkcs11-tool'))('pkcs11-tool lists the roots', () => {
    initialiseRoots(access);
    const pin = ['--login', '--pin', token.pin, '--token-label', token.token];
    const args = ['--module', library!, ...pin, '--list-objects'];
    const list = execFileSync('pkcs11-tool', args, { env: token.env, encoding: 'utf8' });
    expect(list).toContain(`label:      ${ROOT_LABEL}`);
    expect(list).toMatch(/Secret Key Object; AES length 32/);
    expect(list).toMatch(/sensitive, always sensitive, never extractable, local/);
    expect(list.match(new RegExp(CHECKPOINT_LABEL.replaceAll('.', '\\.'), 'g'))).toHaveLength(2);
  });

  test.skipIf(!hasProgram('pkcs11-tool'))('a root made by pkcs11-tool --keygen is refused', () => {
    const pin = ['--login', '--pin', token.pin, '--token-label', token.token];
    const key = ['--keygen', '--key-type', 'AES:32', '--sensitive', '--usage-wrap'];
    const args = ['--module', library!, ...pin, ...key, '--label', ROOT_LABEL];
    execFileSync('pkcs11-tool', args, { env: token.env, stdio: 'ignore' });
    const faults = lintRoots(listObjects(access));
    expect(faults).toContain(`${ROOT_LABEL}: decrypt is true`);
    expect(faults).toContain(`${ROOT_LABEL}: modifiable is true`);
  });

  test.skipIf(!hasProgram('p11tool'))('p11tool prints the labels without escaping', () => {
    initialiseRoots(access);
    const args = ['--provider', library!, '--login', '--list-all', `pkcs11:token=${token.token}`];
    const env = { ...token.env, GNUTLS_PIN: token.pin };
    const list = execFileSync('p11tool', args, { env, encoding: 'utf8' });
    expect(list).toContain(`object=${ROOT_LABEL};type=secret-key`);
    expect(list).toContain(`object=${CHECKPOINT_LABEL};type=private`);
  });

  /** A wrapping root made by hand, some attributes changed. */
  function makeRoot(change: (type: number) => boolean | undefined): void {
    const login = logIn(access, true);
    try {
      const template = rootTemplate(ROOT_LABEL, Buffer.from('0102', 'hex')).map((attribute) => ({
        ...attribute,
        value: change(attribute.type) ?? attribute.value,
      }));
      login.lib.C_GenerateKey(login.holder, { mechanism: CKM.AES_KEY_GEN }, template);
    } finally {
      login.close();
    }
  }
});

const ids = ({ objects }: { objects: readonly { id: string }[] }): string[] =>
  objects.map(({ id }) => id);

test('an attribute that the module lacks passes only where it must be false', () => {
  expect(rootFaults('wrapping', WRAPPING)).toEqual([]);
  expect(rootFaults('wrapping', { ...WRAPPING, derive: undefined })).toEqual([]);
  expect(rootFaults('wrapping', { ...WRAPPING, extractable: undefined })).toEqual([
    'extractable is missing',
  ]);
  expect(rootFaults('wrapping', { ...WRAPPING, sensitive: undefined })).toEqual([
    'sensitive is missing',
  ]);
});

test('a root with a copy may have come from elsewhere, and still may not leave', () => {
  const received = { ...WRAPPING, local: false, alwaysSensitive: false, neverExtractable: false };
  expect(rootFaults('wrapping', received)).toHaveLength(3);
  expect(rootFaults('wrapping', received, 'wrapped')).toEqual([]);
  expect(rootFaults('wrapping', { ...received, extractable: true }, 'wrapped')).toEqual([
    'extractable is true',
  ]);
  expect(rootFaults('signing', received, 'wrapped')).toContain('local is false');
});
