import { randomBytes } from 'node:crypto';

/** Crockford's base 32: no I, L, O, U. */
const DIGITS = '0123456789ABCDEFGHJKMNPQRSTVWXYZ';
const RANDOM_BITS = 80n;

let last = 0n;

/** A new ULID (github.com/ulid/spec): 26 characters, time in milliseconds and 80 random bits. Those
 *  of one process ascend, also within a millisecond and when the clock goes back. */
export function ulid(nowMs: number): string {
  const random = BigInt(`0x${randomBytes(10).toString('hex')}`);
  const fresh = (BigInt(nowMs) << RANDOM_BITS) | random;
  last = fresh > last ? fresh : last + 1n;
  let text = '';
  for (let value = last, i = 0; i < 26; i++, value >>= 5n) {
    text = DIGITS[Number(value & 31n)]! + text;
  }
  return text;
}

export const isUlid = (text: string): boolean => /^[0-7][0-9A-HJKMNP-TV-Z]{25}$/.test(text);
