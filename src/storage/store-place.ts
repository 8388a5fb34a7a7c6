import { createHash } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';

/** Where a folder lies: device, inode, and the machine's id, hashed since it is nobody's business.
 *  A copy has another inode, a copy on another machine another of all three. What has no id, a
 *  container say, is told apart by device and inode alone. */
export async function placeOf(folder: string): Promise<string> {
  const { dev, ino } = await stat(folder, { bigint: true });
  const id = await readFile('/etc/machine-id').catch(() => Buffer.alloc(0));
  const machine = createHash('sha256').update(id).digest().subarray(0, 16).toString('hex');
  return `${dev}-${ino}-${machine}`;
}
