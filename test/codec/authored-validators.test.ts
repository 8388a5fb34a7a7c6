import { existsSync, readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { expect, test } from 'vitest';
import { readerOf, verdictOf } from './format/cases.ts';

const DATA = process.env['LOCKSTEP_DATA'] ?? resolve(import.meta.dirname, '../../../shared/data');
const FILE = resolve(DATA, 'authored/validators.csv');

/** The file's kinds that have a format here, and how a verdict is written there. */
const FORMATS: Readonly<Record<string, string>> = {
  ssn: 'ssn',
  npi: 'npi',
  mbi: 'mbi',
  phone: 'phone:e164',
  pan: 'luhn:13-19',
};

if (!existsSync(FILE)) {
  console.warn(`skipped: ${FILE} is missing`);
  test.skip('the authored validator cases', () => {});
} else {
  const rows = readFileSync(FILE, 'utf8').trim().split('\n').slice(1);
  const cases = rows.map((row) => row.split(',')).filter(([kind]) => kind! in FORMATS);

  test('the file has cases of these formats', () => expect(cases.length).toBeGreaterThan(15));

  test.each(cases)('%s %s is %s', (kind, value, expected) => {
    const verdict = verdictOf(readerOf(FORMATS[kind!]!, {}), value!);
    if (expected!.startsWith('valid')) expect(verdict).not.toMatch(/^VALUE_/);
    else if (expected === 'invalid-placeholder') expect(verdict).toBe('VALUE_PLACEHOLDER');
    else expect(verdict).toMatch(/^VALUE_(MALFORMED|CHECK_FAILED)$/);
  });
}
