import { execFileSync } from 'node:child_process';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { KeyModule } from '../../src/keys/key.ts';
import { openPkcs11Module } from '../../src/keys/pkcs11.ts';
import type { TokenAccess } from '../../src/keys/pkcs11-session.ts';
import { initialiseRoots, listObjects } from '../../src/keys/roots.ts';
import type { TapEvent } from '../../src/keys/tap.ts';
import { createTestToken, hasProgram, softHsmLibrary, type TestToken } from '../softhsm.ts';

const library = softHsmLibrary();
const LABEL = 'lockstep.head.test';
const bytes = (fill: number): Uint8Array => new Uint8Array(100).fill(fill);

describe.skipIf(library === undefined)('data objects in SoftHSM', () => {
  let token: TestToken;
  let access: TokenAccess;
  beforeAll(() => {
    token = createTestToken(library!);
    access = { library: token.library, token: token.token, pinSource: token.pinSource };
    initialiseRoots(access);
  });
  afterAll(() => token.remove());

  function withModule<T>(use: (module: KeyModule) => T, tap?: (event: TapEvent) => void): T {
    const module = openPkcs11Module(
      tap === undefined ? access : { ...access, tap: { called: tap } },
    );
    try {
      return use(module);
    } finally {
      module.close();
    }
  }

  test('outlive the login, one under its label, and officers see them', () => {
    withModule((module) => {
      module.replaceData(LABEL, () => bytes(1));
      module.replaceData(LABEL, () => bytes(2));
      module.replaceData('another', () => bytes(3));
    });
    expect(withModule((module) => module.readData(LABEL))).toEqual([bytes(2)]);
    const seen = listObjects(access).filter(({ kind }) => kind === 'data');
    expect(seen.map(({ label, flags }) => [label, flags.private])).toEqual([
      ['another', true],
      [LABEL, true],
    ]);
  });

  test('a crash after the new one is made leaves both, and the next replacing leaves one', () => {
    const crash = (event: TapEvent): void => {
      if (event.name === 'C_DestroyObject' && armed) throw new Error('CKR_DEVICE_REMOVED:50');
    };
    let armed = false;
    withModule((module) => {
      module.replaceData(LABEL, () => bytes(4));
      armed = true;
      expect(() => module.replaceData(LABEL, () => bytes(5))).toThrow('CKR_DEVICE_REMOVED');
    }, crash);
    withModule((module) => {
      const both = [...module.readData(LABEL)].sort((a, b) => a[0]! - b[0]!);
      expect(both).toEqual([bytes(4), bytes(5)]);
      module.replaceData(LABEL, (found) => {
        expect(found).toHaveLength(2);
        return bytes(6);
      });
      expect(module.readData(LABEL)).toEqual([bytes(6)]);
    });
  });

  test('one that fails before the new one is made leaves the old', () => {
    let armed = false;
    const fail = (event: TapEvent): void => {
      if (event.name === 'C_CreateObject' && armed) throw new Error('CKR_DEVICE_MEMORY:49');
    };
    withModule((module) => {
      armed = true;
      expect(() => module.replaceData(LABEL, () => bytes(7))).toThrow('CKR_DEVICE_MEMORY');
      expect(module.readData(LABEL)).toEqual([bytes(6)]);
    }, fail);
  });

  const OTHER = new URL('./data-writer.ts', import.meta.url).pathname;
  const elsewhere = (fill: number): void => {
    const words = [OTHER, access.library, access.token, access.pinSource, LABEL, String(fill)];
    execFileSync(process.execPath, words, { env: token.env });
  };

  test('what another process made is seen, and replaced whole', () =>
    withModule((module) => {
      expect(module.readData(LABEL)).toEqual([bytes(6)]);
      elsewhere(7);
      module.replaceData(LABEL, (found) => {
        expect(found).toEqual([bytes(7)]);
        return bytes(8);
      });
      elsewhere(9);
      expect(module.readData(LABEL)).toEqual([bytes(9)]);
    }));

  test('what another process makes in the very moment stays', () => {
    withModule((module) => {
      module.replaceData(LABEL, () => {
        elsewhere(10);
        return bytes(11);
      });
    });
    withModule((module) => {
      const both = [...module.readData(LABEL)].sort((a, b) => a[0]! - b[0]!);
      expect(both).toEqual([bytes(10), bytes(11)]);
      module.replaceData(LABEL, () => bytes(9));
    });
  });

  test.skipIf(!hasProgram('pkcs11-tool'))('a public object of the name is never looked at', () => {
    const words = ['--module', access.library, '--token-label', access.token];
    words.push('--login', '--pin', token.pin, '--type', 'data', '--write-object', access.pinSource);
    words.push('--label', LABEL, '--application-label', 'lockstep');
    execFileSync('pkcs11-tool', words, { env: token.env, stdio: 'pipe' });
    const planted = listObjects(access).filter(({ label }) => label === LABEL);
    expect(planted.map(({ flags }) => flags.private).sort()).toEqual([false, true]);
    expect(withModule((module) => module.readData(LABEL))).toEqual([bytes(9)]);
  });
});
