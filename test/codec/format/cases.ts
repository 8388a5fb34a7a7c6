import { describe, expect, test } from 'vitest';
import { columnOf, stringsOf } from '../../../src/base/column.ts';
import { type CompiledDomain, compileDomain } from '../../../src/codec/domain.ts';
import { defaultsFor } from '../../../src/codec/domain-check.ts';
import { reasonOf } from '../../../src/codec/format/format.ts';
import { normalForms } from '../../../src/codec/normal.ts';
import { applyView } from '../../../src/codec/view.ts';

/** A value, then its normal form and mask where it belongs to the format, else the reason. */
export type Case =
  | readonly [value: string, normal: string, mask: string]
  | readonly [value: string, reason: `VALUE_${string}`];

/** A domain that only reads and masks, so that every format compiles for it. */
export const readerOf = (format: string, formatOptions: Record<string, string>): CompiledDomain =>
  compileDomain(defaultsFor({ id: 'test/cases', kind: 'transform', format, formatOptions }, 0));

/** The verdict on one value: its normal form, or the reason against it. */
export function verdictOf(domain: CompiledDomain, value: string | Uint8Array): string {
  const { column, faults } = normalForms(domain, columnOf([value]));
  return faults === null ? stringsOf(column)[0]! : reasonOf(faults[0]!);
}

/** A table of cases: each verdict alone, normal forms idempotent, then all in one batch. */
export function describeFormat(
  format: string,
  options: Record<string, string>,
  cases: readonly Case[],
): void {
  const settings = Object.entries(options).map(([key, value]) => `${key}=${value}`);
  describe([format, ...settings].join(' '), () => {
    const domain = readerOf(format, options);
    const rows = cases.map(([value, wanted, mask]) => ({ value, wanted, mask }));
    test.each(rows)('$value is $wanted', ({ value, wanted, mask }) => {
      expect(verdictOf(domain, value)).toBe(wanted);
      if (mask === undefined) return;
      expect(verdictOf(domain, wanted), 'the normal form of the normal form').toBe(wanted);
      expect(stringsOf(applyView(domain, columnOf([value]), 'masked'))).toEqual([mask]);
    });

    test('a batch of all of them', () => {
      const { column, good } = normalForms(domain, columnOf(cases.map(([value]) => value)));
      const rows = cases.flatMap((row, i) => (row.length === 3 ? [i] : []));
      expect(good === null ? rows : [...good]).toEqual(rows);
      expect(stringsOf(column)).toEqual(rows.map((row) => cases[row]![1]));
    });
  });
}
