import { extname } from 'node:path';
import { type CsvOptions, fromCsv } from './csv.ts';
import { Refusal, UsageError } from './frame.ts';
import { type FoundObject, jsonObjects } from './json-objects.ts';
import type { Item } from './pump.ts';
import type { Source, TextInput } from './sources.ts';

/** Where pairs of value and token come from. */
export interface PairOptions {
  /** The tool that wrote the file. */
  readonly from?: 'gpas' | 'vfps' | 'vault';
  readonly format?: 'csv' | 'json';
  readonly valueColumn?: string;
  readonly tokenColumn?: string;
  readonly subjectColumn?: string;
  readonly delimiter?: string;
}

interface Shape {
  readonly format: 'csv' | 'json';
  /** Name of the column or field, or place of the column from 0. */
  readonly value: string | number;
  readonly token: string | number;
  readonly delimiter: string;
}

/** gPAS names its columns in the language of its user, so their places count; Vfps answers as its
 *  REST API does; Vault's transform engine exports no pairs: the file is what a script of its owner
 *  wrote, with the names of request and answer. */
const TOOLS: Readonly<Record<NonNullable<PairOptions['from']>, Shape>> = {
  gpas: { format: 'csv', value: 0, token: 1, delimiter: ';' },
  vfps: { format: 'json', value: 'originalValue', token: 'pseudonymValue', delimiter: ',' },
  vault: { format: 'csv', value: 'value', token: 'encoded_value', delimiter: ',' },
};

/** Items with `value`, `token` and, where there is a column for it, `subject`. */
export function pairSource(path: string, input: TextInput, options: PairOptions): Source {
  const { format, value, token, delimiter } = shapeOf(path, options);
  const { subjectColumn } = options;
  const { bytesTotal, bytesRead } = input;
  if (format === 'json') {
    const names = { value: String(value), token: String(token), subject: subjectColumn };
    return { chunks: jsonPairs(input, names), bytesTotal, bytesRead };
  }
  // A pair's token travels through the CSV reader in the place of a context.
  const columns: CsvOptions = { column: value, contextColumn: token, subjectColumn, delimiter };
  return { chunks: csvPairs(fromCsv(input, columns)), bytesTotal, bytesRead };
}

function shapeOf(path: string, options: PairOptions): Shape {
  const { from, delimiter } = options;
  if (delimiter !== undefined && (delimiter.length !== 1 || /["\r\n]/.test(delimiter))) {
    throw new UsageError('--delimiter is one character, and no quote or line end');
  }
  const json = /^\.(json|ndjson|jsonl)$/.test(extname(path).toLowerCase());
  const base: Shape =
    from === undefined
      ? { format: json ? 'json' : 'csv', value: 'value', token: 'token', delimiter: ',' }
      : TOOLS[from];
  return {
    format: options.format ?? base.format,
    value: options.valueColumn ?? base.value,
    token: options.tokenColumn ?? base.token,
    delimiter: delimiter ?? base.delimiter,
  };
}

async function* csvPairs(source: Source): AsyncGenerator<readonly Item[]> {
  for await (const items of source.chunks) {
    yield items.map(({ line, value, context: token = '', subject }) => ({
      line,
      value,
      token,
      ...(subject === undefined ? {} : { subject }),
    }));
  }
}

interface Names {
  readonly value: string;
  readonly token: string;
  readonly subject: string | undefined;
}

async function* jsonPairs(input: TextInput, names: Names): AsyncGenerator<readonly Item[]> {
  for await (const objects of jsonObjects(input)) {
    yield objects.map((object) => ({
      line: object.line,
      value: textOf(object, names.value),
      token: textOf(object, names.token),
      ...(names.subject === undefined ? {} : { subject: textOf(object, names.subject, '') }),
    }));
  }
}

/** A number is refused: as one, an id has lost its leading zeros. */
function textOf({ line, fields }: FoundObject, name: string, absent?: string): string {
  const text = fields[name] ?? absent;
  if (typeof text === 'string') return text;
  throw new Refusal(`line ${line}: the object has no text "${name}"`);
}
