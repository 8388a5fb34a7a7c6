import { stat } from 'node:fs/promises';
import { createServer } from 'node:net';
import { StoreError } from './store.ts';

/** Held until released or until the process ends, however it ends. */
export interface StoreLock {
  release(): Promise<void>;
}

/** A second lock beside LevelDB's own, which is a POSIX record lock and is lost as soon as this
 *  process opens and closes the LOCK file anywhere (facts.md F6). An abstract unix socket, named
 *  by device and inode, so that another path to the same folder meets the same lock; the kernel
 *  frees it with the process. It reaches as far as one network namespace: containers that share
 *  a folder but not their network are kept apart by LevelDB's lock alone. Rejects with
 *  `StoreError('in-use')`. */
export async function lockFolder(folder: string): Promise<StoreLock> {
  const { dev, ino } = await stat(folder, { bigint: true });
  const server = createServer((socket) => socket.destroy());
  await new Promise<void>((resolve, reject) => {
    server.once('error', (cause: NodeJS.ErrnoException) =>
      reject(new StoreError(cause.code === 'EADDRINUSE' ? 'in-use' : 'unknown', cause)),
    );
    server.listen({ path: `\0lockstep-store-${dev}-${ino}` }, resolve);
  });
  server.unref();
  return {
    release: () => new Promise((resolve) => server.close(() => resolve())),
  };
}
