import { CsvError, type Info, parse } from 'csv-parse';
import { Refusal } from './frame.ts';
import type { Item } from './pump.ts';
import type { Source, TextInput } from './sources.ts';

export interface CsvOptions {
  /** Of the column to replace: its name, as in the first row, or its place from 0. */
  readonly column: string | number;
  readonly subjectColumn?: string | undefined;
  readonly contextColumn?: string | number | undefined;
  readonly delimiter: string;
}

export interface CsvSource extends Source {
  /** The first row as it goes out; known once the first chunk was read. */
  readonly header: () => CsvHeader | undefined;
}

export interface CsvHeader {
  readonly names: readonly string[];
  /** Place of the column to replace, from 0. */
  readonly column: number;
  /** As the input has it: CRLF or LF. */
  readonly lineEnd: string;
  readonly byteOrderMark: boolean;
}

interface Record {
  readonly record: string[];
  readonly info: Info;
}

const ROWS_A_CHUNK = 1_000;
const RECORD_BYTES_MAX = 1024 * 1024;
const BYTE_ORDER_MARK = '\uFEFF';

/** Rows of a CSV file (RFC 4180), the value of one column in each item. Rows must be as long as the
 *  first one. Faults name a line and a rule, never what stands there. */
export function fromCsv(input: TextInput, options: CsvOptions): CsvSource {
  const form = { lineEnd: '\n', byteOrderMark: false };
  const parser = parse({
    bom: true,
    delimiter: options.delimiter,
    info: true,
    max_record_size: RECORD_BYTES_MAX,
  });
  let header: CsvHeader | undefined;
  async function* chunks(): AsyncGenerator<readonly Item[]> {
    const feeding = feed(input, parser, form);
    try {
      let places: Places | undefined;
      let items: Item[] = [];
      for await (const { record, info } of parser as AsyncIterable<Record>) {
        if (places === undefined) {
          places = findColumns(record, options);
          header = { names: record, column: places.column, ...form };
          continue;
        }
        items.push(itemOf(record, info.lines, places));
        if (items.length === ROWS_A_CHUNK) {
          yield items;
          items = [];
        }
      }
      await feeding;
      if (places === undefined) throw new Refusal('the CSV has no first row with names');
      yield items;
    } catch (cause) {
      if (cause instanceof CsvError) throw csvRefusal(cause);
      throw cause;
    } finally {
      parser.destroy();
      await feeding.catch(() => {});
    }
  }
  return {
    chunks: chunks(),
    bytesTotal: input.bytesTotal,
    bytesRead: input.bytesRead,
    header: () => header,
  };
}

/** Hands text to the parser at the speed of whoever reads the rows. */
async function feed(
  input: TextInput,
  parser: ReturnType<typeof parse>,
  form: { lineEnd: string; byteOrderMark: boolean },
): Promise<void> {
  let first = true;
  try {
    for await (const text of input.texts) {
      if (first && text !== '') {
        form.byteOrderMark = text.startsWith(BYTE_ORDER_MARK);
        form.lineEnd = /^[^\n]*\r\n/.test(text) ? '\r\n' : '\n';
        first = false;
      }
      if (parser.destroyed) return;
      if (!parser.write(text)) {
        await new Promise<void>((resolve) => {
          const done = (): void => {
            parser.off('drain', done).off('close', done);
            resolve();
          };
          parser.on('drain', done).on('close', done);
        });
      }
    }
    parser.end();
  } catch (cause) {
    parser.destroy(cause instanceof Error ? cause : new Error('thrown'));
  }
}

interface Places {
  readonly column: number;
  readonly subject: number | undefined;
  readonly context: number | undefined;
}

function findColumns(names: readonly string[], options: CsvOptions): Places {
  const find = (name: string | number): number => {
    if (typeof name === 'number') {
      if (name < names.length) return name;
      throw new Refusal(`the first row has fewer than ${name + 1} columns`);
    }
    const place = names.indexOf(name);
    if (place < 0) throw new Refusal(`the first row has no column "${name}"`);
    if (names.indexOf(name, place + 1) >= 0) {
      throw new Refusal(`the first row has the column "${name}" twice`);
    }
    return place;
  };
  const maybe = (name: string | number | undefined) =>
    name === undefined ? undefined : find(name);
  return {
    column: find(options.column),
    subject: maybe(options.subjectColumn),
    context: maybe(options.contextColumn),
  };
}

function itemOf(row: readonly string[], line: number, places: Places): Item {
  const base = { line, value: row[places.column] ?? '', row };
  if (places.subject === undefined && places.context === undefined) return base;
  return {
    ...base,
    ...(places.subject === undefined ? {} : { subject: row[places.subject] ?? '' }),
    ...(places.context === undefined ? {} : { context: row[places.context] ?? '' }),
  };
}

/** The parser's own message quotes the row; its code and line do not. */
function csvRefusal(fault: CsvError): Refusal {
  const lines: unknown = fault['lines'];
  const place = typeof lines === 'number' ? `line ${lines}: ` : '';
  const text = CSV_FAULTS[fault.code] ?? 'not valid CSV';
  return new Refusal(`${place}${text}`, { code: fault.code });
}

const CSV_FAULTS: Readonly<Partial<{ [code: string]: string }>> = {
  CSV_RECORD_INCONSISTENT_FIELDS_LENGTH: 'the row has more or fewer cells than the first one',
  CSV_RECORD_INCONSISTENT_COLUMNS: 'the row has more or fewer cells than the first one',
  CSV_INVALID_CLOSING_QUOTE: 'a quote is closed inside a cell',
  INVALID_OPENING_QUOTE: 'a quote is opened inside a cell',
  CSV_QUOTE_NOT_CLOSED: 'a quote is not closed',
  CSV_MAX_RECORD_SIZE: 'the row is too long',
};

/** A row as RFC 4180 writes it; cells are quoted where they must be. */
export function csvLine(cells: readonly string[], delimiter: string, lineEnd: string): string {
  let line = '';
  for (const [i, cell] of cells.entries()) {
    if (i > 0) line += delimiter;
    line += NEEDS_QUOTES.test(cell) || cell.includes(delimiter) ? quoted(cell) : cell;
  }
  // A row of one empty cell would else be an empty line, which is no row.
  return `${line === '' && cells.length === 1 ? '""' : line}${lineEnd}`;
}

const NEEDS_QUOTES = /["\r\n]|^\s|\s$|^\uFEFF/;
const quoted = (cell: string): string => `"${cell.replaceAll('"', '""')}"`;

export function csvHeaderLine(header: CsvHeader, delimiter: string): string {
  const line = csvLine(header.names, delimiter, header.lineEnd);
  return header.byteOrderMark ? BYTE_ORDER_MARK + line : line;
}
