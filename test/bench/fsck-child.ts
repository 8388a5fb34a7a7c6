import { randomFillSync } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { openLevelStore } from '../../src/storage/level-store.ts';
import { fsck } from '../../src/vault/fsck.ts';
import { initVault } from '../../src/vault/vault.ts';

const ITEMS = 1_000;
const SEALED_BYTES = 43;
const DOMAIN = 'bench/static';

/** `fill FOLDER RECORDS` makes a vault of static records; `check FOLDER` runs fsck over it and says
 *  what that took, in a process that did nothing else. */
async function main([what, folder, records]: readonly string[]): Promise<void> {
  if (what === 'fill') await fill(folder!, Number(records));
  else await check(folder!);
}

async function fill(folder: string, records: number): Promise<void> {
  const store = await openLevelStore({ folder, create: true });
  const vault = await initVault(store, { identity: 'bench' });
  await vault.addDomain(DOMAIN, { index: 'unique', countersMax: 1e9 });
  const ends = Uint32Array.from({ length: ITEMS }, (_, i) => (i + 1) * SEALED_BYTES);
  for (let made = 0; made < records; made += ITEMS) {
    const claim = await vault.claim(DOMAIN, randomFillSync(new Uint8Array(ITEMS * 16)));
    const sealed = { bytes: randomFillSync(new Uint8Array(ITEMS * SEALED_BYTES)), ends };
    const commit = vault.nextCommit();
    const leaf = { entry: new Uint8Array(300), body: new Uint8Array(0) };
    await vault.commit([vault.prepare({ commit, ...leaf, records: { claim, sealed } })]);
    vault.settle([{ commit, leafIndex: made / ITEMS }]);
  }
  await vault.close();
}

async function check(folder: string): Promise<void> {
  const store = await openLevelStore({ folder, create: false });
  const begunMs = performance.now();
  let rows = 0;
  let findings = 0;
  const progress = (seen: number): void => {
    rows = seen;
  };
  for await (const _ of fsck(store, { progress })) findings++;
  const seconds = (performance.now() - begunMs) / 1_000;
  await store.close();
  // Anonymous memory is what it took; LevelDB also maps its tables, which the kernel takes back.
  const status = readFileSync('/proc/self/status', 'utf8');
  const mib = (name: string): number =>
    Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(status)?.[1]) / 1024;
  const answer = { seconds, rows, findings, peakMib: mib('VmHWM'), ownMib: mib('RssAnon') };
  process.stdout.write(JSON.stringify(answer));
}

await main(process.argv.slice(2));
