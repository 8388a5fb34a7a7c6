import { randomBytes } from 'node:crypto';

/** What is used of `level`, which is classic-level in Node; its own types name only what browsers
 *  have too. */
export interface Rewritable {
  compactRange(from: Uint8Array, to: Uint8Array): Promise<void>;
  keys(options: { gt: Uint8Array; lt: Uint8Array; limit: number; fillCache: boolean }): {
    nextv(count: number): Promise<Uint8Array[]>;
    close(): Promise<void>;
  };
  batch(
    changes: readonly { type: 'del'; key: Uint8Array }[],
    options: { sync: boolean },
  ): Promise<void>;
}

/** Rows whose files are rewritten at once: some tens of megabytes, so that LevelDB's one background
 *  thread is never away for long. */
const ROWS_A_STEP = 65_536;
const ROWS_A_READ = 4_096;

/** Rewrites every file that holds keys from `from` up to `to`, so that no deleted or replaced bytes
 *  are left in them, nor in the write-ahead log. LevelDB's own compaction of a range is not enough:
 *  it leaves alone the deepest level that it finds, where a row and its deletion may lie side by
 *  side (both written out of memory at once, or kept for a snapshot that has ended since). So
 *  deletions of keys that nobody has are written around each step's range first: on their way down
 *  they take every file of the range through a merge. Rejects with what LevelDB said. */
export async function rewriteRange(
  level: Rewritable,
  from: Uint8Array,
  to: Uint8Array,
): Promise<void> {
  // What is in memory and in the upper levels meets what is below it.
  await level.compactRange(from, to);
  for (let at = from, ended = false; !ended; ) {
    const last = await stepEnd(level, at, to);
    ended = last === undefined;
    const below = before(at);
    // With the last row of the step, which the next step's own begins behind.
    const above = Buffer.concat([last ?? to, randomBytes(16)]);
    await mark(level, [below, above]);
    await level.compactRange(below, above);
    at = last ?? to;
  }
  // LevelDB says of a compaction that failed only to the next write.
  await mark(level, [before(from)]);
}

const mark = (level: Rewritable, keys: readonly Uint8Array[]): Promise<void> =>
  level.batch(
    keys.map((key) => ({ type: 'del', key })),
    { sync: true },
  );

/** The last key of the step; undefined where it reaches `to`. */
async function stepEnd(
  level: Rewritable,
  from: Uint8Array,
  to: Uint8Array,
): Promise<Uint8Array | undefined> {
  const keys = level.keys({ gt: from, lt: to, limit: ROWS_A_STEP, fillCache: false });
  let last: Uint8Array | undefined;
  let count = 0;
  try {
    for (;;) {
      const read = await keys.nextv(ROWS_A_READ);
      if (read.length === 0) break;
      count += read.length;
      last = read[read.length - 1];
    }
  } finally {
    // Closed before anything is compacted: what it can see stays in the files.
    await keys.close();
  }
  return count < ROWS_A_STEP ? undefined : last;
}

/** A key that nobody has, right below `key`: nothing else lies between but its like. */
function before(key: Uint8Array): Uint8Array {
  let end = key.length;
  while (end > 0 && key[end - 1] === 0) end--;
  if (end === 0) return Buffer.concat([Uint8Array.of(0), randomBytes(16)]);
  const below = Uint8Array.from(key.subarray(0, end));
  below[end - 1]! -= 1;
  return Buffer.concat([below, new Uint8Array(16).fill(0xff), randomBytes(16)]);
}
