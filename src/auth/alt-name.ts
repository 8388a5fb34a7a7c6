/** One entry of a subjectAltName. */
export interface AltName {
  readonly type: string;
  readonly value: string;
}

/** Types as Node prints them (RFC 5280 §4.2.1.6); any other means that we misread the text. */
const TYPES: ReadonlySet<string> = new Set([
  'DNS',
  'URI',
  'IP Address',
  'email',
  'othername',
  'DirName',
  'Registered ID',
  'X400Name',
  'EdiPartyName',
]);

const TEXT_BYTES_MAX = 16_384;

/** A value that Node leaves bare: printable ASCII without quotes, commas and backslashes. */
const BARE = /^[ !#-&(-+\--[\]-~]+$/;

/** The entries of Node's `subjectaltname`, e.g. `URI:spiffe://clinic.example/ehr, DNS:ehr`;
 *  undefined where the text is not exactly of that form. Since CVE-2021-44532 Node prints a value
 *  that could pass for more than one entry as a JSON string with its commas escaped (\u002c), so
 *  ", " stands between entries only; a half of anything else does not parse and refuses it all. */
export function altNamesOf(text: string): AltName[] | undefined {
  if (text.length > TEXT_BYTES_MAX) return undefined;
  const names: AltName[] = [];
  for (const entry of text.split(', ')) {
    const colon = entry.indexOf(':');
    const type = entry.slice(0, Math.max(0, colon));
    const value = decoded(entry.slice(colon + 1));
    if (!TYPES.has(type) || value === undefined) return undefined;
    names.push({ type, value });
  }
  return names;
}

function decoded(raw: string): string | undefined {
  if (!raw.startsWith('"')) return BARE.test(raw) ? raw : undefined;
  try {
    const value: unknown = JSON.parse(raw);
    return typeof value === 'string' ? value : undefined;
  } catch {
    return undefined;
  }
}
