import { generateKeyPairSync, sign, X509Certificate } from 'node:crypto';

/** Types of RFC 5280 GeneralName that a test needs, by their context tag. */
const TAGS = { email: 0x81, dns: 0x82, url: 0x86 } as const;
export type Name = readonly [keyof typeof TAGS, string];

const der = (tag: number, ...parts: Uint8Array[]): Uint8Array => {
  const body = Buffer.concat(parts);
  const length = body.length < 0x80 ? [body.length] : [0x82, body.length >> 8, body.length & 0xff];
  return Buffer.concat([Uint8Array.of(tag, ...length), body]);
};
const sequence = (...parts: Uint8Array[]): Uint8Array => der(0x30, ...parts);
const text = (tag: number, value: string): Uint8Array => der(tag, Buffer.from(value, 'latin1'));
const bits = (value: Uint8Array): Uint8Array => der(0x03, Uint8Array.of(0), value);

const ED25519 = sequence(der(0x06, Uint8Array.of(0x2b, 0x65, 0x70)));
const SUBJECT_ALT_NAME = der(0x06, Uint8Array.of(0x55, 0x1d, 0x11));
const COMMON_NAME = der(0x06, Uint8Array.of(0x55, 0x04, 0x03));

/** A self-signed certificate, byte by byte, since no decent tool writes names as bad as these. */
export function certificateWith(names: readonly Name[]): X509Certificate {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519');
  const name = sequence(der(0x31, sequence(COMMON_NAME, text(0x0c, 'test'))));
  const altNames = sequence(...names.map(([type, value]) => text(TAGS[type], value)));
  const extension = sequence(SUBJECT_ALT_NAME, der(0x04, altNames));
  const body = sequence(
    der(0xa0, der(0x02, Uint8Array.of(2))), // Version 3.
    der(0x02, Uint8Array.of(1)),
    ED25519,
    name,
    sequence(text(0x17, '260101000000Z'), text(0x17, '360101000000Z')),
    name,
    publicKey.export({ format: 'der', type: 'spki' }),
    der(0xa3, sequence(extension)),
  );
  const whole = sequence(body, ED25519, bits(sign(null, body, privateKey)));
  const certificate = new X509Certificate(whole);
  if (!certificate.verify(publicKey)) throw new Error('the test made a bad certificate');
  return certificate;
}
