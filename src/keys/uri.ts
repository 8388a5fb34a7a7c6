/** A PKCS#11 URI (RFC 7512) taken apart. Absent attributes match anything. */
export interface Pkcs11Uri {
  readonly token?: string;
  readonly manufacturer?: string;
  readonly serial?: string;
  readonly model?: string;
  readonly 'library-manufacturer'?: string;
  readonly 'library-description'?: string;
  readonly 'library-version'?: string;
  readonly 'slot-description'?: string;
  readonly 'slot-manufacturer'?: string;
  readonly 'slot-id'?: number;
  readonly object?: string;
  readonly type?: 'private' | 'public' | 'cert' | 'secret-key' | 'data';
  /** CKA_ID: bytes, not text. */
  readonly id?: Uint8Array;
  /** Where the PIN is: a path or a `file:` URI; see `pinFile`. */
  readonly 'pin-source'?: string;
  readonly 'module-name'?: string;
  readonly 'module-path'?: string;
}

/** The URI is not one, or asks for what we refuse; `message` names the attribute, never its value,
 *  which might be a PIN. */
export class UriError extends Error {
  override readonly name = 'UriError';
}

/** RFC 7512 §2.3. Unknown path attributes are refused, since they would narrow the match and we
 *  cannot; vendor attributes (`x-…`) and unknown query attributes are ignored. `pin-value` is
 *  refused: a PIN in a URI ends up in logs and process lists. Throws `UriError`. */
export function parsePkcs11Uri(text: string): Pkcs11Uri {
  if (!/^pkcs11:/i.test(text)) throw new UriError('a PKCS#11 URI begins with pkcs11:');
  const [path = '', query = '', ...more] = text.slice('pkcs11:'.length).split('?');
  if (more.length > 0) throw new UriError('a PKCS#11 URI has one query');
  const uri: Record<string, string | number | Uint8Array> = {};
  for (const [name, raw] of attributes(path, ';')) {
    if (name.startsWith('x-')) continue;
    if (!PATH.has(name)) throw new UriError(`unknown attribute ${name}`);
    put(uri, name, pathValue(name, raw));
  }
  for (const [name, raw] of attributes(query, '&')) {
    if (name === 'pin-value') throw new UriError('pin-value is refused: name a pin-source file');
    if (QUERY.has(name)) put(uri, name, utf8(name, raw));
  }
  return uri;
}

/** What a URI can be held against: a token, or an object in one. */
export type Pkcs11Facts = Omit<Pkcs11Uri, 'pin-source' | 'module-name' | 'module-path'>;

/** Whether every path attribute that the URI has equals the fact's; a fact that is not known does
 *  not match (RFC 7512 §2.5). */
export function matches(uri: Pkcs11Uri, facts: Pkcs11Facts): boolean {
  return Object.entries(uri).every(([name, wanted]) => {
    if (QUERY.has(name)) return true;
    const is = facts[name as keyof Pkcs11Facts];
    return wanted instanceof Uint8Array
      ? is instanceof Uint8Array && Buffer.compare(wanted, is) === 0
      : is === wanted;
  });
}

/** The file that `pin-source` names. RFC 7512 §2.4 also allows commands (`|prog`), which we never
 *  run. Throws `UriError`. */
export function pinFile(source: string): string {
  const path = /^file:/i.test(source)
    ? source.replace(/^file:(\/\/(localhost)?(?=\/))?/i, '')
    : source;
  if (!/^\/(?!\/)/.test(path)) throw new UriError('pin-source is no absolute path of a file');
  return path;
}

const PATH: ReadonlySet<string> = new Set([
  'token',
  'manufacturer',
  'serial',
  'model',
  'library-manufacturer',
  'library-description',
  'library-version',
  'slot-description',
  'slot-manufacturer',
  'slot-id',
  'object',
  'type',
  'id',
]);
const QUERY: ReadonlySet<string> = new Set(['pin-source', 'module-name', 'module-path']);
const TYPES: ReadonlySet<string> = new Set(['private', 'public', 'cert', 'secret-key', 'data']);
/** RFC 7512 §2.3: pk11-path-res-avail and pk11-query-res-avail with what RFC 3986 leaves
 *  unreserved; everything else comes percent-encoded. */
const PATH_TEXT = /^(?:[A-Za-z0-9._~:[\]@!$'()*+,=&-]|%[0-9A-Fa-f]{2})*$/;
const QUERY_TEXT = /^(?:[A-Za-z0-9._~:[\]@!$'()*+,=/?|-]|%[0-9A-Fa-f]{2})*$/;

function attributes(text: string, separator: string): [name: string, raw: string][] {
  if (text === '') return [];
  const wanted = separator === ';' ? PATH_TEXT : QUERY_TEXT;
  return text.split(separator).map((part) => {
    const equals = part.indexOf('=');
    const name = part.slice(0, Math.max(equals, 0));
    if (!/^[a-z][A-Za-z0-9_-]*$/.test(name)) throw new UriError('an attribute without a name');
    const raw = part.slice(equals + 1);
    if (!wanted.test(raw)) throw new UriError(`${name} has characters to percent-encode`);
    return [name, raw];
  });
}

/** RFC 7512 §2.3: an attribute appears once. */
function put<T>(uri: Record<string, T>, name: string, value: T): void {
  if (Object.hasOwn(uri, name)) throw new UriError(`${name} appears twice`);
  uri[name] = value;
}

function pathValue(name: string, raw: string): string | number | Uint8Array {
  if (name === 'id') return bytes(raw);
  const value = utf8(name, raw);
  if (name === 'type' && !TYPES.has(value)) throw new UriError('type is none of RFC 7512');
  if (name !== 'slot-id') return value;
  if (!/^[0-9]{1,10}$/.test(value)) throw new UriError('slot-id is no number');
  return Number(value);
}

function bytes(raw: string): Uint8Array {
  const latin1 = raw.replace(/%([0-9A-Fa-f]{2})/g, (_, hex) =>
    String.fromCharCode(Number.parseInt(hex, 16)),
  );
  return Uint8Array.from(Buffer.from(latin1, 'latin1'));
}

function utf8(name: string, raw: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes(raw));
  } catch {
    throw new UriError(`${name} is not UTF-8`);
  }
}
