import type { Change } from '../storage/store.ts';

/** Groups that are remembered, and what they may hold in memory; always the last one. */
const GROUPS_MAX = 64;
const CHANGES_MAX = 20_000;
const BYTES_MAX = 8 * 1024 * 1024;

interface Remembered {
  readonly changes: readonly Change[];
  readonly bytes: number;
}

/** Which keys the last acknowledged writes put and deleted, so that a store which was opened again
 *  can be asked for them: after an error LevelDB may acknowledge what it then forgets (facts.md
 *  F3). Only keys are looked at: their bytes are the vault's own, those of values may be anyone's.
 *  */
export class RecentGroups {
  #groups: Remembered[] = [];
  #changes = 0;
  #bytes = 0;
  #unknown: readonly Change[] = [];

  /** These changes were acknowledged, in this order. `bytes` is about what they hold. */
  acknowledged(changes: readonly Change[], bytes: number): void {
    this.#groups.push({ changes, bytes });
    this.#changes += changes.length;
    this.#bytes += bytes;
    while (this.#groups.length > 1 && this.#tooMany()) {
      const oldest = this.#groups.shift()!;
      this.#changes -= oldest.changes.length;
      this.#bytes -= oldest.bytes;
    }
  }

  #tooMany(): boolean {
    return (
      this.#groups.length > GROUPS_MAX || this.#changes > CHANGES_MAX || this.#bytes > BYTES_MAX
    );
  }

  /** Nobody knows whether these changes took place. */
  unknown(changes: readonly Change[]): void {
    this.#unknown = changes;
  }

  /** Keys that must have a row, and those that must have none. `tookPlace`: the write of unknown
   *  outcome is there, and says the last of its own keys. */
  expected(tookPlace: boolean): { readonly there: Uint8Array[]; readonly gone: Uint8Array[] } {
    const last = new Map<string, Change>();
    for (const { changes } of this.#groups) {
      for (const change of changes) last.set(nameOf(change.key), change);
    }
    if (tookPlace) for (const { key } of this.#unknown) last.delete(nameOf(key));
    const there: Uint8Array[] = [];
    const gone: Uint8Array[] = [];
    for (const { type, key } of last.values()) (type === 'put' ? there : gone).push(key);
    return { there, gone };
  }

  /** Forgets all of it: the store was compared and goes on. */
  clear(): void {
    this.#groups = [];
    this.#changes = 0;
    this.#bytes = 0;
    this.#unknown = [];
  }
}

const nameOf = (key: Uint8Array): string =>
  Buffer.from(key.buffer, key.byteOffset, key.byteLength).toString('latin1');
