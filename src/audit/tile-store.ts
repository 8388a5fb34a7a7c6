import { AuditError } from './audit-error.ts';
import type { Disk } from './disk.ts';
import {
  decodeBundle,
  fullTiles,
  partialWidth,
  TILE_WIDTH,
  type TileKind,
  tilePath,
} from './tiles.ts';
import { HASH_BYTES, perfectRoot, type ReadNode } from './tree.ts';

/** Tiles and bundles never change, so the last ones read are kept: at most 64 of ≤ 64 KiB or so. */
const CACHED_MAX = 64;

/** Reads tiles and bundles as they lie on disk. */
export class TileStore {
  readonly #disk: Disk;
  readonly #cached = new Map<string, Buffer>();

  constructor(disk: Disk) {
    this.#disk = disk;
  }

  /** The first `width` hashes of a tile. A full tile stands in for a partial one, which goes away
   *  once the full one is there. Throws AuditError `missing` or `damaged`. */
  async hashes(level: number, index: number, width: number): Promise<Uint8Array> {
    const bytes = await this.#read(level, index, width);
    const whole = bytes.length >= width * HASH_BYTES && bytes.length % HASH_BYTES === 0;
    if (!whole) throw damaged(level, index);
    return bytes.subarray(0, width * HASH_BYTES);
  }

  /** The first `width` entries of a bundle. */
  async entries(index: number, width: number): Promise<Uint8Array[]> {
    const entries = decodeBundle(await this.#read('entries', index, width));
    if (entries.length < width) throw damaged('entries', index);
    return entries.slice(0, width);
  }

  /** Roots of perfect subtrees of a tree of `size` entries, for proofs. */
  nodes(size: number): ReadNode {
    return async (level, index) => {
      const tileLevel = Math.floor(level / 8);
      const hashes = 2 ** (level % 8);
      const first = index * hashes;
      const tile = Math.floor(first / TILE_WIDTH);
      const full = tile < fullTiles(tileLevel, size);
      const width = full ? TILE_WIDTH : partialWidth(tileLevel, size);
      const at = (first % TILE_WIDTH) * HASH_BYTES;
      const bytes = await this.hashes(tileLevel, tile, width);
      return perfectRoot(bytes.subarray(at, at + hashes * HASH_BYTES));
    };
  }

  async #read(kind: TileKind, index: number, width: number): Promise<Buffer> {
    for (const path of [tilePath(kind, index, width), tilePath(kind, index, TILE_WIDTH)]) {
      const cached = this.#cached.get(path);
      const bytes = cached ?? (await this.#disk.read(path));
      if (bytes === undefined) continue;
      this.#cached.delete(path);
      this.#cached.set(path, bytes);
      const oldest = this.#cached.keys().next().value;
      if (this.#cached.size > CACHED_MAX && oldest !== undefined) this.#cached.delete(oldest);
      return bytes;
    }
    throw new AuditError('missing', tilePath(kind, index, width), firstEntry(kind, index));
  }
}

const damaged = (kind: TileKind, index: number): AuditError =>
  new AuditError('damaged', tilePath(kind, index, TILE_WIDTH), firstEntry(kind, index));

/** First entry that a tile or bundle speaks for. */
export const firstEntry = (kind: TileKind, index: number): number =>
  index * TILE_WIDTH ** ((kind === 'entries' ? 0 : kind) + 1);
