import { describeFormat } from './cases.ts';

describeFormat('npi', {}, [
  ['1234567893', '1234567893', '**********'],
  ['1234567894', 'VALUE_CHECK_FAILED'],
  ['3234567893', 'VALUE_CHECK_FAILED'],
  ['123456789', 'VALUE_MALFORMED'],
  ['12345678930', 'VALUE_MALFORMED'],
  ['123456789X', 'VALUE_MALFORMED'],
  ['1234-567893', 'VALUE_MALFORMED'],
]);
