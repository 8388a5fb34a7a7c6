import { describeFormat } from './cases.ts';

describeFormat('mrn', {}, [
  ['0012345', '0012345', '*******'],
  ['123456', '123456', '******'],
  ['12345', 'VALUE_MALFORMED'],
  ['12345678901', 'VALUE_MALFORMED'],
  ['0000000', 'VALUE_PLACEHOLDER'],
  ['9999999', 'VALUE_PLACEHOLDER'],
  ['UNKNOWN', 'VALUE_MALFORMED'],
]);

describeFormat('mrn:4-8', { charset: 'alphanumeric' }, [
  ['e123', 'E123', '****'],
  ['UNKNOWN', 'UNKNOWN', '*******'],
]);
