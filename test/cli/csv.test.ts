import { Readable } from 'node:stream';
import { parse } from 'csv-parse/sync';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { csvHeaderLine, csvLine, fromCsv } from '../../src/cli/csv.ts';
import { Refusal } from '../../src/cli/frame.ts';
import type { Item } from '../../src/cli/pump.ts';
import { fromLines, openText, type TextInput } from '../../src/cli/sources.ts';

/** Text as bytes in pieces, cut at the given places, also inside a character. */
function inputOf(text: string, cuts: readonly number[] = []): TextInput {
  const bytes = Buffer.from(text);
  const ends = [...cuts.filter((cut) => cut < bytes.length), bytes.length].sort((a, b) => a - b);
  const parts = ends.map((end, i) => bytes.subarray(ends[i - 1] ?? 0, end));
  return openText('-', Readable.from(parts), new AbortController().signal);
}

async function read(text: string, options: object = {}, cuts: readonly number[] = []) {
  const source = fromCsv(inputOf(text, cuts), { column: 'ssn', delimiter: ',', ...options });
  const items: Item[] = [];
  for await (const chunk of source.chunks) items.push(...chunk);
  return { items, header: source.header() };
}

describe('a CSV', () => {
  test('gives the column, the line and the row', async () => {
    const { items, header } = await read('name,ssn\nAnna,529-31-0047\n"O, B",231-84-6605\n');
    expect(items).toEqual([
      { line: 2, value: '529-31-0047', row: ['Anna', '529-31-0047'] },
      { line: 3, value: '231-84-6605', row: ['O, B', '231-84-6605'] },
    ]);
    expect(header).toMatchObject({ names: ['name', 'ssn'], column: 1, lineEnd: '\n' });
  });

  test('keeps CRLF and the byte order mark', async () => {
    const { header, items } = await read('\uFEFFssn,name\r\n1,A\r\n');
    expect(header).toMatchObject({ lineEnd: '\r\n', byteOrderMark: true, names: ['ssn', 'name'] });
    expect(header && csvHeaderLine(header, ',')).toBe('\uFEFFssn,name\r\n');
    expect(items.map((item) => item.value)).toEqual(['1']);
  });

  test('takes patient and context from columns of their own', async () => {
    const options = { subjectColumn: 'mrn', contextColumn: 'site' };
    const { items } = await read('mrn,ssn,site\nm1,1,north\n', options);
    expect(items[0]).toMatchObject({ value: '1', subject: 'm1', context: 'north' });
  });

  test('has another delimiter', async () => {
    const { items } = await read('a;ssn\n"x;y";7\n', { delimiter: ';' });
    expect(items[0]?.row).toEqual(['x;y', '7']);
  });

  test.each([
    ['no first row', '', 'the CSV has no first row with names'],
    ['no such column', 'a,b\n1,2\n', 'the first row has no column "ssn"'],
    ['the column twice', 'ssn,ssn\n1,2\n', 'the first row has the column "ssn" twice'],
    ['a short row', 'a,ssn\n1,2\n529-31-0047\n', 'line 3: the row has more or fewer cells'],
    ['an open quote', 'a,ssn\n1,"529-31-0047\n', 'a quote is not closed'],
    ['a quote inside', 'a,ssn\n1,529"-31-0047\n', 'line 2: a quote is opened inside a cell'],
    ['a quote closed inside', 'a,ssn\n1,"529"-31-0047\n', 'line 2: a quote is closed inside'],
  ])('with %s is refused without a word of it', async (_, text, wanted) => {
    const refused = await read(text).catch((cause: unknown) => cause);
    expect(refused).toBeInstanceOf(Refusal);
    expect(String(refused)).toContain(wanted);
    expect(String(refused)).not.toContain('529');
    expect(JSON.stringify(refused)).not.toContain('529');
  });

  test('comes out as it went in, however it is cut', () => {
    const cell = fc
      .string({ unit: 'binary', maxLength: 8 })
      .filter((text) => !/\r(?!\n)/.test(text));
    const rows = fc.array(fc.tuple(cell, cell, cell), { maxLength: 20 });
    const cuts = fc.array(fc.nat(300), { maxLength: 5 });
    return fc.assert(
      fc.asyncProperty(
        rows,
        cuts,
        fc.constantFrom(',', ';', '\t'),
        async (table, at, delimiter) => {
          const head = csvLine(['a', 'ssn', 'b'], delimiter, '\n');
          const text = head + table.map((row) => csvLine(row, delimiter, '\n')).join('');
          const { items } = await read(text, { delimiter }, at);
          expect(items.map((item) => item.row)).toEqual(table);
          // The package's own reading of what we wrote is the oracle of the writing.
          const oracle: unknown = parse(text, { delimiter });
          expect(oracle).toEqual([['a', 'ssn', 'b'], ...table]);
        },
      ),
      { numRuns: 100 },
    );
  });

  test('a row of one empty cell is still a row', async () => {
    expect(csvLine([''], ',', '\n')).toBe('""\n');
    const { items } = await read('ssn\n""\n1\n');
    expect(items.map((item) => item.value)).toEqual(['', '1']);
  });
});

describe('lines', () => {
  test('are the same however the text is cut', () => {
    const line = fc.string({ maxLength: 6 }).filter((text) => !/[\r\n]/.test(text));
    return fc.assert(
      fc.asyncProperty(
        fc.array(line, { maxLength: 20 }),
        fc.array(fc.nat(120), { maxLength: 6 }),
        fc.constantFrom('\n', '\r\n'),
        fc.boolean(),
        async (lines, cuts, lineEnd, ended) => {
          const last = lines.at(-1) === '' ? lineEnd : ended ? lineEnd : '';
          const text = lines.length === 0 ? '' : lines.join(lineEnd) + last;
          const items: Item[] = [];
          for await (const chunk of fromLines(inputOf(text, cuts)).chunks) items.push(...chunk);
          expect(items).toEqual(lines.map((value, i) => ({ line: i + 1, value })));
        },
      ),
    );
  });
});

test('bytes that are not UTF-8 end the reading', async () => {
  const bytes = Readable.from([Buffer.from('ssn\n1\n'), Buffer.from([0x32, 0xc3, 0x28])]);
  const input = openText('-', bytes, new AbortController().signal);
  const source = fromCsv(input, { column: 'ssn', delimiter: ',' });
  const reading = (async () => {
    for await (const _ of source.chunks);
  })();
  await expect(reading).rejects.toThrow('the input is not UTF-8, at or before byte 9');
});
