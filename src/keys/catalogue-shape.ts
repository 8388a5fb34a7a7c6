import { DOMAIN_ID, type DomainSpec } from '../base/domain.ts';
import { LIMITS } from '../base/limits.ts';
import type { WrappedKey } from './key.ts';

/** A check of one field. */
type Check = (value: unknown) => boolean;

const text =
  (bytesMax: number): Check =>
  (value) =>
    typeof value === 'string' && value.isWellFormed() && Buffer.byteLength(value) <= bytesMax;
const pattern =
  (regex: RegExp): Check =>
  (value) =>
    typeof value === 'string' && regex.test(value);
const oneOf =
  (...words: readonly string[]): Check =>
  (value) =>
    typeof value === 'string' && words.includes(value);
const whole =
  (least: number): Check =>
  (value) =>
    Number.isSafeInteger(value) && Number(value) >= least && !Object.is(value, -0);
const flag: Check = (value) => typeof value === 'boolean';
const list =
  (check: Check): Check =>
  (value) =>
    Array.isArray(value) && value.every(check);
const record =
  (check: Check): Check =>
  (value) =>
    isObject(value) && Object.values(value).every(check);
/** Exactly these fields: what we do not know we must not sign. */
const shape =
  (fields: Readonly<Record<string, Check>>): Check =>
  (value) =>
    isObject(value) && fieldFault(fields, value) === undefined;

const OWNER = new RegExp(`^$|${DOMAIN_ID.source}`);
const INSTALLATION_ROLES = ['subject', 'body-mac', 'body-ctr', 'idem', 'catalogue'];
const DOMAIN_ROLES = [
  'fpe',
  'count',
  'siv-mac',
  'siv-ctr',
  'pseudo',
  'idx',
  'seal-mac',
  'seal-ctr',
  'shift',
];

const wrappedKey = shape({
  owner: pattern(OWNER),
  role: oneOf(...INSTALLATION_ROLES, ...DOMAIN_ROLES),
  version: whole(1),
  root: text(64),
  blob: pattern(/^[A-Za-z0-9+/]{53}[AQgw]==$/), // 40 bytes, one spelling.
  checkValue: pattern(/^[0-9a-f]{16}$/),
});

const domainSpec = shape({
  id: pattern(DOMAIN_ID),
  kind: oneOf('fpe', 'siv', 'static', 'dynamic', 'one-way', 'transform'),
  format: text(1_024),
  formatOptions: record(text(4_096)),
  safety: oneOf('never-real', 'valid'),
  assigner: text(1_024),
  displayName: text(1_024),
  onInvalid: oneOf('reject', 'tokenize-opaque', 'pass'),
  subjectRequired: flag,
  listable: flag,
  subjectsShared: flag,
  population: whole(0),
  note: text(LIMITS.noteBytesMax),
  createdMs: whole(0),
  disabled: flag,
});

const FIELDS = {
  format: (value: unknown) => value === 1,
  generation: whole(1),
  installation: pattern(/^[0-9a-f]{32}$/),
  keys: list(wrappedKey),
  domains: list(domainSpec),
};

/** The first thing wrong with a parsed catalogue, in fixed words that hold no input; undefined when
 *  every field, and what must hold between them, is right. */
export function catalogueFault(value: unknown): string | undefined {
  if (!isObject(value)) return 'catalogue';
  const fault = fieldFault(FIELDS, value);
  if (fault !== undefined) return fault;
  const { keys, domains } = value as unknown as Checked; // Every field was checked above.
  const owners = new Set(['', ...domains.map(({ id }) => id)]);
  if (owners.size !== domains.length + 1) return 'domains: one id twice';
  const seen = new Set<string>();
  for (const { owner, role, version } of keys) {
    if (!owners.has(owner)) return 'keys: an owner that is no domain';
    if (INSTALLATION_ROLES.includes(role) !== (owner === '')) return 'keys: role';
    const name = `${owner} ${role} ${version}`;
    if (seen.has(name)) return 'keys: one version twice';
    seen.add(name);
  }
  return undefined;
}

interface Checked {
  readonly keys: readonly WrappedKey[];
  readonly domains: readonly DomainSpec[];
}

/** Name of the first field that is missing, unknown or bad. */
function fieldFault(
  fields: Readonly<Record<string, Check>>,
  value: Record<string, unknown>,
): string | undefined {
  for (const [name, check] of Object.entries(fields)) {
    if (!Object.hasOwn(value, name) || !check(value[name])) return name;
  }
  const known = Object.keys(fields).length;
  return Object.keys(value).length === known ? undefined : 'an unknown field';
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
