import { AesCmac } from 'aes-cmac';
import { expect, test } from 'vitest';
import { columnOf, stringsOf } from '../../src/base/column.ts';
import { encodeOneWay } from '../../src/codec/one-way.ts';
import { encodeTransform } from '../../src/codec/transform.ts';
import { applyView } from '../../src/codec/view.ts';
import { domainOf, KEYS, NONE, rawKey } from './domains.ts';

const SSN = domainOf('one-way', 'ssn', { name: 'pseudo' });

const pseudonyms = (values: string[], context = NONE, subject = NONE) =>
  stringsOf(encodeOneWay(KEYS, SSN, columnOf(values), context, subject).column);

/** RFC 4648 base 32 by way of a bit string. */
function base32(bytes: Uint8Array): string {
  const bits = Array.from(bytes, (byte) => byte.toString(2).padStart(8, '0')).join('');
  const groups = bits.match(/.{1,5}/g) ?? [];
  const chars = 'abcdefghijklmnopqrstuvwxyz234567';
  return groups.map((group) => chars[Number.parseInt(group.padEnd(5, '0'), 2)]).join('');
}

test('a pseudonym is the CMAC of another library over the documented message', async () => {
  const constant = 'lockstep pseudonym hospital/pseudo';
  const message = Buffer.concat([
    Buffer.of(constant.length),
    Buffer.from(constant),
    Buffer.of(1),
    Buffer.alloc(16, 7),
    Buffer.of(4),
    Buffer.from('ward536221234'),
  ]);
  const mac = await new AesCmac(Buffer.from(rawKey('pseudo'))).calculate(message);
  const got = pseudonyms(['536-22-1234'], Buffer.from('ward'), Buffer.alloc(16, 7));
  expect(got).toEqual([`tk_pseudo_${base32(mac)}`]);
});

test('equal items are equal, others differ, errors stay in place', () => {
  const got = encodeOneWay(
    KEYS,
    SSN,
    columnOf(['536-22-1234', '000-00-0000', '536221234', '665010001']),
    columnOf(['a', 'a', 'a', 'a']),
    NONE,
  );
  const rows = stringsOf(got.column);
  expect(rows[0]).toBe(rows[2]);
  expect(rows[0]).not.toBe(rows[3]);
  expect(got.errors).toEqual([{ index: 1, reason: 'VALUE_CHECK_FAILED' }]);
  expect(pseudonyms(['536221234'])).not.toEqual(pseudonyms(['536221234'], Buffer.from('a')));
});

test('transform: mask and redact', () => {
  const values = columnOf(['Anna García', 'UNKNOWN', 'Bo', 'Anna García']);
  const mask = encodeTransform(domainOf('transform', 'name'), values);
  expect(stringsOf(mask.column)).toEqual(['A. G.', '', 'B.', 'A. G.']);
  expect(mask.errors).toEqual([{ index: 1, reason: 'VALUE_PLACEHOLDER' }]);
  expect(mask.distinct).toBe(3);
  const options = { formatOptions: { transform: 'redact' }, onInvalid: 'pass' as const };
  const redact = encodeTransform(domainOf('transform', 'name', options), values);
  expect(stringsOf(redact.column)).toEqual(['[redacted]', 'UNKNOWN', '[redacted]', '[redacted]']);
  expect(redact.passed).toEqual([1]);
});

test('views', () => {
  const domain = domainOf('static', 'ssn');
  const values = columnOf(['529-31-0047', '', 'not an ssn']);
  expect(stringsOf(applyView(domain, values, 'plain'))).toEqual(stringsOf(values));
  expect(stringsOf(applyView(domain, values, 'masked'))).toEqual(['***-**-0047', '', '********']);
  expect(stringsOf(applyView(domain, values, 'redacted'))).toEqual([
    '[redacted]',
    '',
    '[redacted]',
  ]);
});
