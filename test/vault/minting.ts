import { createHash } from 'node:crypto';
import { columnOf, rowBytes, rowCount } from '../../src/base/column.ts';
import type { Claim } from '../../src/vault/claims.ts';
import type { Vault } from '../../src/vault/vault.ts';

/* What tests of the vault do as the engine does it, with stand-ins for keyed indexes and seals. */

export const STATIC = 'clinic/mrn';
export const LISTED = 'clinic/visit';
export const PLAIN = 'clinic/other';
export const IDENTITY = 'test-installation';

export async function addDomains(vault: Vault, countersMax = 1_000_000): Promise<void> {
  await vault.addDomain(STATIC, { index: 'unique', countersMax });
  await vault.addDomain(LISTED, { index: 'listed', countersMax });
  await vault.addDomain(PLAIN, { index: 'none', countersMax });
}

/** As spread as CMACs are. */
export const indexOf = (name: string | number): Uint8Array =>
  createHash('sha256').update(String(name)).digest().subarray(0, 16);

export const indexesOf = (names: readonly (string | number)[]): Uint8Array =>
  Buffer.concat(names.map(indexOf));

/** A record that names what it belongs to, so that a mix-up shows. */
export const sealOf = (domain: string, counter: number): string => `${domain}#${counter}`;

export const claim = (vault: Vault, ...names: (string | number)[]): Promise<Claim> =>
  vault.claim(STATIC, indexesOf(names));

export interface Extra {
  readonly request?: { readonly key: Uint8Array; readonly digest: Uint8Array };
}

/** Commits the records of a claim; the commit number. */
export async function commitClaim(vault: Vault, made: Claim, extra: Extra = {}): Promise<number> {
  const commit = vault.nextCommit();
  const sealed = columnOf([...made.newCounters].map((counter) => sealOf(made.domain, counter)));
  const records = { claim: made, sealed };
  await vault.commit([vault.prepare({ commit, ...leafOf(commit), records, ...extra })]);
  return commit;
}

/** Mints one token for each name, under indexes of their own where the domain is listed. */
export async function mint(
  vault: Vault,
  domain: string,
  names: readonly (string | number)[],
): Promise<{ commit: number; first: number }> {
  const commit = vault.nextCommit();
  const first = vault.reserve(domain, names.length);
  const sealed = columnOf(names.map((_, i) => sealOf(domain, first + i)));
  const indexes = domain === LISTED ? indexesOf(names) : new Uint8Array(0);
  const records = { domain, first, sealed, indexes };
  await vault.commit([vault.prepare({ commit, ...leafOf(commit), records })]);
  return { commit, first };
}

export const leafOf = (commit: number): { entry: Uint8Array; body: Uint8Array } => ({
  entry: Buffer.from(`entry ${commit}`),
  body: Buffer.from(`body ${commit}`),
});

/** The records as text, '' where there is none. */
export async function readTexts(
  vault: Vault,
  domain: string,
  counters: Iterable<number>,
): Promise<string[]> {
  const column = await vault.read(domain, Float64Array.from(counters));
  return Array.from({ length: rowCount(column) }, (_, row) =>
    Buffer.from(rowBytes(column, row)).toString('utf8'),
  );
}

export async function collect<T>(rows: AsyncIterable<T>): Promise<T[]> {
  const found: T[] = [];
  for await (const row of rows) found.push(row);
  return found;
}
