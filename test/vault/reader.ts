import { CallError } from '../../src/base/call-error.ts';
import { openLevelStore } from '../../src/storage/level-store.ts';
import { StoreError } from '../../src/storage/store.ts';
import { openVault, type Vault } from '../../src/vault/vault.ts';
import { collect, IDENTITY, indexesOf, readTexts, STATIC } from './minting.ts';

/* Reads a vault whose tables may be damaged, in a process of its own, since LevelDB ends the
 * process over some damage: `reader.ts FOLDER ROWS`. The vault was filled with `row 0`, `row 1`, …
 * in order, so a row's counter is its number. Prints a verdict. */

export type Verdict = 'refused' | 'found' | 'sealBroken' | 'harmless' | 'WRONG';

const [folder, rows] = process.argv.slice(2) as [string, string];

async function verdict(vault: Vault): Promise<Verdict> {
  const names = Array.from({ length: Number(rows) }, (_, i) => `row ${i}`);
  const found = await vault.find(STATIC, indexesOf(names));
  if (found.some((counter, i) => counter !== i && counter !== -1 && !Number.isNaN(counter))) {
    return 'WRONG';
  }
  if ((await collect(vault.fsck())).length > 0) return 'found';
  // The seal is not the vault's: that the text names its row stands in for it.
  const texts = await readTexts(vault, STATIC, names.keys());
  return texts.every((text, i) => text === `row ${i}@${i}`) ? 'harmless' : 'sealBroken';
}

try {
  const store = await openLevelStore({ folder, create: false });
  console.log(await verdict(await openVault(store, { identity: IDENTITY, moved: 'allow' })));
} catch (error) {
  if (!(error instanceof StoreError || error instanceof CallError)) throw error;
  console.log('refused');
}
