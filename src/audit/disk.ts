import fs from 'node:fs';
import { mkdir, open, readFile, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';

const write = promisify(fs.write);

/** Every change that the log makes on disk goes through here, so that the order of what must be
 *  durable before what is in one place, and a test can end the run before any one of them. */
export class Disk {
  readonly #root: string;
  readonly #before: (operation: string) => void;
  /** Folders that got a new name and are not fsynced yet. */
  readonly #renamedIn = new Set<string>();
  #temporaries = 0;

  /** `before` runs ahead of each operation; throwing there is dying there. */
  constructor(root: string, before: (operation: string) => void = () => {}) {
    this.#root = root;
    this.#before = before;
  }

  path(name: string): string {
    return join(this.#root, name);
  }

  /** The file's bytes; undefined where it is absent. */
  async read(name: string): Promise<Buffer | undefined> {
    try {
      return await readFile(this.path(name));
    } catch (error) {
      if (isAbsent(error)) return undefined;
      throw error;
    }
  }

  /** Makes the folder and those above it, durable after `syncFolders`. */
  async makeFolder(name: string): Promise<void> {
    const path = this.path(name);
    this.#before(`mkdir ${name}`);
    const first = await mkdir(path, { recursive: true, mode: 0o700 });
    if (first === undefined) return;
    // Each new folder is a new name in the one above it.
    const top = dirname(first);
    for (let at = path; at !== top; at = dirname(at)) this.#renamedIn.add(dirname(at));
  }

  /** The file has these bytes or is untouched, whatever happens (temporary file, fsync, rename);
   *  durable after `syncFolders`. Its folder must be there. */
  async replace(name: string, bytes: Uint8Array): Promise<void> {
    const temporary = this.path(`tmp/${this.#temporaries++}`);
    this.#before(`create ${name}`);
    const file = await open(temporary, 'w', 0o600);
    try {
      this.#before(`write ${name}`);
      await file.writeFile(bytes);
      this.#before(`sync ${name}`);
      await file.sync();
    } finally {
      await file.close();
    }
    this.#before(`rename ${name}`);
    await rename(temporary, this.path(name));
    this.#renamedIn.add(dirname(this.path(name)));
  }

  /** The same, and durable when it resolves. */
  async put(name: string, bytes: Uint8Array): Promise<void> {
    await this.replace(name, bytes);
    await this.#syncFolder(dirname(this.path(name)));
  }

  /** Makes the names durable that `replace` and `makeFolder` gave before the call. One at a time.
   *  */
  async syncFolders(): Promise<void> {
    for (const path of [...this.#renamedIn]) {
      // Off the list first: a name given while the folder syncs needs another one.
      this.#renamedIn.delete(path);
      await this.#syncFolder(path).catch((error: unknown) => {
        this.#renamedIn.add(path);
        throw error;
      });
    }
  }

  async #syncFolder(path: string): Promise<void> {
    this.#before(`sync folder ${path.slice(this.#root.length)}`);
    const folder = await open(path, 'r');
    try {
      await folder.sync();
    } finally {
      await folder.close();
    }
  }

  async remove(name: string): Promise<void> {
    this.#before(`remove ${name}`);
    await rm(this.path(name), { recursive: true, force: true });
  }

  /** Flags for a file whose writes are durable by themselves; it can be read as well. */
  static readonly durableFlags = fs.constants.O_RDWR | fs.constants.O_DSYNC;

  /** All the bytes at `position` of a file that was opened with `durableFlags`: durable when it
   *  resolves (open(2): each write then ends as if fdatasync had followed it). */
  async writeDurably(descriptor: number, bytes: Uint8Array, position: number): Promise<void> {
    this.#before('append: write');
    let done = 0;
    // A full disk takes a part; the next write then names the reason.
    while (done < bytes.length) {
      const left = bytes.length - done;
      const { bytesWritten } = await write(descriptor, bytes, done, left, position + done);
      done += bytesWritten;
    }
    this.#before('append: acknowledge');
  }

  /** Cuts the file and makes that durable. */
  async truncate(name: string, length: number): Promise<void> {
    this.#before(`truncate ${name}`);
    const file = await open(this.path(name), 'r+');
    try {
      await file.truncate(length);
      await file.sync();
    } finally {
      await file.close();
    }
  }
}

export const isAbsent = (error: unknown): boolean =>
  error instanceof Error &&
  'code' in error &&
  (error.code === 'ENOENT' || error.code === 'ENOTDIR');
