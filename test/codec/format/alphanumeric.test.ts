import { describeFormat } from './cases.ts';

describeFormat('alphanumeric:4-6', {}, [
  ['AB12', 'AB12', '****'],
  ['ab12cd', 'AB12CD', '******'],
  ['ABC', 'VALUE_MALFORMED'],
  ['ABCDEFG', 'VALUE_MALFORMED'],
  ['AB_2', 'VALUE_MALFORMED'],
  ['ÀBCD', 'VALUE_MALFORMED'],
]);

describeFormat('alphanumeric:4', { case: 'lower' }, [['aB1Z', 'ab1z', '****']]);

describeFormat('alphanumeric:4', { case: 'exact' }, [
  ['aB1Z', 'aB1Z', '****'],
  ['AB1Z', 'AB1Z', '****'],
]);
