/** JSON with one spelling for one value: names sorted by UTF-16 code units, no spaces, integers
 *  only (a subset of RFC 8785). Throws on what has no such spelling: fractions, numbers past 2^53,
 *  undefined, lone surrogates, and objects that are not plain. */
export function canonicalJson(value: unknown): string {
  if (value === null || typeof value === 'boolean') return String(value);
  if (typeof value === 'number') {
    if (!Number.isSafeInteger(value) || Object.is(value, -0)) throw new TypeError('not an integer');
    return String(value);
  }
  if (typeof value === 'string') {
    if (!value.isWellFormed()) throw new TypeError('a lone surrogate');
    return JSON.stringify(value);
  }
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(',')}]`;
  if (typeof value === 'object' && isPlain(value)) {
    const fields = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
    const texts = fields.map(([name, field]) => `${canonicalJson(name)}:${canonicalJson(field)}`);
    return `{${texts.join(',')}}`;
  }
  throw new TypeError('no JSON value');
}

const isPlain = (value: object): boolean => {
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
};
