import { createHash } from 'node:crypto';
import type { DomainSpec } from '../../src/base/domain.ts';
import type { CompiledDomain, DomainKeys } from '../../src/codec/domain.ts';
import { checkDomain, defaultsFor } from '../../src/codec/domain-check.ts';
import { insecureMemoryKey } from '../../src/keys/insecure-memory.ts';
import type { DomainRole } from '../../src/keys/key.ts';

export const NONE = new Uint8Array(0);

/** A checked domain `hospital/<name>`, its recorded reasons given. */
export function domainOf(
  kind: DomainSpec['kind'],
  format: string,
  more: Partial<DomainSpec> & { name?: string } = {},
): CompiledDomain {
  const { name = 'tok', ...rest } = more;
  const wish = { id: `hospital/${name}`, kind, format, note: 'a test', assigner: 'urn:oid:1.2.3' };
  return checkDomain(defaultsFor({ ...wish, ...rest }, 0));
}

/** The key bytes of a role, so that oracles can have them too. */
export const rawKey = (role: DomainRole): Uint8Array =>
  createHash('sha256').update(`codec test ${role}`).digest();

const keyOf = (role: DomainRole) => insecureMemoryKey(rawKey(role), role);

export const KEYS: DomainKeys = {
  fpe: keyOf('fpe'),
  count: keyOf('count'),
  'siv-mac': keyOf('siv-mac'),
  'siv-ctr': keyOf('siv-ctr'),
  pseudo: keyOf('pseudo'),
  idx: keyOf('idx'),
};

export const COUNT_KEY = keyOf('count');
