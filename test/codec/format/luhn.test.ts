import { describeFormat } from './cases.ts';

describeFormat('luhn:13-19', {}, [
  ['4111111111111111', '4111111111111111', '************1111'],
  ['4111 1111-1111 1111', '4111111111111111', '**** ****-**** 1111'],
  ['4111111111111112', 'VALUE_CHECK_FAILED'],
  ['411111111111', 'VALUE_MALFORMED'],
  ['0000000000000000', 'VALUE_PLACEHOLDER'],
]);
