import { appendFileSync, existsSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { columnOf } from '../../src/base/column.ts';
import { openLevelStore } from '../../src/storage/level-store.ts';
import { openVault } from '../../src/vault/vault.ts';
import { IDENTITY, indexesOf, leafOf, readTexts, STATIC } from './minting.ts';

/* A process that mints until it is killed, over a disk that fills up: `healing-writer.ts FOLDER
 * JOURNAL FILLER`. Each line of the journal is `name counter`, written after the vault acknowledged
 * it. On a full disk it says `full`, reads what it was given, tries to heal on the full disk, waits
 * until the filler is gone, heals, says `healed` and goes on. */

const [folder, journal, filler] = process.argv.slice(2) as [string, string, string];
const CALLERS = 4;
const ROWS = 40;
const PADDING = '.'.repeat(500);

const vault = await openVault(await openLevelStore({ folder, create: false }), {
  identity: IDENTITY,
});
const acked = new Map<string, number>();
let turn = 0;

async function call(): Promise<void> {
  const number = turn++;
  const names = Array.from({ length: ROWS }, (_, i) =>
    i < ROWS / 2 ? `row ${number * (ROWS / 2) + i}` : `shared ${(number * 13 + i) % 397}`,
  );
  const claim = await vault.claim(STATIC, indexesOf(names));
  try {
    await claim.after;
    const texts = Array.from(
      claim.newRows,
      (row, i) => `${names[row]}@${claim.newCounters[i]}${PADDING}`,
    );
    const commit = vault.nextCommit();
    const records = { claim, sealed: columnOf(texts) };
    await vault.commit([vault.prepare({ commit, ...leafOf(commit), records })]);
    vault.settle([{ commit, leafIndex: commit }]);
  } finally {
    vault.release(claim);
  }
  const lines = names.map((name, i) => `${name}\t${claim.counters[i]}\n`);
  appendFileSync(journal, lines.join(''));
  for (const [i, name] of names.entries()) acked.set(name, claim.counters[i]!);
}

async function readAll(): Promise<void> {
  const counters = [...acked.values()];
  const texts = await readTexts(vault, STATIC, counters);
  for (const [i, name] of [...acked.keys()].entries()) {
    if (texts[i] !== `${name}@${counters[i]}${PADDING}`) throw new Error('a wrong record');
  }
}

async function mintUntilFenced(): Promise<void> {
  while (!vault.fenced) {
    await call().catch((error: unknown) => {
      if (!vault.fenced) throw error;
    });
  }
}

console.log('writing');
for (;;) {
  await Promise.all(Array.from({ length: CALLERS }, mintUntilFenced));
  await readAll();
  console.log('full');
  const onFull = await vault.heal();
  if (onFull !== 'full' && onFull !== 'healed') throw new Error(`on a full disk: ${onFull}`);
  while (existsSync(filler)) await pause(5);
  // Its space comes a moment after its name has gone.
  for (let tries = 0; (await vault.heal()) !== 'healed'; tries++) {
    if (tries > 100) throw new Error('with space again it does not heal');
    await pause(10);
  }
  await readAll();
  console.log('healed');
}
