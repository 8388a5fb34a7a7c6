import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type FoundObject, jsonObjects } from '../../src/cli/json-objects.ts';

async function read(pieces: readonly string[]): Promise<FoundObject[]> {
  async function* texts(): AsyncGenerator<string> {
    yield* pieces;
  }
  const found: FoundObject[] = [];
  const input = { texts: texts(), bytesTotal: undefined, bytesRead: () => 0 };
  for await (const objects of jsonObjects(input)) found.push(...objects);
  return found;
}

/** Cuts a text at places that are any numbers. */
function cut(text: string, places: readonly number[]): string[] {
  const ends = places.map((place) => place % (text.length + 1)).sort((a, b) => a - b);
  return [...ends, text.length].map((end, i) => text.slice(ends[i - 1] ?? 0, end));
}

const pair = fc.record({
  value: fc.string({ unit: fc.constantFrom('a', '"', '\\', '{', '}', '\n', 'é', '𝒵', '[') }),
  token: fc.string(),
});
/** Ways to write a list of objects down. */
const layouts: readonly ((pairs: readonly object[], indent: number) => string)[] = [
  (pairs) => pairs.map((one) => `${JSON.stringify(one)}\n`).join(''),
  (pairs) => pairs.map((one) => JSON.stringify(one)).join('\r\n'),
  (pairs, indent) => JSON.stringify(pairs, null, indent),
  (pairs, indent) => JSON.stringify({ namespace: '{"}', pseudonyms: pairs }, null, indent),
];

test('objects are those that JSON.parse sees, however they are laid out and cut', () =>
  fc.assert(
    fc.asyncProperty(
      fc.array(pair, { minLength: 1, maxLength: 8 }),
      fc.constantFrom(...layouts),
      fc.nat(3),
      fc.array(fc.nat(), { maxLength: 12 }),
      async (pairs, layout, indent, places) => {
        const text = layout(pairs, indent);
        const found = await read(cut(text, places));
        expect(found.map(({ fields }) => fields)).toEqual(pairs);
      },
    ),
  ));

test('lines are counted where objects begin', async () => {
  const found = await read(['{"a":1}\n\n', '{"a":\n', '2}', '\n{"a":3}']);
  expect(found.map(({ line }) => line)).toEqual([1, 3, 5]);
});

test('an object that does not end is not kept for ever', async () => {
  const piece = 'x'.repeat(600 * 1024);
  await expect(read(['{"a":"', piece, piece])).rejects.toThrow('line 1: the object is too long');
});
