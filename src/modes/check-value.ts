import type { BlockKey, Role } from '../keys/key.ts';
import { cmac } from './cmac.ts';

const LABEL = 'lockstep kcv';
const CHECK_BYTES = 8;

/** Tells key versions apart without telling the key: the first 8 bytes of
 *  CMAC(K, "lockstep kcv" ‖ role), 16 hex digits. CKA_CHECK_VALUE would not do: it is empty on
 *  unwrapped keys, and is the start of E(0), from which CMAC's subkeys come. */
export function checkValue(key: BlockKey, role: Role): string {
  const tag = cmac(key, Buffer.from(LABEL + role, 'ascii'));
  return Buffer.from(tag.subarray(0, CHECK_BYTES)).toString('hex');
}
