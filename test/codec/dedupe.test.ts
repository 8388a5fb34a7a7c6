import fc from 'fast-check';
import { expect, test } from 'vitest';
import { columnOf } from '../../src/base/column.ts';
import { dedupe } from '../../src/codec/dedupe.ts';

const text = fc.string({ maxLength: 9, unit: fc.constantFrom('a', 'b', '\u0000') });
const rows = fc.array(fc.tuple(text, text), { maxLength: 200 });

test('equals a Map of the rows, with and without a second column', () =>
  fc.assert(
    fc.property(rows, fc.boolean(), (pairs, paired) => {
      const values = columnOf(pairs.map(([value]) => value));
      const other = columnOf(pairs.map(([, context]) => context));
      const seen = new Map<string, number>();
      const wanted = pairs.map(([value, context], row) => {
        const key = JSON.stringify(paired ? [value, context] : value);
        if (!seen.has(key)) seen.set(key, row);
        return seen.get(key)!;
      });
      const got = dedupe(values, paired ? other : new Uint8Array(3));
      expect([...got.first]).toEqual(wanted);
      expect(got.count).toBe(seen.size);
      const kept = got.rows ?? Uint32Array.from(pairs.keys());
      expect([...kept]).toEqual([...seen.values()]);
      const places = got.places ?? kept;
      expect(Array.from(places, (place) => kept[place])).toEqual(wanted);
    }),
  ));

test('10,000 rows that differ in one byte are distinct', () => {
  const column = columnOf(Array.from({ length: 10_000 }, (_, i) => String(i).padStart(9, '0')));
  expect(dedupe(column)).toMatchObject({ count: 10_000, rows: null, places: null });
});
