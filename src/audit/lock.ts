import { statSync } from 'node:fs';
import { createServer } from 'node:net';
import { AuditError } from './audit-error.ts';

/** Held while the process lives or until released. */
export interface FolderLock {
  release(): Promise<void>;
}

/** Takes a folder for this process alone. The lock is an abstract unix socket named by device and
 *  inode: the kernel drops it with the process however that ends, so no stale lock file or reused
 *  pid can lie, and it follows the folder through renames and bind mounts. Linux only, and one
 *  network namespace: two containers over one folder do not see each other's. */
export async function lockFolder(folder: string): Promise<FolderLock> {
  if (process.platform !== 'linux') {
    throw new AuditError('unsupported', 'only Linux has abstract sockets');
  }
  const stat = statSync(folder, { bigint: true, throwIfNoEntry: false });
  if (stat === undefined) throw new AuditError('missing', 'the folder');
  const { dev, ino } = stat;
  const server = createServer((socket) => socket.destroy());
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      const held = error.code === 'EADDRINUSE';
      reject(held ? new AuditError('in-use', 'another process has this folder') : error);
    });
    server.listen({ path: `\0lockstep-log-${dev}-${ino}`, exclusive: true }, resolve);
  });
  server.unref();
  return { release: () => new Promise((resolve) => server.close(() => resolve())) };
}
