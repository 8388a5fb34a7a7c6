import { describe, expect, test } from 'vitest';
import { openAuthenticator, type Peer } from '../../src/auth/authenticator.ts';
import { addressOf, isLoopback } from '../../src/auth/dev.ts';
import { CallError } from '../../src/base/call-error.ts';

const callers = [
  { id: 'dev:dev', organisation: 'clinic' },
  { id: 'dev:clinician', organisation: 'clinic', grants: [] },
  { id: 'spiffe://clinic.example/ehr', organisation: 'clinic' },
];
const development = openAuthenticator({ callers, development: true });
const production = openAuthenticator({ callers, development: false });

const peer = (address: string, header?: string, certificateSan?: string): Peer => ({
  address,
  certificateSan,
  metadata: (name) => (name === 'lockstep-dev-caller' ? header : undefined),
});

function who(server: typeof development, one: Peer): string {
  try {
    return server.identify(one).id;
  } catch (error) {
    expect(error).toBeInstanceOf(CallError);
    return (error as CallError).reason;
  }
}
const INVALID = 'IDENTITY_INVALID';
const EHR_SAN = 'URI:spiffe://clinic.example/ehr';

describe('a development server', () => {
  test.each([
    ['nobody named', peer('127.0.0.1'), 'dev:dev'],
    ['a configured caller', peer('127.0.0.1', 'clinician'), 'dev:clinician'],
    ['over IPv6', peer('::1', 'clinician'), 'dev:clinician'],
    ['over IPv4 within IPv6', peer('::ffff:127.0.0.1'), 'dev:dev'],
    ['somebody else', peer('127.0.0.1', 'officer'), INVALID],
    ['a whole id', peer('127.0.0.1', 'dev:clinician'), INVALID],
    ['an empty name', peer('127.0.0.1', ''), INVALID],
    ['a name in upper case', peer('127.0.0.1', 'Clinician'), INVALID],
    ['two names', peer('127.0.0.1', 'dev, clinician'), INVALID],
    ['a caller of certificates', peer('127.0.0.1', 'spiffe://clinic.example/ehr'), INVALID],
    ['from the network', peer('10.0.0.7'), INVALID],
    ['from an unknown address', peer(''), INVALID],
    ['from a name', peer('localhost'), INVALID],
    ['with a certificate', peer('10.0.0.7', undefined, EHR_SAN), 'spiffe://clinic.example/ehr'],
    [
      'a header beside a certificate',
      peer('127.0.0.1', 'dev', EHR_SAN),
      'spiffe://clinic.example/ehr',
    ],
    ['a bad certificate is no way in', peer('127.0.0.1', 'dev', 'DNS:*'), INVALID],
    ['nor is an empty one', peer('127.0.0.1', 'dev', ''), INVALID],
  ])('%s', (_name, one, wanted) => {
    expect(who(development, one)).toBe(wanted);
  });

  test('gives out a caller and no grants', () => {
    const caller = development.identify(peer('127.0.0.1', 'clinician'));
    expect(caller).toEqual({ id: 'dev:clinician', organisation: 'clinic' });
  });
});

describe('any other server', () => {
  test('knows certificates only', () => {
    expect(who(production, peer('127.0.0.1'))).toBe(INVALID);
    expect(who(production, peer('127.0.0.1', 'dev'))).toBe(INVALID);
    expect(who(production, peer('127.0.0.1', 'dev', EHR_SAN))).toBe('spiffe://clinic.example/ehr');
  });
});

test.each([
  ['127.0.0.1', true],
  ['127.255.0.9', true],
  ['::1', true],
  ['::ffff:127.0.0.1', true],
  ['::FFFF:127.0.0.1', true],
  ['128.0.0.1', false],
  ['0.0.0.0', false],
  ['::', false],
  ['::ffff:10.0.0.1', false],
  ['::ffff:::1', false],
  ['127.1', false],
  ['127.0.0.1.evil.example', false],
  ['127.0.0.1:80', false],
  ['0177.0.0.1', false],
  ['', false],
])('isLoopback %s: %j', (address, loopback) => {
  expect(isLoopback(address)).toBe(loopback);
});

test.each([
  ['127.0.0.1:41000', '127.0.0.1'],
  ['::1:41000', '::1'],
  ['::1:4100', '::1'],
  ['[::1]:41000', '::1'],
  ['::ffff:127.0.0.1:80', '::ffff:127.0.0.1'],
  ['unknown', ''],
  ['127.0.0.1', ''],
  ['', ''],
  ['127.0.0.1:', ''],
  ['localhost:80', ''],
  ['/run/lockstep.sock', ''],
  ['127.0.0.1:80:', ''],
])('addressOf %s: "%s"', (text, address) => {
  expect(addressOf(text)).toBe(address);
});
