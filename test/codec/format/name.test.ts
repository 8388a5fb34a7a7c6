import { describeFormat } from './cases.ts';

describeFormat('name', {}, [
  ['Anna-Maria García', 'Anna-Maria García', 'A. M. G.'],
  ['GARCÍA^ÁNGEL^Q', 'GARCÍA^ÁNGEL^Q', 'G. Á. Q.'],
  ['王小明', '王小明', '王.'],
  ['Todd315', 'Todd315', 'T.'],
  ['---', '---', '********'],
  ['UNKNOWN', 'VALUE_PLACEHOLDER'],
  ['Baby  Boy', 'VALUE_PLACEHOLDER'],
  ['BABY^BOY', 'VALUE_PLACEHOLDER'],
  ['doe, jane', 'VALUE_PLACEHOLDER'],
  ['  ', 'VALUE_MALFORMED'],
  ['', 'VALUE_EMPTY'],
]);
