import { readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { parse, TomlError } from 'smol-toml';
import type { z } from 'zod';
import { type Config, configSchema, PATH_FIELDS, SCALAR_FIELDS } from './config-schema.ts';

export type Environment = Readonly<Record<string, string | undefined>>;
export type Source = 'file' | 'environment' | 'default';

export interface LoadedConfig {
  readonly config: Config;
  /** Absolute path of the file. */
  readonly file: string;
  /** Where each field's value came from, by its path, e.g. `server.address`. */
  readonly sources: ReadonlyMap<string, Source>;
}

/** A configuration that was refused: `faults` name the place and what is allowed there. Of the
 *  file's values they repeat those of `callers` alone: a secret may stand where none belongs. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';
  readonly faults: readonly ConfigFault[];
  constructor(faults: readonly ConfigFault[], cause?: unknown) {
    const lines = faults.map((fault) => `${fault.path}: ${fault.text}`);
    super(lines.join('\n'), cause === undefined ? {} : { cause });
    this.faults = faults;
  }
}

export interface ConfigFault {
  /** TOML path, e.g. `callers[0].grants[1].actions`; or the file, or an environment variable. */
  readonly path: string;
  readonly text: string;
}

type Table = Record<string, unknown>;

/** Reads `path`, lays LOCKSTEP_… variables over it and validates the whole. Relative paths in it
 *  are meant from the file's own folder. Throws `ConfigError`. */
export function loadConfig(path: string, env: Environment): LoadedConfig {
  const file = resolve(path);
  const tables = readTables(file);
  const sources = new Map<string, Source>();
  for (const field of fieldPaths(tables)) sources.set(field, 'file');
  for (const field of overlay(tables, env)) sources.set(field, 'environment');
  const parsed = configSchema.safeParse(tables, { reportInput: true });
  if (!parsed.success) throw new ConfigError(parsed.error.issues.flatMap(faultsOf));
  const config = parsed.data;
  absolutePaths(config, dirname(file));
  for (const field of fieldPaths(config)) {
    if (!sources.has(field)) sources.set(field, 'default');
  }
  return { config, file, sources };
}

export interface ConfigRow {
  readonly path: string;
  readonly value: unknown;
  readonly source: Source;
}

/** Every field in force with its source, in the order of the schema; one row for all callers. */
export function printConfig(loaded: LoadedConfig): readonly ConfigRow[] {
  return fieldPaths(loaded.config).map((path) => ({
    path,
    value: valueAt(loaded.config, path),
    source: loaded.sources.get(path) ?? 'default',
  }));
}

/** `server.address` is LOCKSTEP_SERVER_ADDRESS. */
export const variableOf = (field: string): string =>
  `LOCKSTEP_${field.replaceAll('.', '_').toUpperCase()}`;

function readTables(file: string): Table {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (cause) {
    throw new ConfigError([{ path: file, text: 'the file cannot be read' }], cause);
  }
  try {
    return parse(text);
  } catch (cause) {
    // The parser's message quotes the file, so only the place is passed on.
    const place = cause instanceof TomlError ? `:${cause.line}:${cause.column}` : '';
    throw new ConfigError([{ path: `${file}${place}`, text: 'this is not TOML' }], cause);
  }
}

/** Lays the environment over the tables; the paths that were set. */
function overlay(tables: Table, env: Environment): string[] {
  const set: string[] = [];
  const faults: ConfigFault[] = [];
  const fields = new Map([...SCALAR_FIELDS.keys()].map((field) => [variableOf(field), field]));
  const prefixes = new Set([...SCALAR_FIELDS.keys()].map((field) => prefixOf(field)));
  for (const [name, text] of Object.entries(env)) {
    if (text === undefined) continue;
    const field = fields.get(name);
    if (field === undefined) {
      if (![...prefixes].some((prefix) => name.startsWith(prefix))) continue;
      faults.push({ path: name, text: unknownVariable(name) });
      continue;
    }
    const [tableName = '', key = ''] = field.split('.');
    tables[tableName] ??= {};
    const table = tables[tableName] as Table;
    table[key] = SCALAR_FIELDS.get(field) === 'number' ? Number(text || Number.NaN) : text;
    set.push(field);
  }
  if (faults.length > 0) throw new ConfigError(faults);
  return set;
}

const prefixOf = (field: string): string => `${variableOf(field.split('.')[0] ?? '')}_`;

const unknownVariable = (name: string): string =>
  name === 'LOCKSTEP_MODULE_PIN'
    ? 'a PIN never stands in the environment; module.pin_source names the file that holds it'
    : 'there is no field of this name';

/** A path a field: `server.address`, and `callers` for the whole list. */
function fieldPaths(tables: Table): string[] {
  return Object.entries(tables).flatMap(([name, table]) => {
    if (typeof table !== 'object' || table === null || Array.isArray(table)) return [name];
    return Object.entries(table).flatMap(([key, value]) =>
      value === undefined ? [] : [`${name}.${key}`],
    );
  });
}

function valueAt(config: Config, path: string): unknown {
  const [table = '', key] = path.split('.');
  const outer: unknown = (config as Table)[table];
  return key === undefined ? outer : (outer as Table)[key];
}

function absolutePaths(config: Config, folder: string): void {
  for (const field of PATH_FIELDS) {
    const [tableName = '', key = ''] = field.split('.');
    const table = (config as Table)[tableName] as Table;
    const path = table[key];
    if (typeof path === 'string') table[key] = resolve(folder, path);
  }
}

function faultsOf(issue: z.core.$ZodIssue): ConfigFault[] {
  const path = issue.path.map(String);
  if (issue.code === 'unrecognized_keys') {
    return issue.keys.map((key) => ({
      path: tomlPath([...path, key]),
      text: unknownKey(path, key),
    }));
  }
  if (issue.code === 'invalid_value') {
    const allowed = issue.values.map((value) => JSON.stringify(value)).join(', ');
    return [{ path: tomlPath(path), text: `one of ${allowed} is wanted` }];
  }
  if (issue.code === 'invalid_type' && issue.input === undefined) {
    return [{ path: tomlPath(path), text: `missing; ${article(issue.expected)} is wanted` }];
  }
  if (issue.code === 'invalid_type') {
    return [{ path: tomlPath(path), text: `${article(issue.expected)} is wanted` }];
  }
  if (issue.code === 'too_small') {
    return [{ path: tomlPath(path), text: `at least ${issue.minimum} is wanted` }];
  }
  if (issue.code === 'too_big') {
    return [{ path: tomlPath(path), text: `at most ${issue.maximum} is wanted` }];
  }
  return [{ path: tomlPath(path), text: issue.message }];
}

const unknownKey = (table: readonly string[], key: string): string =>
  table[0] === 'module' && /pin|password|secret/i.test(key)
    ? 'a PIN never stands in a configuration; pin_source names the file that holds it'
    : `there is no such key; allowed are ${allowedKeys(table)}`;

function allowedKeys(table: readonly string[]): string {
  const keys =
    table.length === 0
      ? Object.keys(configSchema.shape)
      : [...SCALAR_FIELDS.keys()]
          .filter((field) => field.startsWith(`${table[0]}.`))
          .map((field) => field.slice(field.indexOf('.') + 1));
  if (keys.length > 0) return keys.join(', ');
  return table.includes('grants') ? 'actions, domains, purposes' : 'id, organisation, grants';
}

const article = (type: string): string =>
  ({ string: 'a text', int: 'a whole number', number: 'a whole number', object: 'a table' })[
    type
  ] ?? `a ${type}`;

const tomlPath = (path: readonly string[]): string =>
  path.reduce((text, part) => {
    if (/^\d+$/.test(part)) return `${text}[${part}]`;
    return text === '' ? part : `${text}.${part}`;
  }, '') || '(top level)';
