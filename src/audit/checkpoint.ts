import { AuditError } from './audit-error.ts';
import { base64, openNote, type Verifier } from './note.ts';
import { HASH_BYTES, leafHash, verifyInclusion } from './tree.ts';

/** A signed tree head (C2SP tlog-checkpoint). */
export interface Checkpoint {
  readonly origin: string;
  /** Entries that it covers. */
  readonly size: number;
  /** RFC 6962 root, 32 bytes. */
  readonly root: Uint8Array;
  /** The signed note as it was published. */
  readonly text: string;
}

/** The text that gets signed: origin, size and root, a line each. */
export const checkpointBody = (origin: string, size: number, root: Uint8Array): string =>
  `${origin}\n${size}\n${Buffer.from(root).toString('base64')}\n`;

/** Reads a checkpoint that `verifier` signed for the origin of its own name. Throws AuditError
 *  `signature`, also for one that does not parse. */
export function openCheckpoint(note: Uint8Array, verifier: Verifier): Checkpoint {
  try {
    const { text } = openNote(note, [verifier]);
    // Extension lines may follow (tlog-checkpoint); we write none and pass over them.
    const [origin, decimal, root64] = text.slice(0, -1).split('\n');
    const size = wholeOf(decimal ?? '');
    const root = base64(root64 ?? '');
    if (origin !== verifier.name || size === undefined || root?.length !== HASH_BYTES) {
      throw new RangeError('not a checkpoint of this log');
    }
    return { origin, size, root, text: Buffer.from(note).toString('utf8') };
  } catch (cause) {
    throw new AuditError('signature', 'not a checkpoint of this log', undefined, cause);
  }
}

const PROOF = 'c2sp.org/tlog-proof@v1';

/** C2SP tlog-proof: everything needed to check one entry offline, but the entry. */
export function formatProof(
  index: number,
  path: readonly Uint8Array[],
  checkpoint: string,
): string {
  const lines = path.map((hash) => `${Buffer.from(hash).toString('base64')}\n`);
  return `${PROOF}\nindex ${index}\n${lines.join('')}\n${checkpoint}`;
}

/** Checks a tlog-proof of `entry` and gives its index and checkpoint. Throws AuditError. */
export function verifyProof(
  proof: string,
  entry: Uint8Array,
  verifier: Verifier,
): { readonly index: number; readonly checkpoint: Checkpoint } {
  const blank = proof.indexOf('\n\n');
  const lines = proof.slice(0, Math.max(blank, 0)).split('\n');
  if (blank < 0 || lines.shift() !== PROOF) throw new AuditError('malformed', 'not a tlog-proof');
  // Extra data is not authenticated and nothing of ours reads it.
  if (lines[0]?.startsWith('extra ') === true) lines.shift();
  const index = wholeOf(/^index (\d+)$/.exec(lines.shift() ?? '')?.[1] ?? '');
  const path = lines.map(base64);
  const checkpoint = openCheckpoint(Buffer.from(proof.slice(blank + 2), 'utf8'), verifier);
  const whole = path.filter((hash) => hash !== undefined);
  if (
    index === undefined ||
    whole.length !== path.length ||
    !verifyInclusion(index, checkpoint.size, leafHash(entry), whole, checkpoint.root)
  ) {
    throw new AuditError('damaged', 'the proof does not hold for this entry', index);
  }
  return { index, checkpoint };
}

/** ASCII decimal without leading zeroes, up to 2^53 - 1. */
function wholeOf(decimal: string): number | undefined {
  const value = Number(decimal);
  return /^(0|[1-9]\d*)$/.test(decimal) && Number.isSafeInteger(value) ? value : undefined;
}
