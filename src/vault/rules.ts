import { type Change, StoreError } from '../storage/store.ts';
import { getU32, getU64, PREFIX, putU32, putU64 } from './layout.ts';
import { checked } from './rows.ts';

/** Rules as a call brings them for the records it makes. Times are ms since 1970, UTC. */
export interface NewRules {
  readonly createdMs: number;
  /** The token ends so long after its last reveal, or after it was made; 0 for never. */
  readonly idleMs: number;
  /** The token ends then; 0 for never. */
  readonly expireMs: number;
  /** The token ends after so many reveals; 0 for no limit. */
  readonly revealsMax: number;
  /** At most 8 of at most 64 bytes each. */
  readonly labels: readonly string[];
}

/** The rules row of one token. */
export interface TokenRules extends NewRules {
  /** Last reveal, or `createdMs`; kept only where `idleMs` is set. */
  readonly usedMs: number;
  /** Reveals so far; counted only where `revealsMax` is set. */
  readonly reveals: number;
  /** Stopped by Restrict. */
  readonly restricted: boolean;
  /** Its value was erased, the token stays known. */
  readonly unlinked: boolean;
}

const RESTRICTED = 1;
const UNLINKED = 2;
/** flags 1 ‖ created 8 ‖ idle 8 ‖ used 8 ‖ expire 8 ‖ reveals max 4 ‖ reveals 4 ‖ labels (each:
 *  length 1 ‖ UTF-8). */
const HEAD_BYTES = 41;
export const RULES_KEY_BYTES = 13;

export function rulesKey(domain: number, counter: number): Uint8Array {
  const key = new Uint8Array(RULES_KEY_BYTES);
  key[0] = PREFIX.rules;
  putU32(key, 1, domain);
  putU64(key, 5, counter);
  return key;
}

export function encodeRules(rules: TokenRules): Uint8Array {
  const labels = rules.labels.map((label) => Buffer.from(label, 'utf8'));
  const length = labels.reduce((sum, label) => sum + 1 + label.length, HEAD_BYTES);
  const bytes = new Uint8Array(length);
  bytes[0] = (rules.restricted ? RESTRICTED : 0) | (rules.unlinked ? UNLINKED : 0);
  putU64(bytes, 1, rules.createdMs);
  putU64(bytes, 9, rules.idleMs);
  putU64(bytes, 17, rules.usedMs);
  putU64(bytes, 25, rules.expireMs);
  putU32(bytes, 33, rules.revealsMax);
  putU32(bytes, 37, rules.reveals);
  let at = HEAD_BYTES;
  for (const label of labels) {
    bytes[at++] = label.length;
    bytes.set(label, at);
    at += label.length;
  }
  return bytes;
}

/** Of a proven row; throws `StoreError('corrupt')`. */
export function decodeRules(bytes: Uint8Array): TokenRules {
  if (bytes.length < HEAD_BYTES) throw new StoreError('corrupt');
  const labels: string[] = [];
  for (let at = HEAD_BYTES; at < bytes.length; at += 1 + bytes[at]!) {
    labels.push(Buffer.from(bytes.subarray(at + 1, at + 1 + bytes[at]!)).toString('utf8'));
  }
  return {
    restricted: (bytes[0]! & RESTRICTED) !== 0,
    unlinked: (bytes[0]! & UNLINKED) !== 0,
    createdMs: getU64(bytes, 1),
    idleMs: getU64(bytes, 9),
    usedMs: getU64(bytes, 17),
    expireMs: getU64(bytes, 25),
    revealsMax: getU32(bytes, 33),
    reveals: getU32(bytes, 37),
    labels,
  };
}

export function rulesChange(domain: number, counter: number, rules: TokenRules): Change {
  const key = rulesKey(domain, counter);
  return { type: 'put', key, value: checked(key, encodeRules(rules)) };
}

/** Adds the rules row of each new record. */
export function pushRulesRows(
  changes: Change[],
  domain: number,
  rules: NewRules,
  counters: Float64Array,
): void {
  const usedMs = rules.createdMs;
  const row = encodeRules({ ...rules, usedMs, reveals: 0, restricted: false, unlinked: false });
  for (const counter of counters) {
    const key = rulesKey(domain, counter);
    changes.push({ type: 'put', key, value: checked(key, row) });
  }
}
