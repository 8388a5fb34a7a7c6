import { aessiv } from '@noble/ciphers/aes.js';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type Column, columnOf } from '../../src/base/column.ts';
import { insecureMemoryKey } from '../../src/keys/insecure-memory.ts';
import { LONG_TAG } from '../../src/modes/long-siv.ts';
import { sivOpen, sivSeal } from '../../src/modes/siv.ts';
import { bytesOf, CountingKey, hex, shifted, toHex } from './batches.ts';

const keysOf = (raw: Uint8Array) => ({
  mac: insecureMemoryKey(raw.slice(0, raw.length / 2), 'mac'),
  ctr: insecureMemoryKey(raw.slice(raw.length / 2), 'ctr'),
});

describe('RFC 5297 appendix A', () => {
  test('A.1 deterministic', () => {
    const { mac, ctr } = keysOf(
      hex('fffefdfcfbfaf9f8f7f6f5f4f3f2f1f0f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff'),
    );
    const associated = hex('101112131415161718191a1b1c1d1e1f2021222324252627');
    const plain = hex('112233445566778899aabbccddee');
    const wanted = '85632d07c6e8f37f950acd320a2ecc9340c02b9690c4dc04daef7f6afe5c';
    const sealed = sivSeal(mac, ctr, [associated], columnOf([plain, plain]));
    expect(bytesOf(sealed).map(toHex)).toEqual([wanted, wanted]);
  });

  test('A.2 nonce-based, three associated strings', () => {
    const { mac, ctr } = keysOf(
      hex('7f7e7d7c7b7a79787776757473727170404142434445464748494a4b4c4d4e4f'),
    );
    const first =
      '00112233445566778899aabbccddeeffdeaddadadeaddadaffeeddccbbaa99887766554433221100';
    const associated = [
      hex(first),
      hex('102030405060708090a0'),
      hex('09f911029d74e35bd84156c5635688c0'),
    ];
    const plain = Buffer.from('this is some plaintext to encrypt using SIV-AES');
    const wanted =
      '7bdb6e3b432667eb06f4d14bff2fbd0fcb900f2fddbe404326601965c889bf17' +
      'dba77ceb094fa663b7a3f748ba8af829ea64ad544a272e9c485b62a3fd5c0d';
    expect(toHex(sivSeal(mac, ctr, associated, columnOf([plain])).bytes)).toBe(wanted);
  });
});

/** A batch: each associated string is one for all or one a row. */
const batch = fc.integer({ min: 0, max: 8 }).chain((rows) => {
  const column = (maxLength: number) =>
    fc.array(fc.uint8Array({ maxLength }), { minLength: rows, maxLength: rows });
  return fc.record({
    raw: fc.constantFrom(32, 48, 64).chain((n) => fc.uint8Array({ minLength: n, maxLength: n })),
    associated: fc.array(fc.oneof(fc.uint8Array({ maxLength: 40 }), column(40)), { maxLength: 4 }),
    plain: fc.oneof(column(60), column(256)),
    chunk: fc.integer({ min: 1, max: 9 }),
  });
});

const isRows = (part: Uint8Array | Uint8Array[]): part is Uint8Array[] => Array.isArray(part);

test('a batch equals noble row by row, opens, and a touched row alone fails', () =>
  fc.assert(
    fc.property(batch, fc.nat(), fc.integer({ min: 0, max: 7 }), (b, where, bit) => {
      const keys = keysOf(b.raw);
      const mac = new CountingKey(keys.mac, b.chunk);
      const ctr = new CountingKey(keys.ctr, b.chunk);
      const associated = b.associated.map((part) => (isRows(part) ? shifted(part) : part));
      const sealed = sivSeal(mac, ctr, associated, shifted(b.plain));
      const wanted = b.plain.map((plain, row) => {
        const own = b.associated.map((part) => (isRows(part) ? part[row]! : part));
        return toHex(aessiv(b.raw, ...own).encrypt(plain));
      });
      expect(bytesOf(sealed).map(toHex)).toEqual(wanted);
      const opened = sivOpen(mac, ctr, associated, sealed);
      expect(bytesOf(opened.plain).map(toHex)).toEqual(b.plain.map(toHex));
      expect([...opened.ok]).toEqual(b.plain.map(() => 1));
      if (b.plain.length === 0) return;
      const at = where % sealed.bytes.length;
      sealed.bytes[at]! ^= 1 << bit;
      const bad = sealed.ends.findIndex((end) => at < end);
      const again = sivOpen(mac, ctr, associated, sealed);
      expect([...again.ok]).toEqual(b.plain.map((_, row) => (row === bad ? 0 : 1)));
      const left = b.plain.map((plain, row) => (row === bad ? '' : toHex(plain)));
      expect(bytesOf(again.plain).map(toHex)).toEqual(left);
      expect(again.plain.bytes.length).toBe(again.plain.ends.at(-1));
      const behind = new Uint8Array(again.plain.bytes.buffer).subarray(again.plain.bytes.length);
      expect(
        behind.every((byte) => byte === 0),
        'bytes of a failed row are kept',
      ).toBe(true);
    }),
    { numRuns: 250 },
  ));

const { mac, ctr } = keysOf(Uint8Array.from({ length: 64 }, (_, i) => i));

test('rows shorter than an IV do not open; an IV alone is the empty text', () => {
  const empty = bytesOf(sivSeal(mac, ctr, [], columnOf([''])))[0]!;
  const column = columnOf(['', empty.subarray(0, 15), empty, new Uint8Array(16)]);
  const opened = sivOpen(mac, ctr, [], column);
  expect([...opened.ok]).toEqual([0, 0, 1, 0]);
  expect([...opened.plain.ends]).toEqual([0, 0, 0, 0]);
});

test('a row does not open as another row, nor with its associated strings moved', () => {
  const counters = columnOf(['counter-0', 'counter-1']);
  const sealed = sivSeal(mac, ctr, [Buffer.from('domain'), counters], columnOf(['one', 'two']));
  const [one, two] = bytesOf(sealed);
  const open = (associated: (Uint8Array | Column)[], rows: Uint8Array[]): number[] => [
    ...sivOpen(mac, ctr, associated, columnOf(rows)).ok,
  ];
  expect(open([Buffer.from('domain'), counters], [one!, two!])).toEqual([1, 1]);
  expect(open([Buffer.from('domain'), counters], [two!, one!])).toEqual([0, 0]);
  expect(open([counters, Buffer.from('domain')], [one!, two!])).toEqual([0, 0]);
  expect(open([Buffer.from('domain')], [one!, two!])).toEqual([0, 0]);
});

test('associated data that could pose as a long message is refused', () => {
  const posing = Buffer.concat([LONG_TAG, new Uint8Array(32)]);
  expect(() => sivSeal(mac, ctr, [posing], columnOf(['x']))).toThrow();
  expect(() => sivSeal(mac, ctr, [columnOf([posing])], columnOf(['x']))).toThrow();
  expect(() => sivSeal(mac, ctr, [columnOf(['a', 'b'])], columnOf(['x']))).toThrow();
});
