import { AssertionError } from 'node:assert';
import { columnOf } from '../base/column.ts';
import type { BlockKey } from '../keys/key.ts';
import { cmac } from '../modes/cmac.ts';
import { decryptRows, encryptRows, ff1Refusal } from '../modes/ff1.ts';
import { SHORT_BYTES_MAX } from '../modes/long-siv.ts';
import { sivOpen, sivSeal } from '../modes/siv.ts';
import type { CmacCase, Ff1Case, SivCase, VectorCase } from './vector-files.ts';

/** `matched`: both ways. `refused`: an invalid case, not accepted. `too-small`: a valid FF1 case
 *  of a domain below 1,000,000, refused as SP 800-38G r1 wants. */
export type Verdict =
  | { readonly is: 'matched' | 'refused' | 'too-small' | 'mismatch' }
  | { readonly is: 'not-applicable'; readonly reason: string };

export type OpenKey = (raw: Uint8Array, id: string) => BlockKey;

const MATCHED: Verdict = { is: 'matched' };
const REFUSED: Verdict = { is: 'refused' };
const TOO_SMALL: Verdict = { is: 'too-small' };
const MISMATCH: Verdict = { is: 'mismatch' };

/** Runs one case through its mode, in a batch of two equal rows. */
export function judge(each: VectorCase, open: OpenKey): Verdict {
  const keys = each.mode === 'siv' ? 2 : 1;
  if (![16, 24, 32].includes(each.key.length / keys)) return each.valid ? MISMATCH : REFUSED;
  switch (each.mode) {
    case 'ff1':
      return judgeFf1(each, open);
    case 'cmac':
      return judgeCmac(each, open);
    case 'siv':
      return judgeSiv(each, open);
  }
}

function judgeFf1(each: Ff1Case, open: OpenKey): Verdict {
  const { radix, tweak, plain, cipher, valid } = each;
  const key = open(each.key, `vectors/${each.id}.ff1`);
  const refusal = ff1Refusal(radix, plain.length);
  if (refusal === 'too-long') {
    return { is: 'not-applicable', reason: 'longer than FF1 takes here' };
  }
  const rows = { radix, numerals: twice(plain), ends: twoEnds(plain.length) };
  if (refusal !== undefined || !valid) {
    if (!isRefused(() => encryptRows(key, rows, tweak))) return MISMATCH;
    if (!valid) return REFUSED;
    return refusal === 'domain-too-small' ? TOO_SMALL : MISMATCH;
  }
  if (isRefused(() => encryptRows(key, rows, tweak))) return MISMATCH;
  if (!same(rows.numerals, twice(cipher))) return MISMATCH;
  decryptRows(key, rows, tweak);
  return same(rows.numerals, twice(plain)) ? MATCHED : MISMATCH;
}

function judgeCmac(each: CmacCase, open: OpenKey): Verdict {
  const key = open(each.key, `vectors/${each.id}.cmac`);
  const tag = cmac(key, each.message).subarray(0, each.tag.length);
  if (same(tag, each.tag)) return each.valid ? MATCHED : MISMATCH;
  return each.valid ? MISMATCH : REFUSED;
}

function judgeSiv(each: SivCase, open: OpenKey): Verdict {
  if (each.plain.length > SHORT_BYTES_MAX) {
    return { is: 'not-applicable', reason: 'the long form of SIV is our own above 256 bytes' };
  }
  const half = each.key.length / 2;
  const mac = open(each.key.slice(0, half), `vectors/${each.id}.siv-mac`);
  const ctr = open(each.key.slice(half), `vectors/${each.id}.siv-ctr`);
  const { ok, plain } = sivOpen(mac, ctr, each.associated, columnOf([each.sealed, each.sealed]));
  if (!each.valid) return ok.includes(1) ? MISMATCH : REFUSED;
  if (ok.includes(0) || !same(plain.bytes, twice(each.plain))) return MISMATCH;
  const sealed = sivSeal(mac, ctr, each.associated, columnOf([each.plain, each.plain]));
  return same(sealed.bytes, twice(each.sealed)) ? MATCHED : MISMATCH;
}

/** A refusal is an assertion of the mode; any other error is a fault of ours or the module's. */
function isRefused(work: () => void): boolean {
  try {
    work();
    return false;
  } catch (error) {
    if (error instanceof AssertionError) return true;
    throw error;
  }
}

function twice<Numbers extends Uint8Array | Uint16Array>(numbers: Numbers): Numbers {
  const both =
    numbers instanceof Uint16Array
      ? new Uint16Array(2 * numbers.length)
      : new Uint8Array(2 * numbers.length);
  both.set(numbers);
  both.set(numbers, numbers.length);
  return both as Numbers;
}

const twoEnds = (length: number): Uint32Array => Uint32Array.of(length, 2 * length);

const same = (a: Uint8Array | Uint16Array, b: Uint8Array | Uint16Array): boolean =>
  a.length === b.length && a.every((number, i) => number === b[i]);
