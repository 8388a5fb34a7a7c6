import { AuditError } from './audit-error.ts';
import { foldLeft, HASH_BYTES, perfectRoot } from './tree.ts';

/** Hashes of a full tile, entries of a full bundle (C2SP tlog-tiles: height 8). */
export const TILE_WIDTH = 256;
const TILE_BYTES = TILE_WIDTH * HASH_BYTES;

/** Hashes of perfect subtrees of 256^level entries, or the entries themselves. */
export type TileKind = number | 'entries';

/** Path below the log's folder: `tile/<level>/<index>[.p/<width>]`, the index in elements of three
 *  digits, all but the last with an x: 1234067 is `x001/x234/067`. Width 256 is a full tile. */
export function tilePath(kind: TileKind, index: number, width: number): string {
  const path = `tile/${kind}/${indexPath(index)}`;
  return width === TILE_WIDTH ? path : `${path}.p/${width}`;
}

/** Folder of the partial tiles of one place. */
export const partialFolder = (kind: TileKind, index: number): string =>
  `tile/${kind}/${indexPath(index)}.p`;

function indexPath(index: number): string {
  let path = String(index % 1000).padStart(3, '0');
  for (let rest = Math.floor(index / 1000); rest > 0; rest = Math.floor(rest / 1000)) {
    path = `x${String(rest % 1000).padStart(3, '0')}/${path}`;
  }
  return path;
}

/** Full tiles of a level in a tree of `size` entries. */
export const fullTiles = (level: number, size: number): number =>
  Math.floor(size / TILE_WIDTH ** (level + 1));

/** Width of the level's partial tile, 0 where there is none. */
export const partialWidth = (level: number, size: number): number =>
  Math.floor(size / TILE_WIDTH ** level) % TILE_WIDTH;

/** Levels that have a tile, full or partial. */
export function levelCount(size: number): number {
  let levels = 0;
  while (size >= TILE_WIDTH ** levels) levels++;
  return levels;
}

/** The entries of a bundle (each its length in 16 bits, big-endian, then its bytes), as views;
 *  fewer than `width`, or more, where it is damaged. */
export function decodeBundle(bundle: Uint8Array): Uint8Array[] {
  const entries: Uint8Array[] = [];
  let at = 0;
  while (at + 2 <= bundle.length) {
    const end = at + 2 + bundle[at]! * 256 + bundle[at + 1]!;
    if (end > bundle.length) break;
    entries.push(bundle.subarray(at + 2, end));
    at = end;
  }
  // A remainder shows as one entry too many, so a caller that counts sees it.
  if (at !== bundle.length) entries.push(bundle.subarray(at));
  return entries;
}

/** The right edge of the tree as its rightmost tiles: at most 8 KiB a level, whatever the size. */
export class TileBuilder {
  /** Entries so far. */
  size = 0;
  readonly #tiles: Uint8Array[] = [];
  readonly #onFull: (level: number, index: number, hashes: Uint8Array) => void;

  /** `onFull` gets each tile as it fills: 8,192 bytes that nobody changes any more. */
  constructor(onFull: (level: number, index: number, hashes: Uint8Array) => void) {
    this.#onFull = onFull;
  }

  /** Begins at a tree of `size` entries; `partials[level]` are the hashes of its partial tiles. */
  resume(size: number, partials: readonly Uint8Array[]): void {
    this.size = size;
    this.#tiles.length = 0;
    for (const [level, hashes] of partials.entries()) {
      if (hashes.length !== partialWidth(level, size) * HASH_BYTES) {
        throw new AuditError('damaged', 'a partial tile has another width');
      }
      const tile = new Uint8Array(TILE_BYTES);
      tile.set(hashes);
      this.#tiles.push(tile);
    }
  }

  push(leaf: Uint8Array): void {
    let hash = leaf;
    for (let level = 0; ; level++) {
      const place = partialWidth(level, this.size);
      const tile = this.#tiles[level] ?? new Uint8Array(TILE_BYTES);
      this.#tiles[level] = tile;
      tile.set(hash, place * HASH_BYTES);
      if (place + 1 < TILE_WIDTH) break;
      this.#onFull(level, fullTiles(level, this.size), tile);
      this.#tiles[level] = new Uint8Array(TILE_BYTES);
      hash = perfectRoot(tile);
    }
    this.size++;
  }

  /** The hashes of the level's partial tile, a view that later pushes add to but never change. */
  partial(level: number): Uint8Array {
    const width = partialWidth(level, this.size);
    return this.#tiles[level]?.subarray(0, width * HASH_BYTES) ?? new Uint8Array(0);
  }

  /** RFC 6962 root; undefined without entries. */
  root(): Uint8Array | undefined {
    let root: Uint8Array | undefined;
    for (let level = 0; level < levelCount(this.size); level++) {
      root = foldLeft(this.partial(level), root);
    }
    return root;
  }
}
