import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { Readable } from 'node:stream';
import { getU32 } from '../../vault/layout.ts';
import { decryptStream } from './age.ts';
import { BackupError } from './backup-error.ts';
import { FRAME, FRAME_BYTES_MAX, FRAME_HEAD_BYTES, MAGIC, RowCounts, rowsOf } from './frames.ts';
import {
  decodeHead,
  decodeTail,
  type ManifestHead,
  type ManifestTail,
  verifySignature,
} from './manifest.ts';

/** A backup as it is read, in one pass from front to back. Every byte is authentic as far as age
 *  goes; that it is whole, and whose it is, is known when `rows` has come to its end. */
export interface BackupReader {
  readonly head: ManifestHead;
  /** As catalogue.json holds it. */
  readonly catalogue: Uint8Array;
  /** Of the file, for the progress. */
  readonly fileBytes: number;
  readonly bytesRead: number;
  /** All rows, a frame at a time. Its return value is the tail, checked against what was read, and
   *  the signature against the key that the head names. Throws `BackupError`. Once only. */
  rows(): AsyncGenerator<Iterable<readonly [Uint8Array, Uint8Array]>, ManifestTail>;
  close(): Promise<void>;
}

/** Opens a backup file and reads its first two frames. Rejects with `BackupError`, or with the
 *  system's error where the file cannot be read. */
export async function openBackup(
  path: string,
  identities: readonly string[],
): Promise<BackupReader> {
  const { size } = await stat(path);
  const file = createReadStream(path, { highWaterMark: 256 * 1024 });
  try {
    const counted = { bytes: 0 };
    const plain = await decryptStream(countedStream(file, counted), identities);
    const frames = new FrameReader(plain);
    await frames.magic();
    const head = decodeHead(await frames.expect(FRAME.head));
    const catalogue = Uint8Array.from(await frames.expect(FRAME.catalogue));
    return {
      head,
      catalogue,
      fileBytes: size,
      get bytesRead() {
        return counted.bytes;
      },
      rows: () => readRows(frames, head),
      async close() {
        await frames.cancel();
        file.destroy();
      },
    };
  } catch (error) {
    file.destroy();
    throw error;
  }
}

function countedStream(file: Readable, counted: { bytes: number }): ReadableStream<Uint8Array> {
  file.on('data', (chunk: Buffer) => {
    counted.bytes += chunk.length;
  });
  file.pause();
  return Readable.toWeb(file) as ReadableStream<Uint8Array>;
}

async function* readRows(
  frames: FrameReader,
  head: ManifestHead,
): AsyncGenerator<Iterable<readonly [Uint8Array, Uint8Array]>, ManifestTail> {
  const counts = new RowCounts();
  let before = frames.digest();
  let frame = await frames.next();
  for (; frame.kind === FRAME.rows; frame = await frames.next()) {
    const rows = [...rowsOf(frame.payload)];
    for (const [key, value] of rows) counts.add(key, value);
    yield rows;
    before = frames.digest();
  }
  if (frame.kind !== FRAME.tail) throw new BackupError('damaged');
  const tail = decodeTail(frame.payload);
  const digest = frames.digest();
  const signature = Uint8Array.from(await frames.expect(FRAME.signature));
  await frames.end();
  verifySignature(head, digest, signature);
  const same = JSON.stringify(tail.records) === JSON.stringify(counts.records);
  if (tail.sha256 !== before || tail.rows !== counts.rows || !same) {
    throw new BackupError('damaged');
  }
  return tail;
}

/** Cuts a stream of bytes into frames, and hashes them as it goes. */
class FrameReader {
  readonly #chunks: ReadableStreamDefaultReader<Uint8Array>;
  readonly #hash = createHash('sha256');
  #rest: Uint8Array = new Uint8Array(0);

  constructor(plain: ReadableStream<Uint8Array>) {
    this.#chunks = plain.getReader();
  }

  async magic(): Promise<void> {
    if (!MAGIC.equals(await this.#take(MAGIC.length))) throw new BackupError('not-a-backup');
  }

  async next(): Promise<{ readonly kind: number; readonly payload: Uint8Array }> {
    const frameHead = await this.#take(FRAME_HEAD_BYTES);
    const kind = frameHead[0]!;
    const length = getU32(frameHead, 1);
    if (length > FRAME_BYTES_MAX) throw new BackupError('damaged');
    return { kind, payload: await this.#take(length) };
  }

  async expect(kind: number): Promise<Uint8Array> {
    const frame = await this.next();
    if (frame.kind !== kind) throw new BackupError('damaged');
    return frame.payload;
  }

  /** SHA-256 over all frames so far, hex. */
  digest(): string {
    return this.#hash.copy().digest('hex');
  }

  /** Nothing may follow. */
  async end(): Promise<void> {
    while (this.#rest.length === 0) {
      const { done, value } = await this.#read();
      if (done) return;
      this.#rest = value;
    }
    throw new BackupError('damaged');
  }

  async cancel(): Promise<void> {
    await this.#chunks.cancel().catch(() => {});
  }

  async #take(length: number): Promise<Uint8Array> {
    if (this.#rest.length < length) await this.#gather(length);
    const bytes = this.#rest.subarray(0, length);
    this.#rest = this.#rest.subarray(length);
    this.#hash.update(bytes);
    return bytes;
  }

  /** At least `length` bytes in a row. Nothing is set aside for bytes that have not come. */
  async #gather(length: number): Promise<void> {
    const parts = [this.#rest];
    for (let bytes = this.#rest.length; bytes < length; ) {
      const { done, value } = await this.#read();
      if (done) throw new BackupError('damaged');
      parts.push(value);
      bytes += value.length;
    }
    this.#rest = Buffer.concat(parts);
  }

  /** What age throws while it reads is a chunk that does not open, or an end that came too soon. */
  async #read(): Promise<{ done: true; value?: undefined } | { done: false; value: Uint8Array }> {
    try {
      const { done, value } = await this.#chunks.read();
      return done || value === undefined ? { done: true } : { done: false, value };
    } catch (cause) {
      throw new BackupError('damaged', cause);
    }
  }
}
