import { describe, expect, test } from 'vitest';
import { CallError } from '../../src/base/call-error.ts';
import { checkDomain, type DomainWish, defaultsFor } from '../../src/codec/domain-check.ts';

const check = (wish: Partial<DomainWish>) =>
  checkDomain(defaultsFor({ id: 'a/b', kind: 'fpe', format: 'digits:9', ...wish }, 0));

function refusalOf(wish: Partial<DomainWish>): string {
  try {
    check(wish);
  } catch (error) {
    if (!(error instanceof CallError)) throw error;
    return `${error.reason} ${error.violations[0]?.field}`;
  }
  return 'taken';
}

const options = (formatOptions: Record<string, string>) => ({ formatOptions });
const MRN = { format: 'mrn', assigner: 'urn:oid:1.2.36.146' };
const NOTE = { note: 'why' };

describe('refusals', () => {
  test.each<[string, Partial<DomainWish>, string]>([
    ['a plain domain', {}, 'taken'],
    ['no format of ours', { format: 'zip' }, 'FIELD_INVALID format'],
    ['a name of Object', { format: 'constructor' }, 'FIELD_INVALID format'],
    ['lengths missing', { format: 'digits' }, 'FIELD_INVALID format'],
    ['lengths reversed', { format: 'digits:9-6' }, 'FIELD_INVALID format'],
    ['lengths too long', { format: 'digits:9-513' }, 'FIELD_INVALID format'],
    ['lengths where none belong', { format: 'ssn:9' }, 'FIELD_INVALID format'],
    ['another phone', { format: 'phone:us' }, 'FIELD_INVALID format'],
    ['an unknown setting', options({ sep: '-' }), 'FIELD_INVALID format_options'],
    ['a separator of the alphabet', options({ separators: '1' }), 'FIELD_INVALID format_options'],
    ['a separator beyond ASCII', options({ separators: '–' }), 'FIELD_INVALID format_options'],
    [
      'a short alphabet',
      { format: 'alphabet', ...options({ alphabet: 'a', min: '9', max: '9' }) },
      'FIELD_INVALID format_options',
    ],
    [
      'a repeated character',
      { format: 'alphabet', ...options({ alphabet: 'aba', min: '9', max: '99' }) },
      'FIELD_INVALID format_options',
    ],
    ['an id without organisation', { id: 'b' }, 'FIELD_INVALID id'],
    ['FPE of five digits', { format: 'digits:5' }, 'FORMAT_TOO_SMALL format'],
    ['FPE of five to nine digits', { format: 'digits:5-9' }, 'FORMAT_TOO_SMALL format'],
    ['FPE of six digits', { format: 'digits:6' }, 'taken'],
    ['FPE of a Luhn number of six', { format: 'luhn:6' }, 'FORMAT_TOO_SMALL format'],
    ['FPE of a Luhn number of six to nine', { format: 'luhn:6-9' }, 'FORMAT_TOO_SMALL format'],
    ['FPE of a Luhn number of seven', { format: 'luhn:7' }, 'taken'],
    ['FPE of base 36, three', { format: 'alphanumeric:3' }, 'FORMAT_TOO_SMALL format'],
    ['FPE of text', { format: 'text' }, 'KIND_UNSUPPORTED kind'],
    ['FPE of names', { format: 'name', ...NOTE }, 'KIND_UNSUPPORTED kind'],
    ['FPE of dates', { format: 'date', ...NOTE }, 'FORMAT_TOO_SMALL format'],
    ['FPE bound to subjects', { subjectRequired: true }, 'KIND_UNSUPPORTED subject_required'],
    ['FPE of SSN in X', { format: 'ssn' }, 'FORMAT_TOO_SMALL safety'],
    ['FPE of SSN in V, no note', { format: 'ssn', safety: 'valid' }, 'NOTE_REQUIRED note'],
    ['FPE of SSN in V, a note', { format: 'ssn', safety: 'valid', ...NOTE }, 'taken'],
    ['FPE of MBI in X', { format: 'mbi' }, 'taken'],
    ['FPE of NPI in X', { format: 'npi' }, 'taken'],
    ['FPE of NPI in V, no note', { format: 'npi', safety: 'valid' }, 'NOTE_REQUIRED note'],
    ['FPE of phones in X', { format: 'phone', safety: 'never-real' }, 'FORMAT_TOO_SMALL safety'],
    [
      'FPE of E.164 in X',
      { format: 'phone:e164', safety: 'never-real' },
      'FORMAT_TOO_SMALL safety',
    ],
    ['FPE of digits in X', { safety: 'never-real' }, 'FORMAT_TOO_SMALL safety'],
    [
      'FPE of digits in X by a marker',
      { safety: 'never-real', ...options({ 'token-prefix': 'T' }) },
      'taken',
    ],
    [
      'a marker that values may hold',
      { safety: 'never-real', ...options({ 'token-prefix': '9' }) },
      'FORMAT_TOO_SMALL safety',
    ],
    ['static SSN', { kind: 'static', format: 'ssn' }, 'taken'],
    [
      'static SSN, X too small for twice the people',
      { kind: 'static', format: 'ssn', population: 30_000_000 },
      'FORMAT_TOO_SMALL safety',
    ],
    [
      'the same, X asked for',
      { kind: 'static', format: 'ssn', population: 30_000_000, safety: 'never-real' },
      'taken',
    ],
    [
      'more people than tokens',
      { kind: 'static', format: 'ssn', population: 60_000_000, safety: 'never-real' },
      'FORMAT_TOO_SMALL population',
    ],
    ['static of five digits', { kind: 'static', format: 'digits:5' }, 'taken'],
    [
      'static of five digits, for as many as are drawn',
      { kind: 'static', format: 'digits:5', population: 90_000 },
      'taken',
    ],
    [
      'static of five digits, for more than are drawn',
      { kind: 'static', format: 'digits:5', population: 90_001 },
      'FORMAT_TOO_SMALL population',
    ],
    ['static of five to nine digits', { kind: 'static', format: 'digits:5-9' }, 'taken'],
    ['static of digits in X', { kind: 'static', safety: 'never-real' }, 'FORMAT_TOO_SMALL safety'],
    [
      'static SSN in V, no note',
      { kind: 'static', format: 'ssn', safety: 'valid' },
      'NOTE_REQUIRED note',
    ],
    ['dynamic names', { kind: 'dynamic', format: 'name' }, 'taken'],
    ['static names, no note', { kind: 'static', format: 'name' }, 'NOTE_REQUIRED note'],
    ['SIV names, no note', { kind: 'siv', format: 'name' }, 'NOTE_REQUIRED note'],
    ['SIV dates, no note', { kind: 'siv', format: 'date' }, 'NOTE_REQUIRED note'],
    ['SIV dates, a note', { kind: 'siv', format: 'date', ...NOTE }, 'taken'],
    ['one-way names, no note', { kind: 'one-way', format: 'name' }, 'NOTE_REQUIRED note'],
    ['masked names', { kind: 'transform', format: 'name' }, 'taken'],
    ['SIV in V', { kind: 'siv', format: 'ssn', safety: 'valid', ...NOTE }, 'FIELD_INVALID safety'],
    ['SIV text for subjects', { kind: 'siv', format: 'text', subjectRequired: true }, 'taken'],
    ['an MRN without assigner', { format: 'mrn' }, 'FIELD_REQUIRED assigner'],
    ['an assigner that is no URI', { ...MRN, assigner: 'hospital' }, 'FIELD_INVALID assigner'],
    ['an MRN', MRN, 'taken'],
    ['an MRN in X', { ...MRN, safety: 'never-real', ...options({ 'token-prefix': 'X' }) }, 'taken'],
    ['a population that is no count', { population: -1 }, 'FIELD_INVALID population'],
    ['a note of 501 bytes', { note: 'x'.repeat(501) }, 'FIELD_INVALID note'],
    ['transform of another kind', options({ transform: 'mask' }), 'FIELD_INVALID format_options'],
    [
      'an unknown transform',
      { kind: 'transform', ...options({ transform: 'shift' }) },
      'FIELD_INVALID format_options',
    ],
    [
      'one-way with opaque tokens',
      { kind: 'one-way', onInvalid: 'tokenize-opaque' },
      'FIELD_INVALID on_invalid',
    ],
    ['opaque tokens', { onInvalid: 'tokenize-opaque' }, 'taken'],
    [
      'opaque tokens that read as tokens',
      {
        format: 'alphabet',
        onInvalid: 'tokenize-opaque',
        ...options({ alphabet: 'abcdefghijklmnopqrstuvwxyz234567_', min: '9', max: '99' }),
      },
      'FIELD_INVALID on_invalid',
    ],
  ])('%s: %s', (_, wish, wanted) => expect(refusalOf(wish)).toBe(wanted));

  test('nothing of the request is in a violation', () => {
    const secret = 'S3CRET';
    for (const wish of [
      { format: secret },
      options({ [secret]: '1' }),
      { assigner: `${secret} ` },
    ]) {
      try {
        check(wish);
        expect.fail('it was taken');
      } catch (error) {
        expect(JSON.stringify(error)).not.toContain(secret);
      }
    }
  });
});

describe('what follows from a spec', () => {
  test('roles', () => {
    const rolesOf = (wish: Partial<DomainWish>) => check({ ...NOTE, ...wish }).roles;
    expect(rolesOf({})).toEqual(['fpe']);
    expect(rolesOf({ onInvalid: 'tokenize-opaque' })).toEqual(['fpe', 'siv-mac', 'siv-ctr']);
    expect(rolesOf({ kind: 'siv', onInvalid: 'tokenize-opaque' })).toEqual(['siv-mac', 'siv-ctr']);
    expect(rolesOf({ kind: 'static' })).toEqual(['count', 'idx', 'seal-mac', 'seal-ctr']);
    expect(rolesOf({ kind: 'one-way' })).toEqual(['pseudo']);
    expect(rolesOf({ kind: 'transform' })).toEqual([]);
  });

  test('sizes and capacities', () => {
    expect(check({}).capacityBits).toBeCloseTo(Math.log2(1e9));
    expect(check({ kind: 'static', format: 'ssn' }).counterLimit).toBe(55_000_000);
    expect(check({ kind: 'static', format: 'digits:6-30' }).counterLimit).toBe(2 ** 53 - 1);
    expect(check({ kind: 'dynamic', format: 'name' }).capacityBits).toBe(80);
    expect(check({ kind: 'siv', format: 'text' }).capacityBits).toBe(128);
    expect(check({ format: 'digits:9', kind: 'static' }).counterLimit).toBe(1e9);
  });

  test('defaults', () => {
    const spec = defaultsFor({ id: 'a/b', kind: 'static', format: 'ssn' }, 42);
    expect(spec).toMatchObject({ safety: 'never-real', onInvalid: 'reject', createdMs: 42 });
    expect(defaultsFor({ id: 'a/b', kind: 'fpe', format: 'phone' }, 0).safety).toBe('valid');
    expect(defaultsFor({ id: 'a/b', kind: 'siv', format: 'digits:9' }, 0).safety).toBe(
      'never-real',
    );
  });
});
