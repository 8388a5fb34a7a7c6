import type { Page } from '../../storage/store.ts';
import { getU32, PREFIX } from '../../vault/layout.ts';
import { decodeDomain, proven } from '../../vault/rows.ts';
import { BackupError } from './backup-error.ts';

/* What a backup holds once age has decrypted it:
 *
 *   "lockstep backup 1\n"
 *   head       manifest, first part: JSON
 *   catalogue  the sealed catalogue with the wrapped keys, as catalogue.json holds it
 *   rows       again and again: the vault's rows in the order of their keys
 *   tail       manifest, second part: JSON with counts, and SHA-256 over every byte before it
 *   signature  Ed25519 by the log's checkpoint key over `signedText`, 64 bytes
 *
 * A frame is its kind u8 ‖ length u32 ‖ that many bytes; a row in a frame is key length u16 ‖ value
 * length u32 ‖ key ‖ value. Numbers are big-endian. Nothing follows the signature. */

export const MAGIC = Buffer.from('lockstep backup 1\n', 'ascii');

export const FRAME = { head: 1, catalogue: 2, rows: 3, tail: 4, signature: 5 } as const;

export const FRAME_HEAD_BYTES = 5;
const ROW_HEAD_BYTES = 6;
/** A frame of rows goes once it is longer: big enough that a message between threads costs nothing
 *  beside it, small enough that four of them are. */
const ROWS_BYTES = 256 * 1024;
/** One row beyond that; bodies of the outbox are the longest rows. */
export const FRAME_BYTES_MAX = 256 * 1024 * 1024;

export function frameOf(kind: number, payload: Uint8Array): Uint8Array {
  const frame = new Uint8Array(FRAME_HEAD_BYTES + payload.length);
  putHead(frame, kind, payload.length);
  frame.set(payload, FRAME_HEAD_BYTES);
  return frame;
}

function putHead(frame: Uint8Array, kind: number, length: number): void {
  frame[0] = kind;
  frame[1] = length >>> 24;
  frame[2] = length >>> 16;
  frame[3] = length >>> 8;
  frame[4] = length;
}

/** Counts rows as they pass in the order of their keys: a domain's row comes before its records. */
export class RowCounts {
  rows = 0;
  readonly #records = new Map<number, number>();
  readonly #names = new Map<number, string>();

  add(key: Uint8Array, value: Uint8Array): void {
    this.rows += 1;
    if (key[0] === PREFIX.record) {
      const domain = getU32(key, 1);
      this.#records.set(domain, (this.#records.get(domain) ?? 0) + 1);
    } else if (key[0] === PREFIX.domain) {
      const { number } = decodeDomain(proven(key, value));
      this.#names.set(number, Buffer.from(key.subarray(1)).toString('utf8'));
    }
  }

  /** Records by domain id. */
  get records(): Record<string, number> {
    return Object.fromEntries(
      [...this.#records].map(([number, count]) => [this.#names.get(number) ?? `#${number}`, count]),
    );
  }
}

/** Packs pages of rows into frames. */
export class RowFramer {
  readonly counts = new RowCounts();
  #frame = new Uint8Array(2 * ROWS_BYTES);
  #end = FRAME_HEAD_BYTES;

  /** Frames that this page has filled, ready to be given away. */
  add(page: Page): Uint8Array<ArrayBuffer>[] {
    const full: Uint8Array<ArrayBuffer>[] = [];
    for (const [key, value] of page) {
      const bytes = ROW_HEAD_BYTES + key.length + value.length;
      if (this.#end + bytes > this.#frame.length) {
        full.push(...this.end());
        if (FRAME_HEAD_BYTES + bytes > this.#frame.length) {
          this.#frame = new Uint8Array(FRAME_HEAD_BYTES + bytes);
        }
      }
      this.#put(key, value);
      this.counts.add(key, value);
    }
    if (this.#end >= ROWS_BYTES) full.push(...this.end());
    return full;
  }

  #put(key: Uint8Array, value: Uint8Array): void {
    const frame = this.#frame;
    let at = this.#end;
    frame[at++] = key.length >>> 8;
    frame[at++] = key.length;
    frame[at++] = value.length >>> 24;
    frame[at++] = value.length >>> 16;
    frame[at++] = value.length >>> 8;
    frame[at++] = value.length;
    // Keys and most values are shorter than what a call of `set` costs.
    for (let i = 0; i < key.length; i++) frame[at++] = key[i]!;
    if (value.length > 64) frame.set(value, at);
    else for (let i = 0; i < value.length; i++) frame[at + i] = value[i]!;
    this.#end = at + value.length;
  }

  /** The last frame; none where no row is left. */
  end(): Uint8Array<ArrayBuffer>[] {
    if (this.#end === FRAME_HEAD_BYTES) return [];
    const frame = this.#frame.subarray(0, this.#end);
    putHead(frame, FRAME.rows, this.#end - FRAME_HEAD_BYTES);
    this.#frame = new Uint8Array(2 * ROWS_BYTES);
    this.#end = FRAME_HEAD_BYTES;
    return [frame];
  }
}

/** The rows of one frame, as views. Throws `BackupError`. */
export function* rowsOf(payload: Uint8Array): Generator<readonly [Uint8Array, Uint8Array]> {
  for (let at = 0; at < payload.length; ) {
    if (at + ROW_HEAD_BYTES > payload.length) throw new BackupError('damaged');
    const keyEnd = at + ROW_HEAD_BYTES + ((payload[at]! << 8) | payload[at + 1]!);
    const end = keyEnd + getU32(payload, at + 2);
    if (end > payload.length) throw new BackupError('damaged');
    yield [payload.subarray(at + ROW_HEAD_BYTES, keyEnd), payload.subarray(keyEnd, end)];
    at = end;
  }
}
