import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type Body, bodyHash, decodeBody, encodeBody } from '../../src/audit/body.ts';
import { columnOf, rowCount, stringsOf } from '../../src/base/column.ts';

const EMPTY = new Uint8Array(0);

const places = (rows: number) =>
  fc
    .uniqueArray(fc.nat({ max: Math.max(0, rows - 1) }), { maxLength: rows })
    .map((list) => list.sort((a, b) => a - b));

const bodies: fc.Arbitrary<Body> = fc
  .array(fc.string({ maxLength: 20 }), { maxLength: 30 })
  .chain((rows) => {
    const count = rows.length;
    const bytes = (length: number) => fc.uint8Array({ minLength: length, maxLength: length });
    return fc.record({
      salt: bytes(32),
      tokens: fc.constant(columnOf(rows)),
      subjects: fc.oneof(fc.constant(EMPTY), bytes(16), bytes(16 * count)),
      created: fc.oneof(fc.constant(EMPTY), bytes(count)),
      errors: places(count).map((list) =>
        list.map((index) => ({ index, reason: 'VALUE_EMPTY' as const })),
      ),
      notices: places(count).map((indexes) =>
        indexes.length === 0 ? [] : [{ reason: 'VALUE_PASSED', indexes }],
      ),
    });
  });

const body: Body = {
  salt: new Uint8Array(32).fill(9),
  tokens: columnOf(['a', '', 'ccc']),
  targets: columnOf(['x', 'yy', '']),
  subjects: new Uint8Array(48).fill(3),
  created: Uint8Array.of(1, 0, 1),
  errors: [{ index: 1, reason: 'TOKEN_NOT_FOUND' }],
  notices: [{ reason: 'VALUE_OPAQUE', indexes: [0, 2] }],
};

describe('bodies', () => {
  test('any body comes back', () =>
    fc.assert(
      fc.property(bodies, (given) => {
        const found = decodeBody(encodeBody(given));
        expect({ ...found, tokens: stringsOf(found.tokens) }).toEqual({
          ...given,
          tokens: stringsOf(given.tokens),
        });
      }),
    ));

  test('a buffer with room behind its rows, at an odd place, is taken as it is', () => {
    const bytes = new Uint8Array(20).subarray(1);
    bytes.set(Buffer.from('abcd rest'));
    const ends = new Uint32Array([7, 1, 4]).subarray(1);
    const { tokens } = decodeBody(
      encodeBody({ ...body, tokens: { bytes, ends }, created: EMPTY, subjects: EMPTY }),
    );
    expect(stringsOf(tokens)).toEqual(['a', 'bcd']);
  });

  test('the hash is SHA-256 of salt and body', () => {
    const encoded = encodeBody(body);
    const hash = createHash('sha256').update(body.salt).update(encoded.subarray(32)).digest();
    expect(Buffer.from(bodyHash(encoded))).toEqual(hash);
    expect(encoded.subarray(0, 32)).toEqual(body.salt);
  });

  test('no body is a part of it, longer than it, or of another version', () => {
    const encoded = encodeBody(body);
    expect(rowCount(decodeBody(encoded).tokens)).toBe(3);
    const malformed = expect.objectContaining({ fault: 'malformed' });
    for (let length = 0; length < encoded.length; length++) {
      expect(() => decodeBody(encoded.subarray(0, length))).toThrow(malformed);
    }
    expect(() => decodeBody(Buffer.concat([encoded, Uint8Array.of(0)]))).toThrow(malformed);
    for (const at of [32, 33, 34, 35]) {
      const other = Uint8Array.from(encoded);
      other[at]! ^= 0x40;
      expect(() => decodeBody(other)).toThrow(malformed);
    }
  });

  test('columns that do not fit the rows, and reasons that are not ours, are refused', () => {
    expect(() => encodeBody({ ...body, created: Uint8Array.of(1) })).toThrow(RangeError);
    expect(() => encodeBody({ ...body, subjects: new Uint8Array(17) })).toThrow(RangeError);
    expect(() => encodeBody({ ...body, salt: EMPTY })).toThrow(RangeError);
    const encoded = Buffer.from(encodeBody(body));
    encoded.write('X', encoded.indexOf('TOKEN_NOT_FOUND'));
    expect(() => decodeBody(encoded)).toThrow(expect.objectContaining({ fault: 'malformed' }));
  });
});
