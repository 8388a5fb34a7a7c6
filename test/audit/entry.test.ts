import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { decodeEntry, ENTRY_BYTES_MAX, type Entry, encodeEntry } from '../../src/audit/entry.ts';

const whole = fc.maxSafeNat();
const text = fc.string({ unit: 'grapheme', maxLength: 12 });
const some: fc.Arbitrary<Entry> = fc
  .record(
    {
      timeMs: whole,
      verb: text,
      domain: text,
      caller: text,
      purpose: text,
      view: text,
      policyHash: fc.constantFrom('', 'ab'.repeat(32)),
      keyVersions: fc.array(whole, { maxLength: 3 }),
      done: whole,
      failed: whole,
      distinct: whole,
      counters: fc.record({ first: whole, count: whole }),
      commit: fc.integer({ min: 1 }),
      bodyHash: fc.uint8Array({ minLength: 32, maxLength: 32 }),
      extra: fc.dictionary(fc.stringMatching(/^[a-z][a-zA-Z0-9]{0,8}$/), fc.oneof(text, whole), {
        minKeys: 1,
        maxKeys: 4,
      }),
    },
    {
      requiredKeys: [
        'timeMs',
        'verb',
        'domain',
        'caller',
        'purpose',
        'view',
        'policyHash',
        'keyVersions',
        'done',
        'failed',
        'distinct',
      ],
    },
  )
  .map((entry) => ({ ...entry, ...(entry.extra ? { extra: { ...entry.extra } } : {}) }));

/** RFC 8785 by way of JSON.stringify: sorted keys, no spaces. The oracle of the hand-built text. */
function canonical(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonical).join(',')}]`;
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  const fields = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
  const parts = fields.map(([key, field]) => `${JSON.stringify(key)}:${canonical(field)}`);
  return `{${parts.join(',')}}`;
}

const entry: Entry = {
  timeMs: 1_795_000_000_000,
  verb: 'Tokenize',
  domain: 'clinic/mrn',
  caller: 'spiffe://hospital-a.example/ehr',
  purpose: 'TREAT',
  view: '',
  policyHash: 'ab'.repeat(32),
  keyVersions: [1],
  done: 999,
  failed: 1,
  distinct: 990,
};

describe('entries', () => {
  test('any entry comes back and is canonical JSON', () =>
    fc.assert(
      fc.property(some, (given) => {
        const bytes = encodeEntry(given);
        expect(decodeEntry(bytes)).toEqual(given);
        const json = Buffer.from(bytes).toString('utf8');
        expect(json).toBe(canonical(JSON.parse(json)));
      }),
    ));

  test('the bytes are as documented', () => {
    expect(Buffer.from(encodeEntry(entry)).toString()).toBe(
      '{"at":1795000000000,"by":"spiffe://hospital-a.example/ehr","distinct":990,' +
        `"domain":"clinic/mrn","done":999,"failed":1,"keys":[1],"policy":"${'ab'.repeat(32)}",` +
        '"purpose":"TREAT","v":1,"verb":"Tokenize"}',
    );
    const full = { ...entry, view: 'plain', commit: 7, counters: { first: 5, count: 2 } };
    const bytes = encodeEntry({
      ...full,
      bodyHash: new Uint8Array(32).fill(1),
      extra: { until: 3, caller: 'a"b' },
    });
    expect(Buffer.from(bytes).toString()).toBe(
      `{"at":1795000000000,"body":"${'01'.repeat(32)}","by":"spiffe://hospital-a.example/ehr",` +
        '"commit":7,"counters":[5,2],"distinct":990,"domain":"clinic/mrn","done":999,"failed":1,' +
        `"keys":[1],"policy":"${'ab'.repeat(32)}","purpose":"TREAT","v":1,"verb":"Tokenize",` +
        '"view":"plain","with":{"caller":"a\\"b","until":3}}',
    );
  });

  test('what does not fit or has no UTF-8 is refused', () => {
    const long = { ...entry, caller: 'x'.repeat(ENTRY_BYTES_MAX) };
    expect(() => encodeEntry(long)).toThrow(expect.objectContaining({ reason: 'FIELD_INVALID' }));
    const lone = { ...entry, caller: '\ud800' };
    expect(() => encodeEntry(lone)).toThrow(expect.objectContaining({ reason: 'FIELD_INVALID' }));
    expect(() => encodeEntry({ ...entry, done: -1 })).toThrow(RangeError);
    expect(() => encodeEntry({ ...entry, done: 1.5 })).toThrow(RangeError);
  });

  test.each([
    ['a space', (json: string) => json.replace(',', ', ')],
    [
      'another order',
      (json: string) => json.replace('"done":999,"failed":1', '"failed":1,"done":999'),
    ],
    ['an unknown key', (json: string) => json.replace('"verb"', '"u":1,"verb"')],
    ['a key twice', (json: string) => json.replace('"at":', '"at":1,"at":')],
    ['a number spelt otherwise', (json: string) => json.replace('999', '999.0')],
    ['an escape that need not be', (json: string) => json.replace('TREAT', '\\u0054REAT')],
    ['another version', (json: string) => json.replace('"v":1', '"v":2')],
    ['an empty field', (json: string) => json.replace('"TREAT"', '""')],
    ['bytes after it', (json: string) => `${json} `],
    ['a missing field', (json: string) => json.replace('"failed":1,', '')],
    ['a byte order mark', (json: string) => `\ufeff${json}`],
    ['nothing', () => ''],
  ])('%s is malformed', (_, change) => {
    const json = Buffer.from(encodeEntry(entry)).toString();
    expect(change(json)).not.toBe(json);
    expect(() => decodeEntry(Buffer.from(change(json)))).toThrow(
      expect.objectContaining({ fault: 'malformed' }),
    );
  });
});
