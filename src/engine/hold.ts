import type { Vault } from '../vault/vault.ts';

/** Has these names of `vault.exclusive` to itself until `release` is called, for work that ends in
 *  another function than it begins in. Every path must release; a second time does nothing. */
export async function hold(vault: Vault, names: readonly string[]): Promise<() => void> {
  const taken = Promise.withResolvers<void>();
  const done = Promise.withResolvers<void>();
  const held = vault.exclusive(names, () => {
    taken.resolve();
    return done.promise;
  });
  held.catch(taken.reject);
  await taken.promise;
  return done.resolve;
}
