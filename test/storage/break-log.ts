import assert from 'node:assert';
import {
  closeSync,
  constants,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  realpathSync,
} from 'node:fs';
import { dirname, join } from 'node:path';

const FDS = '/proc/self/fd';
const WRITES = constants.O_WRONLY | constants.O_RDWR;

/** Puts another file under the descriptor of the write-ahead log that LevelDB has open in the
 *  folder, so that its next write fails: `full` as on a full disk (ENOSPC), `unknown` in another
 *  way (EBADF). Opening the store again takes it away. False where none is open there, e.g. since
 *  it is broken already. The log's journal can be broken likewise. Linux only, and while nothing is
 *  under way: another thread could be given the number in between. */
export function breakLog(folder: string, fault: 'full' | 'unknown'): boolean {
  const descriptor = descriptorOf(folder);
  if (descriptor === undefined) return false;
  replace(descriptor, fault);
  return true;
}

/** Of the log that is open for writing there; undefined while it is broken. */
export function descriptorOf(folder: string): number | undefined {
  const inside = realpathSync(folder);
  return readdirSync(FDS)
    .map(Number)
    .find((number) => isWritten(number, inside));
}

function isWritten(number: number, folder: string): boolean {
  try {
    const path = readlinkSync(join(FDS, String(number)));
    if (dirname(path) !== folder || !path.endsWith('.log')) return false;
    const flags = /^flags:\s+(\d+)$/m.exec(readFileSync(`/proc/self/fdinfo/${number}`, 'utf8'));
    return (Number.parseInt(flags?.[1] ?? '0', 8) & WRITES) !== 0;
  } catch {
    return false; // Closed meanwhile.
  }
}

/** The system gives the lowest free number, so it is asked until that is the one. */
function replace(descriptor: number, fault: 'full' | 'unknown'): void {
  closeSync(descriptor);
  const others: number[] = [];
  for (;;) {
    const got = fault === 'full' ? openSync('/dev/full', 'w') : openSync('/dev/null', 'r');
    if (got === descriptor) break;
    others.push(got);
    assert(others.length < 1_000, 'the number went to somebody else');
  }
  for (const other of others) closeSync(other);
}
