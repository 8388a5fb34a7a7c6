import { describeFormat } from './cases.ts';

describeFormat('alphabet', { alphabet: 'zyx10', min: '5', max: '12', separators: ' .' }, [
  ['zyx10', 'zyx10', '*****'],
  ['zy.x1 0z', 'zyx10z', '**.** **'],
  ['zyx1', 'VALUE_MALFORMED'],
  ['zyx12', 'VALUE_MALFORMED'],
  ['ZYX10', 'VALUE_MALFORMED'],
]);
