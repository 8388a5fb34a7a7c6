import { describe, expect, test } from 'vitest';
import { callerOfCertificate, directoryOf, isCallerId } from '../../src/auth/identity.ts';
import { CallError } from '../../src/base/call-error.ts';
import { certificateWith } from './certificate.ts';

const EHR = 'spiffe://clinic.example/ehr';
const callers = directoryOf([
  { id: EHR, organisation: 'clinic' },
  { id: 'spiffe://clinic.example/ehr/write', organisation: 'clinic' },
  { id: 'dns:billing.clinic.example', organisation: 'clinic' },
  // Ids that no certificate can prove, even where someone configured them.
  { id: 'spiffe://clinic.example', organisation: 'clinic' },
  { id: 'spiffe://clinic.example/../ehr', organisation: 'clinic' },
  { id: 'dns:*.clinic.example', organisation: 'clinic' },
  { id: 'https://clinic.example/ehr', organisation: 'clinic' },
  { id: 'dev:dev', organisation: 'clinic' },
]);

/** The caller's id, or the reason; the error never says more than the reason does. */
function identify(san: string): string {
  try {
    return callerOfCertificate(san, callers).id;
  } catch (error) {
    expect(error).toBeInstanceOf(CallError);
    const { reason, message, metadata, violations } = error as CallError;
    expect({ message, metadata, violations }).toEqual({
      message: 'the caller could not be identified',
      metadata: {},
      violations: [],
    });
    return reason;
  }
}
const INVALID = 'IDENTITY_INVALID';

describe("Node's text of a subjectAltName", () => {
  test.each([
    ['a SPIFFE ID', `URI:${EHR}`, EHR],
    ['a longer path', 'URI:spiffe://clinic.example/ehr/write', 'spiffe://clinic.example/ehr/write'],
    ['a SPIFFE ID beside DNS names', `DNS:a.example, URI:${EHR}, DNS:b.example`, EHR],
    ['a SPIFFE ID beside an address', `IP Address:10.0.0.1, URI:${EHR}`, EHR],
    ['one DNS name', 'DNS:billing.clinic.example', 'dns:billing.clinic.example'],
    [
      'one beside an address',
      'DNS:billing.clinic.example, IP Address:::1',
      'dns:billing.clinic.example',
    ],
  ])('%s', (_name, san, id) => {
    expect(identify(san)).toBe(id);
  });

  test.each([
    ['nothing', ''],
    ['a caller nobody configured', 'URI:spiffe://clinic.example/other'],
    ['another trust domain', 'URI:spiffe://rival.example/ehr'],
    ['two URIs', `URI:${EHR}, URI:spiffe://clinic.example/ehr/write`],
    ['the same URI twice', `URI:${EHR}, URI:${EHR}`],
    [
      'a URI of another scheme beside a good DNS name',
      'URI:https://a.example/, DNS:billing.clinic.example',
    ],
    ['another scheme', 'URI:https://clinic.example/ehr'],
    ['a scheme in upper case', 'URI:SPIFFE://clinic.example/ehr'],
    ['a trust domain in upper case', 'URI:spiffe://Clinic.example/ehr'],
    ['no path', 'URI:spiffe://clinic.example'],
    ['an empty path', 'URI:spiffe://clinic.example/'],
    ['a slash at the end', `URI:${EHR}/`],
    ['an empty segment', 'URI:spiffe://clinic.example//ehr'],
    ['a dot segment', 'URI:spiffe://clinic.example/./ehr'],
    ['a segment upwards', 'URI:spiffe://clinic.example/../ehr'],
    ['a segment upwards at the end', 'URI:spiffe://clinic.example/ehr/..'],
    ['percent encoding', 'URI:spiffe://clinic.example/%65hr'],
    ['a port', 'URI:spiffe://clinic.example:443/ehr'],
    ['a user', 'URI:spiffe://x@clinic.example/ehr'],
    ['a query', `URI:${EHR}?x=1`],
    ['a fragment', `URI:${EHR}#x`],
    ['no trust domain', 'URI:spiffe:///ehr'],
    ['a long id', `URI:spiffe://clinic.example/${'a'.repeat(2048)}`],
    ['a blank before', `URI: ${EHR}`],
    ['a blank behind', `URI:${EHR} `],
    ['a line end behind', `URI:${EHR}\n`],
    ['a zero byte', `URI:${EHR}\0`],
    ['a zero byte, quoted', `URI:"${EHR}\\u0000"`],
    ['a letter that looks like another', 'URI:spiffe://clinic.example/еhr'],
    ['the same, quoted', 'URI:"spiffe://clinic.example/\\u0435hr"'],
    ['a development caller', 'URI:dev:dev'],
    ['a development caller as a DNS name', 'DNS:dev'],
    ['two DNS names', 'DNS:billing.clinic.example, DNS:a.example'],
    ['a wildcard', 'DNS:*.clinic.example'],
    ['a DNS name in upper case', 'DNS:Billing.clinic.example'],
    ['a dot at the end', 'DNS:billing.clinic.example.'],
    ['a name nobody configured', 'DNS:ehr.clinic.example'],
    ['an id under the wrong type', `DNS:${EHR}`],
    ['an id as an e-mail address', `email:${EHR}`],
    ['an address alone', 'IP Address:10.0.0.1'],
    ['a type nobody knows', `URI:${EHR}, XYZ:1`],
    ['a type in lower case', `uri:${EHR}`],
    ['no type', EHR],
    ['a comma too many', `URI:${EHR},`],
    ['an entry missing', `URI:${EHR}, `],
    ['an entry missing before', `, URI:${EHR}`],
    ['no blank between', `URI:${EHR},DNS:a.example`],
    ['a quote that never ends', `URI:"${EHR}`],
    ['text behind the quote', `URI:"${EHR}"x`],
    ['a bad escape', `URI:"${EHR}\\x"`],
    ['a second name within a quote', `DNS:"a.example, URI:${EHR}"`],
    ['a quote within a name', `URI:${EHR}", DNS:"x`],
    ['a quote within another name', `DNS:a"b, URI:${EHR}`],
    ['a single quote within another name', `DNS:a'b, URI:${EHR}`],
    ['a backslash within another name', `DNS:a\\b, URI:${EHR}`],
    ['a single quote', `URI:'${EHR}'`],
    ['a backslash', `URI:${EHR}\\`],
    ['too much of it', `URI:${EHR}${', DNS:a.example'.repeat(2000)}`],
  ])('%s is refused', (_name, san) => {
    expect(identify(san)).toBe(INVALID);
  });

  test.each(['__proto__', 'constructor', 'toString'])('%s is nobody', (name) => {
    expect(identify(`URI:${name}`)).toBe(INVALID);
    expect(identify(`DNS:${name}`)).toBe(INVALID);
  });
});

describe('real certificates', () => {
  test.each([
    ['a SPIFFE ID', [['url', EHR]], EHR],
    ['one DNS name', [['dns', 'billing.clinic.example']], 'dns:billing.clinic.example'],
    ['a DNS name that plays two', [['dns', `a.example, URI:${EHR}`]], INVALID],
    ['a DNS name that plays a URI', [['dns', EHR]], INVALID],
    ['a URI that plays two', [['url', `x, URI:${EHR}`]], INVALID],
    ['a name that plays a quoted one', [['dns', `x", URI:${EHR}, DNS:"y`]], INVALID],
    ['a name that plays an e-mail address', [['email', `x, URI:${EHR}`]], INVALID],
    ['a zero byte within', [['dns', 'billing.clinic.example\0.rival.example']], INVALID],
    ['a line end within', [['url', `${EHR}\n`]], INVALID],
    ['a letter beyond ASCII', [['url', `${EHR}\xe9`]], INVALID],
    [
      'two SPIFFE IDs',
      [
        ['url', EHR],
        ['url', `${EHR}/write`],
      ],
      INVALID,
    ],
    [
      'a SPIFFE ID and a quoted name',
      [
        ['url', EHR],
        ['dns', 'x", \\y'],
      ],
      EHR,
    ],
    [
      'a SPIFFE ID and a hostile DNS name',
      [
        ['url', EHR],
        ['dns', `URI:${EHR}/write`],
      ],
      EHR,
    ],
  ] as const)('%s', (_name, names, wanted) => {
    const san = certificateWith(names).subjectAltName ?? '';
    expect(san).not.toBe('');
    expect(identify(san)).toBe(wanted);
  });
});

describe('isCallerId', () => {
  test.each([
    [EHR, true],
    ['dns:billing.clinic.example', true],
    ['dev:clinician', true],
    ['dev:', false],
    ['dev:Clinician', false],
    ['dns:*.clinic.example', false],
    ['dns:localhost', false],
    ['billing.clinic.example', false],
    ['spiffe://clinic.example', false],
    ['', false],
  ])('%s: %j', (id, valid) => {
    expect(isCallerId(id)).toBe(valid);
  });
});
