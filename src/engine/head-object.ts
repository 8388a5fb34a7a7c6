import { createHash, timingSafeEqual } from 'node:crypto';
import type { BlockKey, KeyModule } from '../keys/key.ts';
import { cmac } from '../modes/cmac.ts';

/** Where vault and log stand, as a data object in the module keeps it: so that an older copy of
 *  both is seen, and no counter is given out twice. */
export interface Head {
  /** Times that the vault was opened. */
  readonly epoch: number;
  /** 16 random bytes of the process that has the vault: two openings may reach one epoch. */
  readonly owner: Uint8Array;
  /** Highest commit number of the vault. */
  readonly commit: number;
  /** A published checkpoint of the log. */
  readonly size: number;
  readonly root: Uint8Array;
  /** Generation of the catalogue. */
  readonly catalogue: number;
  /** By `markName`. */
  readonly marks: ReadonlyMap<string, Mark>;
}

/** Which counters of a domain may be in use. */
export interface Mark {
  /** Of those given out in order, all lie below. */
  readonly below: number;
  /** Others were drawn or imported, and can be any. */
  readonly unordered: boolean;
}

export interface HeadFound {
  /** The newest that proves itself. */
  readonly head: Head | undefined;
  /** Whether the module keeps one from one process to the next. */
  readonly kept: boolean;
  /** Objects of its name that do not prove themselves. */
  readonly forged: number;
}

export interface HeadWritten {
  /** Nothing was written: another process has the vault. */
  readonly taken: boolean;
}

const LABEL = 'lockstep.head.';
const VERSION = 1;
const FIXED_BYTES = 1 + 16 + 6 * 8 + 16 + 32 + 4;
const MARK_BYTES = 16;
const MAC_BYTES = 16;
/** The low seven bytes of eight. */
const COUNTER_BITS = (1n << 56n) - 1n;

/** What the head needs of the key ring. */
interface Keys {
  readonly installation: string;
  own(role: 'catalogue'): BlockKey;
}

/** A domain as the head names it, 16 hex digits. Not the vault's number: a vault that was rolled
 *  back gives numbers again, to other domains. Nor its id, which would make the object long. */
export const markName = (domain: string): string =>
  createHash('sha256').update(domain).digest().subarray(0, 8).toString('hex');

/** Throws `ModuleError`. */
export function readHead(module: KeyModule, keys: Keys): HeadFound {
  const found = module.readData(LABEL + keys.installation);
  const opened = found.flatMap((bytes) => open(bytes, keys) ?? []);
  const head = newest(opened)?.head;
  return { head, kept: module.keepsData, forged: found.length - opened.length };
}

/** Replaces the head, unless one that is there is of a later epoch, or of this epoch and another
 *  owner. Throws `ModuleError`; the head is then the old or the new one. */
export function writeHead(module: KeyModule, keys: Keys, head: Head): HeadWritten {
  let taken = false;
  module.replaceData(LABEL + keys.installation, (found) => {
    const last = newest(found.flatMap((bytes) => open(bytes, keys) ?? []));
    taken = last !== undefined && isTaken(last.head, head);
    return taken ? undefined : seal(head, (last?.generation ?? 0) + 1, keys);
  });
  return { taken };
}

const isTaken = (there: Head, ours: Head): boolean =>
  there.epoch > ours.epoch ||
  (there.epoch === ours.epoch && Buffer.compare(there.owner, ours.owner) !== 0);

interface Sealed {
  readonly head: Head;
  /** One more at each write: of two that a crash left, the higher counts. */
  readonly generation: number;
}

const newest = (sealed: readonly Sealed[]): Sealed | undefined =>
  [...sealed].sort((a, b) => b.head.epoch - a.head.epoch || b.generation - a.generation)[0];

/** Big-endian: version 1 ‖ installation 16 ‖ epoch, generation, commit, size, catalogue, 0 of 8
 *  bytes each ‖ owner 16 ‖ root 32 ‖ count 4 ‖ marks: name 8, unordered 1, counter 7 ‖ MAC 16. */
function seal(head: Head, generation: number, keys: Keys): Uint8Array {
  const bytes = Buffer.alloc(FIXED_BYTES + MARK_BYTES * head.marks.size + MAC_BYTES);
  bytes[0] = VERSION;
  bytes.set(Buffer.from(keys.installation, 'hex'), 1);
  const numbers = [head.epoch, generation, head.commit, head.size, head.catalogue, 0];
  for (const [i, number] of numbers.entries()) {
    bytes.writeBigUInt64BE(BigInt(number), 17 + 8 * i);
  }
  bytes.set(head.owner, 65);
  bytes.set(head.root, 81);
  bytes.writeUInt32BE(head.marks.size, 113);
  let at = FIXED_BYTES;
  for (const [name, mark] of head.marks) {
    bytes.set(Buffer.from(name, 'hex'), at);
    bytes.writeBigUInt64BE(BigInt(mark.below), at + 8);
    bytes[at + 8] = mark.unordered ? 1 : 0;
    at += MARK_BYTES;
  }
  bytes.set(macOf(bytes.subarray(0, at), keys), at);
  return bytes;
}

/** Undefined for what was not sealed by this installation. */
function open(bytes: Uint8Array, keys: Keys): Sealed | undefined {
  const end = bytes.length - MAC_BYTES;
  if (end < FIXED_BYTES) return undefined;
  const view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (!timingSafeEqual(macOf(view.subarray(0, end), keys), view.subarray(end))) return undefined;
  // Proven: it is as `seal` made it, but perhaps of another version or installation.
  if (view[0] !== VERSION || view.toString('hex', 1, 17) !== keys.installation) return undefined;
  const number = (at: number): number => Number(view.readBigUInt64BE(at));
  const marks = new Map<string, Mark>();
  for (let at = FIXED_BYTES; at < end; at += MARK_BYTES) {
    const below = Number(view.readBigUInt64BE(at + 8) & COUNTER_BITS);
    marks.set(view.toString('hex', at, at + 8), { below, unordered: view[at + 8] === 1 });
  }
  const head = {
    epoch: number(17),
    commit: number(33),
    size: number(41),
    catalogue: number(49),
    owner: Uint8Array.from(view.subarray(65, 81)),
    root: Uint8Array.from(view.subarray(81, 113)),
    marks,
  };
  return { head, generation: number(25) };
}

/** CMAC under the installation's `catalogue` key over a SHA-256, as the catalogue's own; the label
 *  keeps one from passing for the other. */
function macOf(bytes: Uint8Array, keys: Keys): Uint8Array {
  const hash = createHash('sha256').update('lockstep head\0').update(bytes).digest();
  return cmac(keys.own('catalogue'), hash);
}
