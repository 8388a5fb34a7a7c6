import { generateKeyPairSync, type KeyObject, randomBytes, sign } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

// Certificates byte by byte (X.690, RFC 5280, RFC 8410), so that no tool has to be there and none
// refuses to write what is wrong.

/** PEM files of one certificate. */
export interface PemFiles {
  readonly cert: string;
  readonly key: string;
}

/** Entries of a subjectAltName; an IPv4 address as it is written. */
export type AltName = readonly [type: 'dns' | 'uri' | 'ip', value: string];

export interface LeafOptions {
  readonly names: readonly AltName[];
  /** Days from now that it begins and ends; default: yesterday to tomorrow. */
  readonly days?: readonly [from: number, to: number];
  readonly usage?: 'client' | 'server';
}

const DAY_MS = 86_400_000;

function der(tag: number, ...parts: readonly Uint8Array[]): Buffer {
  const body = Buffer.concat(parts);
  const { length } = body;
  const head = length < 0x80 ? [length] : [0x82, length >> 8, length & 0xff];
  return Buffer.concat([Uint8Array.of(tag, ...head), body]);
}

const sequence = (...parts: readonly Uint8Array[]): Buffer => der(0x30, ...parts);
const oid = (...bytes: readonly number[]): Buffer => der(0x06, Uint8Array.from(bytes));
const bits = (value: Uint8Array): Buffer => der(0x03, Uint8Array.of(0), value);
const yes = der(0x01, Uint8Array.of(0xff));

const ED25519 = sequence(oid(0x2b, 0x65, 0x70));
const COMMON_NAME = oid(0x55, 0x04, 0x03);
const BASIC_CONSTRAINTS = oid(0x55, 0x1d, 0x13);
const EXTENDED_KEY_USAGE = oid(0x55, 0x1d, 0x25);
const SUBJECT_ALT_NAME = oid(0x55, 0x1d, 0x11);
const SERVER_AUTH = oid(0x2b, 6, 1, 5, 5, 7, 3, 1);
const CLIENT_AUTH = oid(0x2b, 6, 1, 5, 5, 7, 3, 2);
const NAME_TAGS = { dns: 0x82, uri: 0x86, ip: 0x87 } as const;

const nameOf = (text: string): Buffer =>
  sequence(der(0x31, sequence(COMMON_NAME, der(0x0c, Buffer.from(text)))));

/** UTCTime, which counts to 2049. */
const timeOf = (day: number): Buffer => {
  const text = new Date(Date.now() + day * DAY_MS).toISOString().replaceAll(/[-:T]|\.\d+/g, '');
  return der(0x17, Buffer.from(text.slice(2)));
};

function altNamesOf(names: readonly AltName[]): Buffer {
  const entries = names.map(([type, value]) => {
    const bytes = type === 'ip' ? Uint8Array.from(value.split('.').map(Number)) : value;
    return der(NAME_TAGS[type], Buffer.from(bytes));
  });
  return sequence(SUBJECT_ALT_NAME, der(0x04, sequence(...entries)));
}

interface Body {
  readonly issuer: string;
  readonly subject: string;
  readonly days: readonly [from: number, to: number];
  readonly publicKey: KeyObject;
  readonly extensions: readonly Uint8Array[];
}

function certificatePem(body: Body, signer: KeyObject): string {
  const { issuer, subject, days, publicKey, extensions } = body;
  const whole = sequence(
    der(0xa0, der(0x02, Uint8Array.of(2))), // Version 3.
    der(0x02, Uint8Array.of(1), randomBytes(8)),
    ED25519,
    nameOf(issuer),
    sequence(...days.map(timeOf)),
    nameOf(subject),
    publicKey.export({ format: 'der', type: 'spki' }),
    der(0xa3, sequence(...extensions)),
  );
  const certificate = sequence(whole, ED25519, bits(sign(null, whole, signer)));
  const lines = certificate.toString('base64').replaceAll(/.{64}/g, '$&\n');
  return `-----BEGIN CERTIFICATE-----\n${lines}\n-----END CERTIFICATE-----\n`;
}

/** An authority whose files stand in one folder. */
export class Authority {
  readonly #folder: string;
  readonly #name: string;
  readonly #key: KeyObject;
  /** PEM file of its own certificate. */
  readonly file: string;

  constructor(folder: string, name: string) {
    const { publicKey, privateKey } = generateKeyPairSync('ed25519');
    this.#folder = folder;
    this.#name = name;
    this.#key = privateKey;
    this.file = join(folder, `${name}.crt`);
    const isAuthority = sequence(BASIC_CONSTRAINTS, yes, der(0x04, sequence(yes)));
    const body = { issuer: name, subject: name, days: [-1, 1], extensions: [isAuthority] } as const;
    writeFileSync(this.file, certificatePem({ ...body, publicKey }, privateKey));
  }

  /** A certificate of this authority. */
  issue(file: string, options: LeafOptions): PemFiles {
    return leaf(this.#folder, file, options, { name: this.#name, key: this.#key });
  }
}

/** A certificate that is its own authority. */
export const selfSigned = (folder: string, file: string, options: LeafOptions): PemFiles =>
  leaf(folder, file, options, undefined);

function leaf(
  folder: string,
  file: string,
  { names, days = [-1, 1], usage = 'client' }: LeafOptions,
  issuer: { readonly name: string; readonly key: KeyObject } | undefined,
): PemFiles {
  const { publicKey, privateKey } = generateKeyPairSync('ed25519');
  const purpose = usage === 'client' ? CLIENT_AUTH : SERVER_AUTH;
  const extensions = [
    sequence(EXTENDED_KEY_USAGE, der(0x04, sequence(purpose))),
    ...(names.length === 0 ? [] : [altNamesOf(names)]),
  ];
  const body = { issuer: issuer?.name ?? file, subject: file, days, publicKey, extensions };
  const files = { cert: join(folder, `${file}.crt`), key: join(folder, `${file}.key`) };
  writeFileSync(files.cert, certificatePem(body, issuer?.key ?? privateKey));
  const pem = privateKey.export({ format: 'pem', type: 'pkcs8' });
  writeFileSync(files.key, pem, { mode: 0o600 });
  return files;
}
