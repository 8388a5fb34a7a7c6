import { appendFileSync } from 'node:fs';
import { columnOf } from '../../src/base/column.ts';
import { openLevelStore } from '../../src/storage/level-store.ts';
import { openVault } from '../../src/vault/vault.ts';
import { IDENTITY, indexesOf, leafOf, STATIC } from './minting.ts';

/* A process that mints until it is killed: `writer.ts FOLDER JOURNAL RUN`. Each line of the journal
 * is `name counter`, written after the vault acknowledged it and before the next call. */

const [folder, journal, run] = process.argv.slice(2) as [string, string, string];
const CALLERS = 4;
/** Names of a call: some new, some that other callers and earlier runs have too. */
const ROWS = 40;

const vault = await openVault(await openLevelStore({ folder, create: false }), {
  identity: IDENTITY,
});
let turn = 0;

async function call(): Promise<void> {
  const number = turn++;
  const names = Array.from({ length: ROWS }, (_, i) =>
    i < ROWS / 2
      ? `run ${run} row ${number * (ROWS / 4) + i}`
      : `shared ${(number * 13 + i) % 997}`,
  );
  const claim = await vault.claim(STATIC, indexesOf(names));
  const texts = Array.from(claim.newRows, (row, i) => `${names[row]}@${claim.newCounters[i]}`);
  const commit = vault.nextCommit();
  const records = { claim, sealed: columnOf(texts) };
  await vault.commit([vault.prepare({ commit, ...leafOf(commit), records })]);
  vault.settle([{ commit, leafIndex: commit }]);
  appendFileSync(journal, names.map((name, i) => `${name}\t${claim.counters[i]}\n`).join(''));
}

console.log('writing');
await Promise.all(
  Array.from({ length: CALLERS }, async () => {
    for (;;) await call();
  }),
);
