import { AesCmac } from 'aes-cmac';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { insecureMemoryKey } from '../../src/keys/insecure-memory.ts';
import { checkValue } from '../../src/modes/check-value.ts';
import { cmac, cmacMany } from '../../src/modes/cmac.ts';
import { CountingKey, hex, shifted, toHex } from './batches.ts';

describe('RFC 4493 §4', () => {
  const key = insecureMemoryKey(hex('2b7e151628aed2a6abf7158809cf4f3c'), 'test');
  const message =
    '6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51' +
    '30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710';
  test.each([
    [1, 0, 'bb1d6929e95937287fa37d129b756746'],
    [2, 16, '070a16b46b4d4144f79bdd9dd04a287c'],
    [3, 40, 'dfa66747de9ae63030ca32611497c827'],
    [4, 64, '51f0bebf7e3b9d92fc49741779363cfe'],
  ])('example %i, %i bytes', (_example, bytes, tag) => {
    expect(toHex(cmac(key, hex(message.slice(0, 2 * bytes))))).toBe(tag);
  });
});

test('a batch of mixed lengths equals another implementation row by row', () =>
  fc.assert(
    fc.asyncProperty(
      fc.constantFrom(16, 24, 32).chain((n) => fc.uint8Array({ minLength: n, maxLength: n })),
      fc.array(fc.uint8Array({ maxLength: 90 }), { maxLength: 20 }),
      fc.integer({ min: 1, max: 7 }),
      async (raw, messages, chunk) => {
        const key = new CountingKey(insecureMemoryKey(raw, 'test'), chunk);
        const other = new AesCmac(raw);
        const wanted: string[] = [];
        for (const message of messages) wanted.push(toHex(await other.calculate(message)));
        expect(toHex(cmacMany(key, shifted(messages)))).toBe(wanted.join(''));
      },
    ),
    { numRuns: 150 },
  ));

test('a check value is the start of a CMAC over label and role, and differs by role', async () => {
  const raw = hex('603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4');
  const key = insecureMemoryKey(raw, 'test');
  const tag = await new AesCmac(raw).calculate(Buffer.from('lockstep kcvfpe'));
  expect(checkValue(key, 'fpe')).toBe(toHex(tag.subarray(0, 8)));
  expect(checkValue(key, 'count')).not.toBe(checkValue(key, 'fpe'));
});
