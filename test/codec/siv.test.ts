import { existsSync, readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { columnOf, rowBytes, stringsOf } from '../../src/base/column.ts';
import { decodeSiv, encodeSiv } from '../../src/codec/siv.ts';
import { domainOf, KEYS, NONE } from './domains.ts';

const TEXT = domainOf('siv', 'text', { name: 'notes' });

const seal = (values: (string | Uint8Array)[], context = NONE, subject = NONE) =>
  encodeSiv(KEYS, TEXT, columnOf(values), context, subject);

const DATA = process.env['LOCKSTEP_DATA'] ?? resolve(import.meta.dirname, '../../../shared/data');
const BLNS = resolve(DATA, 'strings/blns.json');

if (!existsSync(BLNS)) {
  console.warn(`skipped: ${BLNS} is missing`);
  test.skip('the big list of naughty strings', () => {});
} else {
  test('the big list of naughty strings comes back byte for byte', () => {
    const all: string[] = JSON.parse(readFileSync(BLNS, 'utf8'));
    const strings = all.filter(
      (text) => text !== '' && !text.includes('\ufffd') && text.isWellFormed(),
    );
    expect(strings.length).toBeGreaterThan(400);
    const sealed = seal(strings);
    expect(sealed.errors).toEqual([]);
    expect(sealed.distinct).toBe(new Set(strings).size);
    for (const token of stringsOf(sealed.column)) expect(token).toMatch(/^tk_notes_[a-z2-7]+$/);
    const opened = decodeSiv(KEYS, TEXT, sealed.column, NONE, NONE);
    expect(opened.errors).toEqual([]);
    expect(stringsOf(opened.column)).toEqual(strings);
  });
}

test('any bytes but U+FFFD come back; equal texts share a token, others do not', () => {
  const damaged = (bytes: Uint8Array) => Buffer.from(bytes).includes('\ufffd');
  const row = fc.uint8Array({ minLength: 1, maxLength: 400 }).filter((bytes) => !damaged(bytes));
  fc.assert(
    fc.property(fc.array(row, { minLength: 1, maxLength: 12 }), (rows) => {
      const values = [...rows, ...rows];
      const { column } = seal(values);
      const opened = decodeSiv(KEYS, TEXT, column, NONE, NONE);
      for (const [i, value] of values.entries()) {
        expect(Buffer.from(rowBytes(opened.column, i)).equals(value)).toBe(true);
      }
      const distinct = new Set(rows.map((bytes) => Buffer.from(bytes).toString('hex')));
      expect(new Set(stringsOf(column)).size).toBe(distinct.size);
    }),
    { numRuns: 40 },
  );
});

test('NFC and NFD are two values', () => {
  const pair = ['Zo\u00eb', 'Zoe\u0308'];
  const { column } = seal(pair);
  const [a, b] = stringsOf(column);
  expect(a).not.toBe(b);
  expect(stringsOf(decodeSiv(KEYS, TEXT, column, NONE, NONE).column)).toEqual(pair);
});

test('the length of a token tells whole blocks of 16 bytes alone', () => {
  const lengths = (sizes: number[]) =>
    new Set(sizes.map((size) => stringsOf(seal(['x'.repeat(size)]).column)[0]!.length)).size;
  expect(lengths([1, 2, 7, 15])).toBe(1);
  expect(lengths([16, 20, 31])).toBe(1);
  expect(lengths([15, 16])).toBe(2);
});

test('trailing zeros and 0x80 are not taken for padding', () => {
  const values = ['a', 'a\u0000', 'a\u0000\u0000', '\u0000', 'a\u0080', 'x'.repeat(16)];
  const { column } = seal(values);
  expect(new Set(stringsOf(column)).size).toBe(values.length);
  expect(stringsOf(decodeSiv(KEYS, TEXT, column, NONE, NONE).column)).toEqual(values);
});

describe('context and subject are bound', () => {
  const ward = Buffer.from('ward 7');
  const [alice, bob] = [Buffer.alloc(16, 1), Buffer.alloc(16, 2)];
  const value = ['hello'];
  const token = seal(value, ward, alice).column;

  test('the right ones open', () => {
    expect(stringsOf(decodeSiv(KEYS, TEXT, token, ward, alice).column)).toEqual(value);
  });

  test.each([
    ['another subject', ward, bob],
    ['no subject', ward, NONE],
    ['no context', NONE, alice],
    ['context and subject exchanged', alice, ward],
  ])('%s: not found', (_, context, subject) => {
    expect(decodeSiv(KEYS, TEXT, token, context, subject).errors).toEqual([
      { index: 0, reason: 'TOKEN_NOT_FOUND' },
    ]);
  });

  test('columns of them go row by row', () => {
    const values = columnOf(['same', 'same', 'same', '']);
    const contexts = columnOf(['a', 'b', 'a', 'a']);
    const subjects = columnOf([alice, alice, bob, bob]);
    const sealed = encodeSiv(KEYS, TEXT, values, contexts, subjects);
    expect(sealed.errors).toEqual([{ index: 3, reason: 'VALUE_EMPTY' }]);
    const rows = stringsOf(sealed.column);
    expect(new Set(rows).size).toBe(4);
    expect(rows[0]).toBe(stringsOf(seal(['same'], Buffer.from('a'), alice).column)[0]);
    const opened = decodeSiv(KEYS, TEXT, sealed.column, contexts, subjects);
    expect(stringsOf(opened.column)).toEqual(['same', 'same', 'same', '']);
    expect(opened.errors).toEqual([{ index: 3, reason: 'TOKEN_MALFORMED' }]);
  });

  test('a context that begins like a tag of the modes is only a context', () => {
    const tag = Buffer.from('lockstep/long-v1');
    const sealed = seal(value, tag);
    expect(stringsOf(decodeSiv(KEYS, TEXT, sealed.column, tag, NONE).column)).toEqual(value);
  });
});

describe('tokens that are none', () => {
  const token = stringsOf(seal(['hello']).column)[0]!;
  const flipped = token.slice(0, 12) + (token[12] === 'a' ? 'b' : 'a') + token.slice(13);
  test.each([
    ['', 'TOKEN_MALFORMED'],
    ['hello', 'TOKEN_MALFORMED'],
    [token.toUpperCase(), 'TOKEN_MALFORMED'],
    [`${token}=`, 'TOKEN_MALFORMED'],
    [`${token}a`, 'TOKEN_NOT_FOUND'],
    [`${token}aa`, 'TOKEN_MALFORMED'],
    [token.slice(0, -1) + (token.endsWith('a') ? 'b' : 'a'), /^TOKEN_(MALFORMED|NOT_FOUND)$/],
    ['tk_notes_', 'TOKEN_MALFORMED'],
    ['tk__aaaa', 'TOKEN_MALFORMED'],
    ['tk_notes', 'TOKEN_MALFORMED'],
    ['tk_notes_aa', 'TOKEN_NOT_FOUND'],
    [flipped, 'TOKEN_NOT_FOUND'],
    [token.replace('notes', 'other'), 'TOKEN_NOT_FOUND'],
    [token.replace('tk_', 'tx_'), 'TOKEN_NOT_FOUND'],
  ])('%s', (text, reason) => {
    const { errors, column } = decodeSiv(KEYS, TEXT, columnOf([text]), NONE, NONE);
    expect(errors).toEqual([{ index: 0, reason: expect.stringMatching(reason) }]);
    expect(column.bytes).toHaveLength(0);
  });

  test('a bad row before a good one, and opaque ones between', () => {
    const domain = domainOf('siv', 'ssn', { name: 'notes', onInvalid: 'tokenize-opaque' });
    const sealed = encodeSiv(KEYS, domain, columnOf(['none', '536221234', 'nil']), NONE, NONE);
    const [none, good, nil] = stringsOf(sealed.column);
    const batch = columnOf([flipped, none!, 'x', good!, nil!]);
    const opened = decodeSiv(KEYS, domain, batch, NONE, NONE);
    expect(stringsOf(opened.column)).toEqual(['', 'none', '', '536221234', 'nil']);
    expect(opened.errors.map(({ index }) => index)).toEqual([0, 2]);
    const plain = decodeSiv(KEYS, domain, columnOf(['x', good!]), NONE, NONE);
    expect(stringsOf(plain.column)).toEqual(['', '536221234']);
  });

  test('the same name in another organisation', () => {
    const other = domainOf('siv', 'text', { id: 'clinic/notes' });
    expect(decodeSiv(KEYS, other, columnOf([token]), NONE, NONE).errors).toHaveLength(1);
  });
});

test('a structured format is sealed in its normal form; others go by on_invalid', () => {
  const domain = domainOf('siv', 'ssn', { onInvalid: 'tokenize-opaque' });
  const values = ['536-22-1234', '536221234', '078-05-1120'];
  const got = encodeSiv(KEYS, domain, columnOf(values), NONE, NONE);
  const [a, b, c] = stringsOf(got.column);
  expect(a).toBe(b);
  expect(c).toMatch(/^tx_tok_/);
  expect(got.opaque).toEqual([2]);
  const back = decodeSiv(KEYS, domain, got.column, NONE, NONE);
  expect(stringsOf(back.column)).toEqual(['536221234', '536221234', '078-05-1120']);
  expect(back.opaque).toEqual([2]);
});

test('32 KiB of text and an empty batch', () => {
  const value = 'é'.repeat(16_384);
  const { column, errors } = seal([value, `${value}x`]);
  expect(errors).toEqual([{ index: 1, reason: 'VALUE_TOO_LONG' }]);
  expect(stringsOf(decodeSiv(KEYS, TEXT, column, NONE, NONE).column)[0]).toBe(value);
  expect(seal([])).toMatchObject({ errors: [], distinct: 0 });
});
