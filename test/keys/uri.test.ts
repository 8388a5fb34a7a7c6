import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { matches, parsePkcs11Uri, pinFile, UriError } from '../../src/keys/uri.ts';

describe('RFC 7512 §3, the examples', () => {
  test.each([
    ['pkcs11:', {}],
    ['pkcs11:object=my-pubkey;type=public', { object: 'my-pubkey', type: 'public' }],
    [
      'pkcs11:object=my-key;type=private?pin-source=file:/etc/token',
      { object: 'my-key', type: 'private', 'pin-source': 'file:/etc/token' },
    ],
    [
      'pkcs11:token=The%20Software%20PKCS%2311%20Softtoken;manufacturer=Snake%20Oil,%20Inc.;model=1.0;object=my-certificate;type=cert;id=%69%95%3E%5C%F4%BD%EC%91;serial=?pin-source=file:/etc/token_pin',
      {
        token: 'The Software PKCS#11 Softtoken',
        manufacturer: 'Snake Oil, Inc.',
        model: '1.0',
        object: 'my-certificate',
        type: 'cert',
        id: Uint8Array.of(0x69, 0x95, 0x3e, 0x5c, 0xf4, 0xbd, 0xec, 0x91),
        serial: '',
        'pin-source': 'file:/etc/token_pin',
      },
    ],
    [
      'pkcs11:object=my-sign-key;type=private?module-name=mypkcs11',
      { object: 'my-sign-key', type: 'private', 'module-name': 'mypkcs11' },
    ],
    [
      'pkcs11:object=my-sign-key;type=private?module-path=/mnt/libmypkcs11.so.1',
      { object: 'my-sign-key', type: 'private', 'module-path': '/mnt/libmypkcs11.so.1' },
    ],
    [
      'pkcs11:token=Software%20PKCS%2311%20softtoken;manufacturer=Snake%20Oil,%20Inc.?pin-source=/etc/p',
      {
        token: 'Software PKCS#11 softtoken',
        manufacturer: 'Snake Oil, Inc.',
        'pin-source': '/etc/p',
      },
    ],
    ['pkcs11:slot-description=Sun%20Metaslot', { 'slot-description': 'Sun Metaslot' }],
    [
      'pkcs11:library-manufacturer=Snake%20Oil,%20Inc.;library-description=Soft%20Token%20Library;library-version=1.23',
      {
        'library-manufacturer': 'Snake Oil, Inc.',
        'library-description': 'Soft Token Library',
        'library-version': '1.23',
      },
    ],
    ['pkcs11:slot-id=327', { 'slot-id': 327 }],
    [
      'pkcs11:token=My%20token%25%20created%20by%20Joe;object=my-certificate',
      { token: 'My token% created by Joe', object: 'my-certificate' },
    ],
    [
      'pkcs11:token=A%20name%20with%20a%20substring%20%25%3B;object=my-certificate;type=cert',
      { token: 'A name with a substring %;', object: 'my-certificate', type: 'cert' },
    ],
    [
      'pkcs11:token=Name%20with%20a%20small%20A%20with%20acute:%20%C3%A1;object=my-certificate',
      { token: 'Name with a small A with acute: á', object: 'my-certificate' },
    ],
    [
      'pkcs11:token=my-token;object=my-certificate;type=cert;x-vend-aaa=value-a',
      {
        token: 'my-token',
        object: 'my-certificate',
        type: 'cert',
      },
    ],
  ])('%s', (text, wanted) => expect(parsePkcs11Uri(text)).toEqual(wanted));
});

test.each([
  ['pkcs12:object=a', 'begins with'],
  ['pkcs11:object=a?pin-value=1234', 'pin-value is refused'],
  ['pkcs11:object=a;object=b', 'appears twice'],
  ['pkcs11:objekt=a', 'unknown attribute'],
  ['pkcs11:type=key', 'type is none'],
  ['pkcs11:slot-id=-1', 'slot-id'],
  ['pkcs11:slot-id=', 'slot-id'],
  ['pkcs11:object', 'without a name'],
  ['pkcs11:object=a;', 'without a name'],
  ['pkcs11:object=a b', 'percent-encode'],
  ['pkcs11:object=a%2', 'percent-encode'],
  ['pkcs11:object=%FF', 'UTF-8'],
  ['pkcs11:object=a?module-path=/a?module-path=/b', 'one query'],
])('%s is refused', (text, why) => {
  expect(() => parsePkcs11Uri(text)).toThrow(UriError);
  expect(() => parsePkcs11Uri(text)).toThrow(why);
});

test('a refused pin-value is not in the message', () => {
  expect(() => parsePkcs11Uri('pkcs11:token=t?pin-value=s3cret')).toThrow(
    expect.not.objectContaining({ message: expect.stringContaining('s3cret') }),
  );
});

test('any id and any label survive percent-encoding', () =>
  fc.assert(
    fc.property(fc.uint8Array(), fc.string({ unit: 'grapheme' }), (id, label) => {
      const hex = Array.from(id, (byte) => `%${byte.toString(16).padStart(2, '0')}`).join('');
      const uri = parsePkcs11Uri(`pkcs11:id=${hex};object=${encodeURIComponent(label)}`);
      expect(uri.id).toEqual(id);
      expect(uri.object).toBe(label);
    }),
  ));

test('matches: every attribute of the URI must be known and equal', () => {
  const facts = { token: 'clinic', object: 'lockstep.root.v1', id: Uint8Array.of(1, 2) };
  const match = (text: string): boolean => matches(parsePkcs11Uri(text), facts);
  expect(match('pkcs11:')).toBe(true);
  expect(match('pkcs11:token=clinic;id=%01%02?module-path=/x&pin-source=/y')).toBe(true);
  expect(match('pkcs11:token=Clinic')).toBe(false);
  expect(match('pkcs11:id=%01')).toBe(false);
  expect(match('pkcs11:token=clinic;serial=1')).toBe(false);
});

test('pin-source is a file, never a command', () => {
  for (const source of [
    '/etc/pin',
    'file:/etc/pin',
    'file:///etc/pin',
    'file://localhost/etc/pin',
  ]) {
    expect(pinFile(source)).toBe('/etc/pin');
  }
  for (const source of [
    '|cat /etc/pin',
    'pin',
    'https://example.org/pin',
    'file://other/pin',
    '',
  ]) {
    expect(() => pinFile(source)).toThrow(UriError);
  }
});
