import { CallError } from '../base/call-error.ts';
import { AuditError } from './audit-error.ts';

/** Longest encoded entry. tlog-tiles would take 65,535 bytes; ours are for reading by people. */
export const ENTRY_BYTES_MAX = 1024;
const VERSION = 1;

/** One call as the log keeps it, for auditors: who asked what, why, by which rules, with which
 *  outcome. No value, token or subject stands in it; those are in the sealed body. Whole numbers
 *  are from 0 to 2^53 - 1. Fields left out, empty or 0 where the verb has none of it. */
export interface Entry {
  /** Milliseconds since 1970, UTC, on the engine's clock. Order is by index, not by time. */
  readonly timeMs: number;
  /** RPC name, e.g. `Tokenize`, or a name of ours, e.g. `CatalogueChanged`. */
  readonly verb: string;
  /** Full id `org/domain`; '' for none. */
  readonly domain: string;
  /** `Caller.id`, at most 256 bytes. */
  readonly caller: string;
  /** v3-ActReason code; '' for none. */
  readonly purpose: string;
  /** The view that was given; '' for none. */
  readonly view: string;
  /** SHA-256 of the policy that decided, lower-case hex; '' where none did. */
  readonly policyHash: string;
  /** Versions of the keys that answered, in the order of the domains of the call. */
  readonly keyVersions: readonly number[];
  /** Items that succeeded. */
  readonly done: number;
  /** Items that failed. */
  readonly failed: number;
  /** Charged to the quota: distinct items of the call. */
  readonly distinct: number;
  /** Counters minted: the first and how many. A call's mints are one range. */
  readonly counters?: { readonly first: number; readonly count: number };
  /** Commit number of the vault, from 1, for calls that write it; 0 or absent for others. */
  readonly commit?: number;
  /** `bodyHash` of body.ts, 32 bytes; absent where the call has no body. */
  readonly bodyHash?: Uint8Array;
  /** Small fields of admin verbs: names `[a-z][a-zA-Z0-9]*`, texts or whole numbers. E.g.
   *  CatalogueChanged: `hash`, `generation`; GrantBulk: `caller`, `domain`, `count`, `untilMs`. */
  readonly extra?: Readonly<Record<string, string | number>>;
}

/** The entry's bytes: canonical JSON (RFC 8785), UTF-8, at most 1 KiB. Keys, all of them:
 *  `at` timeMs, `body` hash in hex, `by` caller, `commit`, `counters` [first, count], `distinct`,
 *  `domain`, `done`, `failed`, `keys` versions, `policy` hash, `purpose`, `v` version, `verb`,
 *  `view`, `with` extra. Empty ones are left out, `at`, `by`, `distinct`, `done`, `failed`, `v` and
 *  `verb` never. Throws FIELD_INVALID for an entry that would be longer or has a lone surrogate,
 *  RangeError for a bad number.
 *
 *  Built by hand: RFC 8785 wants keys sorted, they are written in that order, and a string that
 *  needs no escape is written as it is, for this runs once a call. */
export function encodeEntry(entry: Entry): Uint8Array {
  let json = `{"at":${whole(entry.timeMs)}`;
  if (entry.bodyHash !== undefined) json += `,"body":"${hex(entry.bodyHash)}"`;
  json += `,"by":${text(entry.caller)}`;
  if (entry.commit !== undefined && entry.commit !== 0) json += `,"commit":${whole(entry.commit)}`;
  if (entry.counters !== undefined) {
    json += `,"counters":[${whole(entry.counters.first)},${whole(entry.counters.count)}]`;
  }
  json += `,"distinct":${whole(entry.distinct)}`;
  if (entry.domain !== '') json += `,"domain":${text(entry.domain)}`;
  json += `,"done":${whole(entry.done)},"failed":${whole(entry.failed)}`;
  if (entry.keyVersions.length > 0) json += `,"keys":[${entry.keyVersions.map(whole).join(',')}]`;
  if (entry.policyHash !== '') json += `,"policy":${text(entry.policyHash)}`;
  if (entry.purpose !== '') json += `,"purpose":${text(entry.purpose)}`;
  json += `,"v":${VERSION},"verb":${text(entry.verb)}`;
  if (entry.view !== '') json += `,"view":${text(entry.view)}`;
  if (entry.extra !== undefined) json += extraText(entry.extra);
  const bytes = Buffer.from(`${json}}`, 'utf8');
  if (bytes.length > ENTRY_BYTES_MAX) throw new CallError('FIELD_INVALID');
  return bytes;
}

/** Characters that JSON writes as they are (RFC 8785 §3.2.2.2), kept to ASCII for speed. */
const PLAIN_TEXT = /^[ !#-[\]-~]*$/;

function text(value: string): string {
  if (PLAIN_TEXT.test(value)) return `"${value}"`;
  // A lone surrogate has no UTF-8, so two entries could become one; RFC 8785 §3.2.2.2 refuses it.
  if (!value.isWellFormed()) throw new CallError('FIELD_INVALID');
  return JSON.stringify(value);
}

function whole(value: number): number {
  if (!Number.isSafeInteger(value) || value < 0) throw new RangeError('not a whole number');
  return value;
}

function hex(hash: Uint8Array): string {
  if (hash.length !== 32) throw new RangeError('a body hash has 32 bytes');
  return Buffer.from(hash.buffer, hash.byteOffset, 32).toString('hex');
}

const EXTRA_NAME = /^[a-z][a-zA-Z0-9]{0,31}$/;

function extraText(extra: Readonly<Record<string, string | number>>): string {
  const fields = Object.keys(extra)
    .sort()
    .map((name) => {
      if (!EXTRA_NAME.test(name)) throw new RangeError('not a name of an extra field');
      const value = extra[name]!;
      return `"${name}":${typeof value === 'string' ? text(value) : whole(value)}`;
    });
  return fields.length === 0 ? '' : `,"with":{${fields.join(',')}}`;
}

const strict = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** The entry again. Strict: only bytes that `encodeEntry` makes are taken, so an entry has one
 *  form and one leaf hash. Throws AuditError `malformed`. */
export function decodeEntry(bytes: Uint8Array): Entry {
  let entry: Entry;
  let again: Uint8Array;
  try {
    const json: unknown = JSON.parse(strict.decode(bytes));
    if (!isRecord(json) || json['v'] !== VERSION) throw new RangeError('not an entry of version 1');
    entry = entryOf(json);
    again = encodeEntry(entry);
  } catch (cause) {
    throw new AuditError('malformed', 'an entry does not parse', undefined, cause);
  }
  // Whatever was unknown, doubled, out of order or spelt otherwise shows as a difference here.
  if (Buffer.compare(bytes, again) !== 0) throw new AuditError('malformed', 'not canonical JSON');
  return entry;
}

type Json = Readonly<Record<string, unknown>>;

const isRecord = (value: unknown): value is Json =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

function entryOf(json: Json): Entry {
  const counters = json['counters'] === undefined ? undefined : numbers(json['counters']);
  if (counters !== undefined && counters.length !== 2) throw new RangeError('counters');
  const body = json['body'] === undefined ? undefined : string(json['body']);
  return {
    timeMs: number(json['at']),
    verb: string(json['verb']),
    domain: string(json['domain'] ?? ''),
    caller: string(json['by']),
    purpose: string(json['purpose'] ?? ''),
    view: string(json['view'] ?? ''),
    policyHash: string(json['policy'] ?? ''),
    keyVersions: numbers(json['keys'] ?? []),
    done: number(json['done']),
    failed: number(json['failed']),
    distinct: number(json['distinct']),
    ...(counters === undefined ? {} : { counters: { first: counters[0]!, count: counters[1]! } }),
    ...(json['commit'] === undefined ? {} : { commit: number(json['commit']) }),
    ...(body === undefined ? {} : { bodyHash: new Uint8Array(Buffer.from(body, 'hex')) }),
    ...(json['with'] === undefined ? {} : { extra: extraOf(json['with']) }),
  };
}

function string(value: unknown): string {
  if (typeof value !== 'string') throw new RangeError('not a text');
  return value;
}

function number(value: unknown): number {
  if (typeof value !== 'number') throw new RangeError('not a number');
  return value;
}

function numbers(value: unknown): number[] {
  if (!Array.isArray(value)) throw new RangeError('not a list');
  return value.map(number);
}

function extraOf(value: unknown): Record<string, string | number> {
  if (!isRecord(value)) throw new RangeError('not an object');
  const fields = Object.entries(value).map(([name, field]): [string, string | number] => [
    name,
    typeof field === 'string' ? field : number(field),
  ]);
  return Object.fromEntries(fields);
}
