import { CallError } from '../base/call-error.ts';
import type { Caller } from '../base/caller.ts';
import { type AltName, altNamesOf } from './alt-name.ts';

/** Callers by id. */
export type CallerDirectory = ReadonlyMap<string, Caller>;

/** An id that nothing can prove does no harm here: it never matches. */
export const directoryOf = (callers: readonly Caller[]): CallerDirectory =>
  new Map(callers.map(({ id, organisation }) => [id, { id, organisation }]));

/** Trust domain and path, SPIFFE-ID §2.1 and §2.2: no upper case in the trust domain, no port, no
 *  user, no query, no fragment, no percent encoding, no empty segment, no slash at the end. */
const SPIFFE_ID = /^spiffe:\/\/[a-z0-9._-]{1,255}(?:\/[a-zA-Z0-9._-]+)+$/;
const DOT_SEGMENT = /\/\.{1,2}(?:\/|$)/;
/** SPIFFE-ID §2.3. */
const SPIFFE_ID_BYTES_MAX = 2048;

/** RFC 1123 host name in lower case, at least two labels, no wildcard and no dot at the end. */
const DNS_NAME =
  /^(?=.{1,253}$)[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)+$/;

/** Whether the text is a SPIFFE ID of a workload: the path is not empty. */
export const isSpiffeId = (text: string): boolean =>
  text.length <= SPIFFE_ID_BYTES_MAX && SPIFFE_ID.test(text) && !DOT_SEGMENT.test(text);

/** Whether a caller of this id could ever be identified; for the check of a configuration. */
export const isCallerId = (id: string): boolean =>
  isSpiffeId(id) ||
  (id.startsWith('dns:') && DNS_NAME.test(id.slice(4))) ||
  /^dev:[a-z0-9-]{1,63}$/.test(id);

/** The configured caller that a verified client certificate names, by its only `URI` (X509-SVID
 *  §2: exactly one, a SPIFFE ID) or, in a certificate without any, by its only `DNS` name, which
 *  is configured as `dns:name`. `subjectAltName` is Node's text form. Throws `CallError`
 *  IDENTITY_INVALID, which tells nothing of the certificate, for anything else. */
export function callerOfCertificate(subjectAltName: string, callers: CallerDirectory): Caller {
  const names = altNamesOf(subjectAltName);
  const id = names === undefined ? undefined : idOf(names);
  const caller = id === undefined ? undefined : callers.get(id);
  if (caller === undefined) throw new CallError('IDENTITY_INVALID');
  return caller;
}

function idOf(names: readonly AltName[]): string | undefined {
  const uris = names.filter((name) => name.type === 'URI');
  if (uris.length > 0) {
    const [uri] = uris;
    return uris.length === 1 && uri !== undefined && isSpiffeId(uri.value) ? uri.value : undefined;
  }
  const [dns, ...others] = names.filter((name) => name.type === 'DNS');
  if (dns === undefined || others.length > 0 || !DNS_NAME.test(dns.value)) return undefined;
  return `dns:${dns.value}`;
}
