import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { newIdentity } from '../../src/engine/backup/age.ts';
import { FRAME, frameOf, RowFramer } from '../../src/engine/backup/frames.ts';
import { BackupWriter } from '../../src/engine/backup/writer.ts';
import { openLevelStore } from '../../src/storage/level-store.ts';
import { checked } from '../../src/vault/rows.ts';

/* A process of its own: `node backup-memory.ts ROWS` fills a store, writes its rows into a backup
 * file, and prints by how many MiB that raised the most memory it ever had. */

/** Memory of the process's own. LevelDB maps its files, which the kernel takes back at will. */
function anonymousMib(): number {
  const status = readFileSync('/proc/self/status', 'utf8');
  return Number(/^RssAnon:\s+(\d+) kB/m.exec(status)![1]) / 1024;
}

const VALUE_BYTES = 4_096;
const rows = Number(process.argv[2]);
const folder = mkdtempSync(join(tmpdir(), 'lockstep-backup-memory-'));
try {
  const store = await openLevelStore({ folder: join(folder, 'store'), create: true });
  for (let first = 0; first < rows; first += 500) {
    const changes = Array.from({ length: 500 }, (_, i) => {
      const key = Buffer.alloc(9, 0x73);
      key.writeUInt32BE(first + i, 5);
      return { type: 'put' as const, key, value: checked(key, new Uint8Array(VALUE_BYTES)) };
    });
    await store.write(changes);
  }
  const { recipient } = await newIdentity(false);
  const [temporary, path] = [join(folder, '.b.partial'), join(folder, 'b')];
  const writer = new BackupWriter({ recipients: [recipient], temporary, path });
  const framer = new RowFramer();
  const before = anonymousMib();
  let most = 0;
  for await (const page of store.pages({ from: new Uint8Array(0), to: Uint8Array.of(0xff) })) {
    for (const frame of framer.add(page)) await writer.send(frame);
    most = Math.max(most, anonymousMib());
  }
  for (const frame of framer.end()) await writer.send(frame);
  const bytes = await writer.end(Uint8Array.from(frameOf(FRAME.signature, new Uint8Array(64))));
  await store.close();
  process.stdout.write(JSON.stringify({ rows: framer.counts.rows, bytes, before, most }));
} finally {
  rmSync(folder, { recursive: true, force: true });
}
