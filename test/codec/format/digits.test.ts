import { describeFormat } from './cases.ts';

describeFormat('digits:9', {}, [
  ['123456789', '123456789', '*********'],
  ['000000000', '000000000', '*********'],
  ['', 'VALUE_EMPTY'],
  ['12345678', 'VALUE_MALFORMED'],
  ['1234567890', 'VALUE_MALFORMED'],
  ['12345678a', 'VALUE_MALFORMED'],
  ['123-456-789', 'VALUE_MALFORMED'],
  [' 12345678', 'VALUE_MALFORMED'],
  ['١٢٣٤٥٦٧٨٩', 'VALUE_MALFORMED'],
  ['12345678\u0000', 'VALUE_MALFORMED'],
  ['1234567\ufffd', 'VALUE_MALFORMED'],
]);

describeFormat('digits:6-8', { separators: '-/', prefix: 'A:', suffix: '.z' }, [
  ['A:12-34/56.z', 'A:123456.z', '*:**-**/**.*'],
  ['A:12345678.z', 'A:12345678.z', '*:********.*'],
  ['A:-123456.z', 'A:123456.z', '*:-******.*'],
  ['123456', 'VALUE_MALFORMED'],
  ['A:123456', 'VALUE_MALFORMED'],
  ['A:12345.z', 'VALUE_MALFORMED'],
  ['A:.z', 'VALUE_MALFORMED'],
  ['A:', 'VALUE_MALFORMED'],
  ['A:123456789.z', 'VALUE_MALFORMED'],
]);
