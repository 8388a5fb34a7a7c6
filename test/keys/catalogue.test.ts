import { createHmac } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { DomainSpec } from '../../src/base/domain.ts';
import { canonicalJson } from '../../src/keys/canonical-json.ts';
import {
  type Catalogue,
  CatalogueError,
  catalogueHash,
  openCatalogue,
  peekCatalogueKey,
  sealCatalogue,
} from '../../src/keys/catalogue.ts';
import { readFileIfThere, writeFileAtomic } from '../../src/keys/catalogue-file.ts';
import type { WrappedKey } from '../../src/keys/key.ts';

// Any keyed function of 16 bytes does here; CMAC is built on top of the keys.
const macOf = (key: string) => (bytes: Uint8Array) =>
  Uint8Array.from(createHmac('sha256', key).update(bytes).digest().subarray(0, 16));
const mac = macOf('one');

const blob = Buffer.alloc(40, 9).toString('base64');
const domain: DomainSpec = {
  id: 'clinic/mrn',
  kind: 'fpe',
  format: 'digits:9',
  formatOptions: { prefix: 'M-' },
  safety: 'never-real',
  assigner: 'urn:oid:1.2.3',
  displayName: 'Číslo pacienta',
  onInvalid: 'reject',
  subjectRequired: false,
  listable: true,
  subjectsShared: false,
  population: 40_000,
  note: '',
  createdMs: 1_795_000_000_000,
  disabled: false,
};
const key = (owner: string, role: WrappedKey['role'], version = 1): WrappedKey => ({
  owner,
  role,
  version,
  root: 'lockstep.root.v1',
  blob,
  checkValue: '0123456789abcdef',
});
const catalogue: Catalogue = {
  format: 1,
  generation: 3,
  installation: '00112233445566778899aabbccddeeff',
  keys: [key('', 'catalogue'), key('', 'catalogue', 2), key('clinic/mrn', 'fpe')],
  domains: [domain],
};

describe('the sealed catalogue', () => {
  const sealed = sealCatalogue(catalogue, mac);

  test('opens to what was sealed, and its hash is over the canonical bytes', () => {
    expect(openCatalogue(sealed, mac)).toEqual(catalogue);
    expect(catalogueHash(openCatalogue(sealed, mac))).toEqual(catalogueHash(catalogue));
    expect(Buffer.from(sealed).toString()).toMatch(/^\{"catalogue":\{"domains":\[/);
  });

  test('the order of fields does not change its bytes', () => {
    const shuffled = Object.fromEntries(
      Object.entries(catalogue).reverse(),
    ) as unknown as Catalogue;
    expect(sealCatalogue(shuffled, mac)).toEqual(sealed);
  });

  test('every byte flipped, left out or doubled is refused', () => {
    for (let i = 0; i < sealed.length; i++) {
      for (const bad of [flipped(sealed, i), without(sealed, i), doubled(sealed, i)]) {
        expect(() => openCatalogue(bad, mac), `byte ${i}`).toThrow(CatalogueError);
      }
    }
  });

  test('another key, an older MAC, and another installation are refused', () => {
    expect(() => openCatalogue(sealed, macOf('two'))).toThrow(CatalogueError);
    const older = sealCatalogue({ ...catalogue, generation: 2 }, mac);
    const mixed = Buffer.from(sealed);
    Buffer.from(older).copy(mixed, mixed.length - 40, older.length - 40);
    expect(() => openCatalogue(mixed, mac)).toThrow(CatalogueError);
  });

  test('a duplicate name, a space and other spellings are refused even with a right MAC', () => {
    const text = Buffer.from(sealed).toString();
    for (const bad of [
      text.replace('"format":1', '"format":1,"format":1'),
      text.replace('"format":1', '"format": 1'),
      text.replace('"format":1', '"format":1.0'),
      text.replace('clinic/mrn', 'clinic\\/mrn'),
      text.trimEnd(),
      `${text}\n`,
    ]) {
      expect(bad).not.toBe(text);
      expect(() => openCatalogue(Buffer.from(bad), mac)).toThrow(CatalogueError);
    }
  });

  test('the newest catalogue key is found before anything is believed', () => {
    expect(peekCatalogueKey(sealed)).toEqual(key('', 'catalogue', 2));
    const none = sealCatalogue({ ...catalogue, keys: [] }, mac);
    expect(() => peekCatalogueKey(none)).toThrow(CatalogueError);
    expect(() => peekCatalogueKey(Buffer.from('{'))).toThrow(CatalogueError);
  });
});

// A bad field is refused though it carries a right MAC: an older or newer program wrote it.
test.each<[string, unknown]>([
  ['a format to come', { ...catalogue, format: 2 }],
  ['generation 0', { ...catalogue, generation: 0 }],
  ['an unknown field', { ...catalogue, more: 1 }],
  ['no keys', { ...catalogue, keys: undefined }],
  ['a short installation', { ...catalogue, installation: '00' }],
  ['an unknown role', withKey({ role: 'master' as WrappedKey['role'] })],
  ['a version twice', { ...catalogue, keys: [key('', 'idem'), key('', 'idem')] }],
  ['a domain role without a domain', { ...catalogue, keys: [key('', 'fpe')] }],
  ['an installation role in a domain', { ...catalogue, keys: [key('clinic/mrn', 'idem')] }],
  ['a key of no domain', { ...catalogue, keys: [key('clinic/other', 'fpe')] }],
  ['a short blob', withKey({ blob: 'AAAA' })],
  ['a blob with spare bits', withKey({ blob: blob.replace(/Q==$/, 'R==') })],
  ['a check value in capitals', withKey({ checkValue: '0123456789ABCDEF' })],
  ['a field of a key too many', withKey({ more: '' } as object)],
  ['a domain twice', { ...catalogue, domains: [domain, domain] }],
  ['a domain without an organisation', withDomain({ id: 'mrn' })],
  ['a kind unknown', withDomain({ kind: 'magic' as DomainSpec['kind'] })],
  ['a population below zero', withDomain({ population: -1 })],
  ['options that are no text', withDomain({ formatOptions: { a: 1 } as never })],
  ['a field of a domain too many', withDomain({ more: 1 } as object)],
])('refused: %s', (_, bad) => {
  const text = JSON.stringify({ catalogue: bad, mac: '0'.repeat(32) });
  const tag = tryHash(bad);
  const sealed = Buffer.from(`${sorted(text, tag)}\n`);
  expect(() => openCatalogue(sealed, mac)).toThrow(CatalogueError);
});

describe('the file', () => {
  test('is replaced whole, mode 0600, and leaves nothing beside it', () => {
    const folder = mkdtempSync(join(tmpdir(), 'lockstep-catalogue-'));
    try {
      const path = join(folder, 'catalogue.json');
      expect(readFileIfThere(path)).toBeUndefined();
      writeFileAtomic(path, Buffer.from('one'));
      writeFileSync(`${path}.new`, 'left by a crash', { mode: 0o666 });
      writeFileAtomic(path, Buffer.alloc(100_000, 'two'));
      expect(readFileSync(path)).toEqual(Buffer.alloc(100_000, 'two'));
      expect(statSync(path).mode & 0o777).toBe(0o600);
      expect(existsSync(`${path}.new`)).toBe(false);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});

describe('canonical JSON', () => {
  test('parses back to the same value, and says the same of it again', () =>
    fc.assert(
      fc.property(
        fc.jsonValue({ noUnicodeString: false }).filter((value) => integersOnly(value)),
        (value) => {
          const text = canonicalJson(value);
          expect(JSON.parse(text)).toEqual(value);
          expect(canonicalJson(JSON.parse(text))).toBe(text);
        },
      ),
    ));

  test('sorts names by UTF-16 code units (RFC 8785 §3.2.3)', () => {
    const value = { '\u20ac': 1, '\r': 2, '\ufb33': 3, '1': 4, '\ud83d\ude00': 5, '\u0080': 6 };
    expect(Object.values(JSON.parse(canonicalJson(value)) as object)).toEqual([4, 2, 6, 1, 5, 3]);
  });

  test.each([1.5, 2 ** 53, -0, Number.NaN, undefined, '\ud800', new Date(0), [undefined]])(
    'refuses %s',
    (value) => expect(() => canonicalJson(value)).toThrow(TypeError),
  );
});

function withKey(changed: Partial<WrappedKey>): unknown {
  return { ...catalogue, keys: [{ ...key('clinic/mrn', 'fpe'), ...changed }] };
}

function withDomain(changed: Partial<DomainSpec>): unknown {
  return { ...catalogue, keys: [], domains: [{ ...domain, ...changed }] };
}

/** The MAC as if `bad` had been sealed. */
function tryHash(bad: unknown): string {
  const plain: unknown = JSON.parse(JSON.stringify(bad));
  return Buffer.from(mac(catalogueHash(plain as Catalogue))).toString('hex');
}

function sorted(text: string, tag: string): string {
  const envelope = JSON.parse(text) as object;
  return canonicalJson({ ...envelope, mac: tag });
}

function integersOnly(value: unknown): boolean {
  if (typeof value === 'number') return Number.isSafeInteger(value) && !Object.is(value, -0);
  if (typeof value === 'string') return value.isWellFormed();
  if (typeof value !== 'object' || value === null) return true;
  return Object.entries(value).every(([name, each]) => name.isWellFormed() && integersOnly(each));
}

function flipped(bytes: Uint8Array, i: number): Uint8Array {
  const bad = Uint8Array.from(bytes);
  bad[i]! ^= 1 << (i % 8);
  return bad;
}

const without = (bytes: Uint8Array, i: number): Uint8Array =>
  Buffer.concat([bytes.subarray(0, i), bytes.subarray(i + 1)]);

const doubled = (bytes: Uint8Array, i: number): Uint8Array =>
  Buffer.concat([bytes.subarray(0, i + 1), bytes.subarray(i)]);
