import { describe, expect, test } from 'vitest';
import type { Column } from '../../src/base/column.ts';
import { insecureMemoryKey } from '../../src/keys/insecure-memory.ts';
import { cmac, cmacMany } from '../../src/modes/cmac.ts';
import { decryptRows, encryptRows, type NumeralRows } from '../../src/modes/ff1.ts';
import { sivOpen, sivSeal } from '../../src/modes/siv.ts';
import { CountingKey, sameRows } from './batches.ts';

// A test counts key calls because the engine's speed is that count: a module answers a call over
// 8,000 blocks in about the time of a call over one. Here a call is one `encryptBlocks`, which is
// one C_EncryptUpdate (test/keys counts those). 8,000 rows stay below the 8,192 blocks of a call.
const ITEMS = [1, 8000];

const newKey = (): CountingKey => new CountingKey(insecureMemoryKey(new Uint8Array(32), 'test'));

function digits(count: number, lengthOf: (row: number) => number): NumeralRows {
  const ends = new Uint32Array(count);
  for (let row = 0, end = 0; row < count; row++) {
    end += lengthOf(row);
    ends[row] = end;
  }
  const numerals = Uint16Array.from({ length: ends.at(-1) ?? 0 }, (_, i) => (i * 7) % 10);
  return { radix: 10, numerals, ends };
}

describe.each(ITEMS)('FF1, %i items', (count) => {
  const calls = (rows: NumeralRows, tweaks: Uint8Array | Column): number => {
    const key = newKey();
    encryptRows(key, rows, tweaks);
    const encrypt = key.take();
    decryptRows(key, rows, tweaks);
    expect(key.take()).toBe(encrypt);
    return encrypt;
  };

  // One call for P, one for each block of Q that holds tweak alone, one for each of ten rounds.
  // With nine digits b is 3, so 4 bytes of Q's last block are round number and half, 12 are tweak.
  test.each([
    [0, 11],
    [12, 11],
    [13, 12],
    [16, 12],
    [32, 13],
    [48, 14],
  ])('nine digits, a tweak of %i bytes: %i calls', (bytes, wanted) => {
    expect(
      calls(
        digits(count, () => 9),
        new Uint8Array(bytes),
      ),
    ).toBe(wanted);
    expect(
      calls(
        digits(count, () => 9),
        sameRows(count, bytes),
      ),
    ).toBe(wanted);
  });

  test('lengths and tweaks mixed take the calls of their longest', () => {
    const mixed = digits(count, (row) => 30 - (row % 24));
    expect(calls(mixed, new Uint8Array(0))).toBe(11);
    const ends = new Uint32Array(count);
    for (let row = 0, end = 0; row < count; row++) {
      end += 40 - (row % 41);
      ends[row] = end;
    }
    // 40 bytes of tweak and, at most, 8 of round number and half: three blocks, two of tweak alone.
    expect(calls(mixed, { bytes: new Uint8Array(ends.at(-1)!), ends })).toBe(13);
  });

  test('long rows add a call a round for S past 16 bytes, and for each further block of Q', () => {
    expect(
      calls(
        digits(count, () => 40),
        new Uint8Array(0),
      ),
    ).toBe(11); // b = 9, d = 16.
    expect(
      calls(
        digits(count, () => 60),
        new Uint8Array(0),
      ),
    ).toBe(21); // b = 13, d = 20.
    expect(
      calls(
        digits(count, () => 100),
        new Uint8Array(0),
      ),
    ).toBe(31); // b = 21, d = 28.
    // Short rows beside them add none.
    expect(
      calls(
        digits(count, (row) => (row % 2 === 0 ? 100 : 9)),
        new Uint8Array(0),
      ),
    ).toBe(31);
  });
});

describe.each(ITEMS)('CMAC, %i items', (count) => {
  // One call for the subkeys when a key is first used, then one for each block of the longest row.
  test.each([
    [0, 1],
    [16, 1],
    [17, 2],
    [48, 3],
    [64, 4],
  ])('%i bytes: %i calls', (bytes, wanted) => {
    const key = newKey();
    cmacMany(key, sameRows(count, bytes));
    expect(key.take()).toBe(wanted + 1);
    cmacMany(key, sameRows(count, bytes));
    expect(key.take()).toBe(wanted);
  });

  test('lengths mixed take the calls of the longest', () => {
    const key = newKey();
    cmac(key, new Uint8Array(0));
    key.take();
    const ends = Uint32Array.from({ length: count }, (_, row) => (row + 1) * 20);
    cmacMany(key, { bytes: new Uint8Array(count * 20 + 30), ends: ends.with(-1, count * 20 + 30) });
    expect(key.take()).toBe(4);
  });
});

describe.each(ITEMS)('SIV, %i items', (count) => {
  const domain = Buffer.from('domain, kind and version');

  // First use of the mac key: subkeys, CMAC(0), E(tag), then two calls for the 24 bytes of the
  // constant. After that the first run is as long as the longest of: the associated columns, the
  // plain text up to its last 16 bytes, two blocks where a row is long; the last run is one call,
  // two where a plain text above 16 bytes is not whole blocks. The keystream is one call for 8,192
  // blocks. Where columns and plain texts run side by side (`beside`), 8,000 rows are 16,000 blocks
  // in that step: two calls.
  test.each([
    { bytes: 0, column: false, beside: false, mac: 1, ctrBlocks: 0 },
    { bytes: 16, column: false, beside: false, mac: 1, ctrBlocks: 1 },
    { bytes: 32, column: false, beside: false, mac: 2, ctrBlocks: 2 },
    { bytes: 16, column: true, beside: false, mac: 2, ctrBlocks: 1 },
    { bytes: 32, column: true, beside: true, mac: 2, ctrBlocks: 2 },
    { bytes: 48, column: true, beside: true, mac: 3, ctrBlocks: 3 },
    { bytes: 40, column: true, beside: true, mac: 3, ctrBlocks: 3 },
    { bytes: 256, column: true, beside: true, mac: 16, ctrBlocks: 16 },
    { bytes: 257, column: true, beside: true, mac: 2, ctrBlocks: 17 },
    { bytes: 4096, column: false, beside: false, mac: 2, ctrBlocks: 256 },
  ])(
    '$bytes bytes, counter column: $column',
    ({ bytes, column, beside, mac: least, ctrBlocks }) => {
      const rows = bytes === 4096 ? Math.min(count, 100) : count;
      const mac = newKey();
      const ctr = newKey();
      const wanted = least + (beside ? Math.ceil((2 * rows) / mac.blocksMax) - 1 : 0);
      const associated = column ? [domain, sameRows(rows, 8)] : [domain];
      const sealed = sivSeal(mac, ctr, associated, sameRows(rows, bytes));
      const keystream = Math.ceil((rows * ctrBlocks) / ctr.blocksMax);
      expect([mac.take(), ctr.take()]).toEqual([wanted + 5, keystream]);
      sivSeal(mac, ctr, associated, sameRows(rows, bytes));
      expect([mac.take(), ctr.take()]).toEqual([wanted, keystream]);
      const { ok } = sivOpen(mac, ctr, associated, sealed);
      expect(ok.every((each) => each === 1)).toBe(true);
      expect([mac.take(), ctr.take()]).toEqual([wanted, keystream]);
    },
  );

  test('several columns run together', () => {
    const mac = newKey();
    const ctr = newKey();
    const associated = [domain, sameRows(count, 16), sameRows(count, 8)];
    sivSeal(mac, ctr, associated, sameRows(count, 16));
    mac.take();
    sivSeal(mac, ctr, associated, sameRows(count, 16));
    // Two columns of 8,000 rows are 16,000 blocks, so their one step is two calls at 8,192.
    expect(mac.take()).toBe(1 + Math.ceil((2 * count) / mac.blocksMax));
  });
});
