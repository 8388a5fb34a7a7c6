import type { ChangedGroup } from '../vault/subject-groups.ts';
import type { Parts } from './parts.ts';

/** Tells the key worker who is whom, from the vault's memory: groups that have changed, or all of
 *  them (undefined) at open and after the vault was read anew. In force when it resolves. */
export async function tellGroups(
  { lane, vault }: Pick<Parts, 'lane' | 'vault'>,
  changed: readonly ChangedGroup[] | undefined,
): Promise<void> {
  if (changed?.length === 0) return;
  const groups = changed ?? [...vault.aliases.groups()];
  await lane.control({ control: 'aliases', groups, whole: changed === undefined });
}
