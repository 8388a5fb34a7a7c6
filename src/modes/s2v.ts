import assert from 'node:assert';
import { type Column, rowStart } from '../base/column.ts';
import type { BlockKey } from '../keys/key.ts';
import { BLOCK_BYTES, BLOCK_WORDS } from './blocks.ts';
import { Chains } from './chains.ts';
import { cmac, doubleBlock, subkeysOf } from './cmac.ts';
import { assertApart, LONG_TAG, longDigest, SHORT_BYTES_MAX } from './long-siv.ts';

/** Synthetic IVs of a batch, 16 bytes a row: S2V (RFC 5297 §2.4) of the associated strings and the
 *  plain text, or its long form. Key calls, after the first use of key and constants: as many as
 *  the longest string of an associated column has blocks, or the plain text before its last 16
 *  bytes, or two where a row is long; then one, or two where a plain text of more than 16 bytes is
 *  not whole blocks. */
export function syntheticIvs(
  mac: BlockKey,
  associated: readonly (Uint8Array | Column)[],
  plain: Column,
): Uint8Array {
  const rows = plain.ends.length;
  assert(associated.length <= STRINGS_A_ROW_MAX, 'S2V takes at most 126 associated strings');
  assertApart(associated, rows);
  const constants = constantsOf(mac);
  const columns = associated.filter((part): part is Column => !(part instanceof Uint8Array));
  first.start(rows * (columns.length + 1));
  last.start(rows);
  try {
    absorbFirst(mac, associated, columns, plain, constants);
    return absorbLast(mac, associated, plain, constants);
  } finally {
    first.wipe();
    last.wipe();
    tails.fill(0, 0, rows * TAIL_BYTES);
  }
}

/** CMACs under a key that do not change from batch to batch. */
interface Constants {
  /** CMAC of the zero block, what S2V starts from. */
  readonly zero: Uint32Array;
  /** E(tag): the state after the first block of a long message. */
  readonly longState: Uint32Array;
  /** CMAC by constant associated string (its bytes as Latin-1). */
  readonly strings: Map<string, Uint32Array>;
}

/** RFC 5297 §7: 127 with the plain text. */
const STRINGS_A_ROW_MAX = 126;
const STRINGS_MAX = 256;
const DIGEST_BYTES = 32;
/** T from its last block boundary before the last 16 bytes: 16 to 31 bytes. */
const TAIL_BYTES = 32;
const known = new WeakMap<BlockKey, Constants>();
/** Kept by the thread. */
const first = new Chains();
const last = new Chains();
let tails = new Uint8Array(0);

/** Two key calls beside the subkeys, once a key object. */
function constantsOf(mac: BlockKey): Constants {
  const old = known.get(mac);
  if (old !== undefined) return old;
  const zero = wordsOf(cmac(mac, new Uint8Array(BLOCK_BYTES)));
  const longState = Uint8Array.from(LONG_TAG);
  mac.encryptBlocks(longState);
  const made = { zero, longState: wordsOf(longState), strings: new Map<string, Uint32Array>() };
  known.set(mac, made);
  return made;
}

function constantMac(mac: BlockKey, constants: Constants, string: Uint8Array): Uint32Array {
  const id = Buffer.from(string.buffer, string.byteOffset, string.byteLength).toString('latin1');
  const old = constants.strings.get(id);
  if (old !== undefined) return old;
  if (constants.strings.size >= STRINGS_MAX) constants.strings.clear();
  const made = wordsOf(cmac(mac, string));
  constants.strings.set(id, made);
  return made;
}

/** All that does not depend on D runs together: the CMACs of the associated columns, row by row
 *  and column by column, then a chain a row: the plain text up to its tail, or a long row's digest.
 *  */
function absorbFirst(
  mac: BlockKey,
  associated: readonly (Uint8Array | Column)[],
  columns: readonly Column[],
  plain: Column,
  constants: Constants,
): void {
  // Constants first: their CMACs use chains of their own, but must not stop this batch half way.
  for (const part of associated) if (part instanceof Uint8Array) constantMac(mac, constants, part);
  for (const column of columns) {
    const source = first.addSource(column.bytes);
    let start = 0;
    for (let row = 0; row < column.ends.length; row++) {
      const end = column.ends[row]!;
      first.add(source, start, end, true);
      start = end;
    }
  }
  const source = first.addSource(plain.bytes);
  const digests = new Uint8Array(countLong(plain) * DIGEST_BYTES);
  const digestSource = first.addSource(digests);
  let digestAt = 0;
  let start = 0;
  for (let row = 0; row < plain.ends.length; row++) {
    const end = plain.ends[row]!;
    if (end - start > SHORT_BYTES_MAX) {
      digests.set(longDigest(associated, plain, row), digestAt);
      const chain = first.add(digestSource, digestAt, digestAt + DIGEST_BYTES, true);
      first.states.set(constants.longState, chain * BLOCK_WORDS);
      digestAt += DIGEST_BYTES;
    } else {
      first.add(source, start, start + headBytes(end - start), false);
    }
    start = end;
  }
  first.run(mac, subkeysOf(mac));
}

/** D of every row, T's tail, and the end of its CMAC (RFC 5297 §2.4, figure 2). */
function absorbLast(
  mac: BlockKey,
  associated: readonly (Uint8Array | Column)[],
  plain: Column,
  constants: Constants,
): Uint8Array {
  const rows = plain.ends.length;
  const plainChains = first.count - rows;
  const ivs = new Uint8Array(rows * BLOCK_BYTES);
  if (tails.length < rows * TAIL_BYTES) tails = new Uint8Array(2 * rows * TAIL_BYTES);
  const source = last.addSource(tails);
  const d = new Uint32Array(BLOCK_WORDS);
  const dBytes = new Uint8Array(d.buffer);
  const shared = new Uint32Array(BLOCK_WORDS);
  // The strings before the first column give every row the same D.
  const lead = sharedD(mac, associated, constants, shared);
  // Per string after that: its CMAC, or undefined for a column.
  const macs = associated
    .slice(lead)
    .map((part) => (part instanceof Uint8Array ? constantMac(mac, constants, part) : undefined));
  for (let row = 0; row < rows; row++) {
    const start = rowStart(plain, row);
    const length = plain.ends[row]! - start;
    const chain = (plainChains + row) * BLOCK_WORDS;
    if (length > SHORT_BYTES_MAX) continue;
    for (let w = 0; w < BLOCK_WORDS; w++) d[w] = shared[w]!;
    foldStrings(macs, row, rows, d);
    const head = headBytes(length);
    const at = row * TAIL_BYTES;
    const tail = writeTail(plain.bytes, start + head, length - head, d, dBytes, at);
    const i = last.add(source, at, at + tail, true);
    for (let w = 0; w < BLOCK_WORDS; w++)
      last.states[i * BLOCK_WORDS + w] = first.states[chain + w]!;
  }
  last.run(mac, subkeysOf(mac));
  copyIvs(plain, plainChains, ivs);
  d.fill(0);
  return ivs;
}

function sharedD(
  mac: BlockKey,
  associated: readonly (Uint8Array | Column)[],
  constants: Constants,
  d: Uint32Array,
): number {
  d.set(constants.zero);
  for (const [i, part] of associated.entries()) {
    if (!(part instanceof Uint8Array)) return i;
    doubleBlock(d, 0);
    xorWords(d, constantMac(mac, constants, part), 0);
  }
  return associated.length;
}

/** D = dbl(D) ⊕ CMAC(string) for the strings from the first column on. */
function foldStrings(
  macs: readonly (Uint32Array | undefined)[],
  row: number,
  rows: number,
  d: Uint32Array,
): void {
  let column = 0;
  for (let i = 0; i < macs.length; i++) {
    const own = macs[i];
    doubleBlock(d, 0);
    if (own !== undefined) xorWords(d, own, 0);
    else xorWords(d, first.states, (column++ * rows + row) * BLOCK_WORDS);
  }
}

/** The end of T at `at` of `tails`: `xorend` where the plain text has 16 bytes or more, else
 *  dbl(D) ⊕ pad. Returns its length. */
function writeTail(
  plain: Uint8Array,
  from: number,
  length: number,
  d: Uint32Array,
  dBytes: Uint8Array,
  at: number,
): number {
  for (let i = 0; i < length; i++) tails[at + i] = plain[from + i]!;
  if (length >= BLOCK_BYTES) {
    const end = at + length - BLOCK_BYTES;
    for (let i = 0; i < BLOCK_BYTES; i++) tails[end + i]! ^= dBytes[i]!;
    return length;
  }
  tails[at + length] = 0x80;
  for (let i = length + 1; i < BLOCK_BYTES; i++) tails[at + i] = 0;
  doubleBlock(d, 0);
  for (let i = 0; i < BLOCK_BYTES; i++) tails[at + i]! ^= dBytes[i]!;
  return BLOCK_BYTES;
}

function copyIvs(plain: Column, plainChains: number, ivs: Uint8Array): void {
  let short = 0;
  for (let row = 0; row < plain.ends.length; row++) {
    const long = plain.ends[row]! - rowStart(plain, row) > SHORT_BYTES_MAX;
    const from = (long ? plainChains + row : short++) * BLOCK_BYTES;
    const bytes = long ? first.stateBytes : last.stateBytes;
    for (let i = 0; i < BLOCK_BYTES; i++) ivs[row * BLOCK_BYTES + i] = bytes[from + i]!;
  }
}

function countLong(plain: Column): number {
  let long = 0;
  for (let row = 0; row < plain.ends.length; row++) {
    if (plain.ends[row]! - rowStart(plain, row) > SHORT_BYTES_MAX) long++;
  }
  return long;
}

/** Whole blocks of a plain text that lie before its last 16 bytes. */
const headBytes = (length: number): number =>
  length < BLOCK_BYTES ? 0 : (length - BLOCK_BYTES) & ~(BLOCK_BYTES - 1);

function xorWords(target: Uint32Array, source: Uint32Array, at: number): void {
  for (let w = 0; w < BLOCK_WORDS; w++) target[w]! ^= source[at + w]!;
}

const wordsOf = (bytes: Uint8Array): Uint32Array => {
  const words = new Uint32Array(BLOCK_WORDS);
  new Uint8Array(words.buffer).set(bytes);
  return words;
};
