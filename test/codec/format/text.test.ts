import { expect, test } from 'vitest';
import { describeFormat, readerOf, verdictOf } from './cases.ts';

describeFormat('text', {}, [
  ['hello', 'hello', '********'],
  [' ', ' ', '********'],
  ['a\u0000b\u001b\r\n', 'a\u0000b\u001b\r\n', '********'],
  ['', 'VALUE_EMPTY'],
  ['damaged \ufffd', 'VALUE_MALFORMED'],
]);

test('32 KiB is text, a byte more is too long', () => {
  const domain = readerOf('text', {});
  expect(verdictOf(domain, 'x'.repeat(32_768))).toHaveLength(32_768);
  expect(verdictOf(domain, 'x'.repeat(32_769))).toBe('VALUE_TOO_LONG');
});

test('a row that ends where U+FFFD would begin is not damaged', () => {
  expect(verdictOf(readerOf('text', {}), Uint8Array.of(0xef, 0xbf, 0xbe))).not.toMatch(/^VALUE/);
});
