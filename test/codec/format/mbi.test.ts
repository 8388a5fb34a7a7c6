import { describeFormat } from './cases.ts';

describeFormat('mbi', {}, [
  ['1EG4TE5MK73', '1EG4TE5MK73', '***********'],
  ['1EG4-TE5-MK73', '1EG4TE5MK73', '****-***-****'],
  ['1eg4te5mk73', '1EG4TE5MK73', '***********'],
  ['1E04TE5MK73', '1E04TE5MK73', '***********'],
  ['1SG4TE5MK73', 'VALUE_MALFORMED'],
  ['1EG4TE5MZ73', 'VALUE_MALFORMED'],
  ['0EG4TE5MK73', 'VALUE_MALFORMED'],
  ['1EGATE5MK73', 'VALUE_MALFORMED'],
  ['1EG4-TE5MK73', 'VALUE_MALFORMED'],
  ['1EG4TE5MK7', 'VALUE_MALFORMED'],
]);
