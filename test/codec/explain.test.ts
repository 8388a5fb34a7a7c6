import { expect, test } from 'vitest';
import { explainFormat } from '../../src/codec/explain.ts';
import { VALIDATORS } from './validators.ts';

test('an MBI: verdicts, numbers and an example in X', () => {
  const report = explainFormat('mbi', {}, ['1EG4-TE5-MK73', '1SG4TE5MK73']);
  expect(report).toMatchObject({
    name: 'mbi',
    size: 12_960_000_000_000n,
    unbounded: false,
    quotaPerDay: 1_000_000,
    daysToEnumerate: 12_960_000,
    example: { kind: 'fpe', safety: 'never-real' },
  });
  const [good, bad] = report.values;
  expect(good).toMatchObject({ verdict: 'VALID', normal: '1EG4TE5MK73', masked: '****-***-****' });
  expect(good!.exampleToken).toMatch(/^.{4}-.{3}-.{4}$/);
  expect(VALIDATORS['mbi']!(good!.exampleToken)).toBe(false);
  expect(bad).toEqual({ verdict: 'VALUE_MALFORMED', normal: '', masked: '', exampleToken: '' });
});

test('the quota may be another; a small format is soon tried through', () => {
  expect(explainFormat('digits:4', {}, []).daysToEnumerate).toBe(100);
  expect(explainFormat('digits:9', {}, [], 5e8).daysToEnumerate).toBe(2);
  expect(explainFormat('date', {}, ['2001-04-19']).example.kind).toBe('siv');
});

test('text has no end, an SSN is static, and so are four digits', () => {
  const text = explainFormat('text', {}, ['hello']);
  expect(text).toMatchObject({ unbounded: true, daysToEnumerate: Number.POSITIVE_INFINITY });
  expect(text.values[0]!.exampleToken).toMatch(/^tk_token_/);
  expect(explainFormat('ssn', {}, ['536-22-1234']).values[0]!.exampleToken).toMatch(/^9\d\d-/);
  expect(explainFormat('digits:4', {}, ['1234']).values[0]!.exampleToken).toMatch(/^\d{4}$/);
});

test('a format that does not parse is refused', () => {
  expect(() => explainFormat('zip', {}, [])).toThrow('a field has a bad value');
});
