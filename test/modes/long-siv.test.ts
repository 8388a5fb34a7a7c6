import { createCipheriv, createHash } from 'node:crypto';
import { aessiv } from '@noble/ciphers/aes.js';
import { AesCmac } from 'aes-cmac';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { columnOf } from '../../src/base/column.ts';
import { insecureMemoryKey } from '../../src/keys/insecure-memory.ts';
import { sivOpen, sivSeal } from '../../src/modes/siv.ts';
import { bytesOf, CountingKey, shifted, toHex } from './batches.ts';

const uint32 = (n: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(n);
  return bytes;
};

/** The long form, one row, from node:crypto's CTR and another package's CMAC. */
async function longSeal(raw: Uint8Array, strings: Uint8Array[], plain: Uint8Array) {
  const sha = createHash('sha256').update(uint32(strings.length));
  for (const string of strings) sha.update(uint32(string.length)).update(string);
  const digest = sha.update(plain).digest();
  const tagged = Buffer.concat([Buffer.from('lockstep/long-v1'), digest]);
  const v = Buffer.from(await new AesCmac(raw.slice(0, 32)).calculate(tagged));
  const counter = Buffer.from(v);
  counter[8]! &= 0x7f;
  counter[12]! &= 0x7f;
  const cipher = createCipheriv('aes-256-ctr', raw.slice(32), counter);
  return toHex(Buffer.concat([v, cipher.update(plain)]));
}

const plainText = fc.oneof(
  fc.uint8Array({ maxLength: 300 }),
  fc.integer({ min: 250, max: 262 }).map((n) => new Uint8Array(n).fill(n)),
  fc.uint8Array({ minLength: 257, maxLength: 2000 }),
);

test('a batch of short and long rows equals a plain form row by row, and opens', () =>
  fc.assert(
    fc.asyncProperty(
      fc.uint8Array({ minLength: 64, maxLength: 64 }),
      fc.array(fc.tuple(plainText, fc.uint8Array({ maxLength: 20 })), { maxLength: 8 }),
      fc.uint8Array({ maxLength: 20 }),
      fc.constantFrom(3, 50, 8192),
      async (raw, rows, constant, chunk) => {
        const mac = new CountingKey(insecureMemoryKey(raw.slice(0, 32), 'mac'), chunk);
        const ctr = new CountingKey(insecureMemoryKey(raw.slice(32), 'ctr'), chunk);
        const associated = [constant, columnOf(rows.map(([, own]) => own))];
        const sealed = sivSeal(mac, ctr, associated, shifted(rows.map(([plain]) => plain)));
        const wanted: string[] = [];
        for (const [plain, own] of rows) {
          if (plain.length <= 256) wanted.push(toHex(aessiv(raw, constant, own).encrypt(plain)));
          else wanted.push(await longSeal(raw, [constant, own], plain));
        }
        expect(bytesOf(sealed).map(toHex)).toEqual(wanted);
        const opened = sivOpen(mac, ctr, associated, sealed);
        expect(bytesOf(opened.plain).map(toHex)).toEqual(rows.map(([plain]) => toHex(plain)));
        expect(opened.ok.every((ok) => ok === 1)).toBe(true);
        for (let row = 0, start = 0; row < rows.length; start = sealed.ends[row++]!) {
          sealed.bytes[start + 20 < sealed.ends[row]! ? start + 20 : start]! ^= 4;
        }
        const broken = sivOpen(mac, ctr, associated, sealed);
        expect(broken.ok.every((ok) => ok === 0)).toBe(true);
        expect(broken.plain.bytes.length).toBe(0);
      },
    ),
    { numRuns: 120 },
  ));
