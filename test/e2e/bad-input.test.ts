import { fromBinary } from '@bufbuild/protobuf';
import { BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Reason } from '../../src/base/reason.ts';
import { View } from '../../src/rpc/gen/lockstep/v1/common_pb.ts';
import {
  DetokenizeResponseSchema,
  ExchangeResponseSchema,
} from '../../src/rpc/gen/lockstep/v1/token_service_pb.ts';
import { softHsmLibrary } from '../softhsm.ts';
import { CANARY, GOOD, tokenizeBytes, WatchedServer } from './watched-server.ts';

const run = softHsmLibrary() === undefined ? describe.skip : describe;
let watched: WatchedServer;

/** A value that each format takes. */
const GOOD_VALUES: Readonly<Record<string, string>> = {
  ssn: GOOD,
  mrn: '40817263',
  npi: '1234567893',
  mbi: '1EG4-TE5-MK73',
  phone: '212-555-0123',
  account: '123456789',
  note: 'seen on Monday',
  name: 'Zoë Müller',
  'birth-date': '1980-02-28',
  pseudonym: 'someone',
};

run('bad values and calls, through the whole server on SoftHSM', () => {
  beforeAll(async () => {
    watched = await WatchedServer.start();
  });
  afterAll(() => watched.stop());

  describe('wrong length or alphabet', () => {
    const bad: readonly [domain: string, value: string, reason: Reason][] = [
      ['ssn', '529-31-004', 'VALUE_MALFORMED'],
      ['ssn', '529-31-00477', 'VALUE_MALFORMED'],
      ['ssn', CANARY, 'VALUE_MALFORMED'],
      ['ssn', '٥٢٩-٣١-٠٠٤٧', 'VALUE_MALFORMED'],
      ['ssn', '000-12-3456', 'VALUE_CHECK_FAILED'],
      ['ssn', '078-05-1120', 'VALUE_PLACEHOLDER'],
      ['mrn', '1234567', 'VALUE_MALFORMED'],
      ['mrn', `1${CANARY}`, 'VALUE_MALFORMED'],
      ['npi', '123456789', 'VALUE_MALFORMED'],
      ['npi', '1234567890', 'VALUE_CHECK_FAILED'],
      ['mbi', '1EG4-TE5-MK7', 'VALUE_MALFORMED'],
      ['phone', '212-555', 'VALUE_MALFORMED'],
      ['account', '12345678', 'VALUE_MALFORMED'],
      ['account', '12345678x', 'VALUE_MALFORMED'],
      ['account', '12345678\0', 'VALUE_MALFORMED'],
      ['birth-date', '28.02.1980', 'VALUE_MALFORMED'],
      ['birth-date', '1980-02-30', 'VALUE_CHECK_FAILED'],
    ];
    test.each(bad)('%s refuses %j: %s', (domain, value, reason) =>
      watched.failsItem(domain, GOOD_VALUES[domain]!, value, reason),
    );
  });

  test.each(Object.entries(GOOD_VALUES))('an empty value in %s', (domain, good) =>
    watched.failsItem(domain, good, '', 'VALUE_EMPTY'),
  );

  describe('invalid UTF-8 is MESSAGE_MALFORMED', () => {
    const ILL: readonly [name: string, bytes: readonly number[]][] = [
      ['a byte that no text has', [0xff]],
      ['a torn sequence', [0xc3]],
      ['an overlong form', [0xc0, 0xaf]],
      ['a lone surrogate, encoded', [0xed, 0xa0, 0x80]],
      ['beyond Unicode', [0xf4, 0x90, 0x80, 0x80]],
    ];
    // values, domain, purpose, context, a context each, subject, a subject each, request id.
    const fields = [2, 1, 3, 5, 6, 7, 8, 10].map((field) => ({ field }));
    describe.each(ILL)('%s', (_name, bytes) => {
      test.each(fields)('in field $field', async ({ field }) => {
        const message = withField(field, [...Buffer.from(CANARY), ...bytes]);
        await watched.refuses(() => watched.raw('Tokenize', message), 'MESSAGE_MALFORMED');
      });
    });
  });

  // A client in JavaScript sends U+FFFD for it, and two patients would share a token.
  test.each(Object.entries(GOOD_VALUES))('a lone surrogate in %s', (domain, good) =>
    watched.failsItem(domain, good, `${good.slice(0, -1)}\ud83d`, 'VALUE_MALFORMED'),
  );

  test.each(Object.entries(GOOD_VALUES))('a value of 64 KiB in %s', (domain, good) =>
    watched.failsItem(domain, good, CANARY.repeat(65_536 / CANARY.length + 1), 'VALUE_TOO_LONG'),
  );

  test('10,001 items: BATCH_TOO_LARGE, and 10,000 are taken', async () => {
    const values = Array.from({ length: 10_001 }, () => CANARY);
    const refused = await watched.refuses(
      () => watched.send('Tokenize', { domain: 'ssn', values }),
      'BATCH_TOO_LARGE',
    );
    expect(refused.metadata).toEqual({ limit: '10000' });
    const taken = await watched.send('Tokenize', { domain: 'ssn', values: values.slice(1) });
    expect(taken.status).toBe(0);
  });

  describe('an unknown domain', () => {
    const as = (caller: string) => ({ headers: { 'lockstep-dev-caller': caller } });
    const values = [CANARY];
    test('is RESOURCE_NOT_FOUND for who may see domains', () =>
      watched.refuses(
        () => watched.send('Tokenize', { domain: 'no-such', values }),
        'RESOURCE_NOT_FOUND',
      ));
    test('of another organisation is ACCESS_DENIED, whether it is there or not', () =>
      watched.refuses(
        () => watched.send('Tokenize', { domain: 'hospital-b/ssn', values }),
        'ACCESS_DENIED',
      ));
    test('as the target of an Exchange is RESOURCE_NOT_FOUND', () => {
      const tokens = [watched.goodToken];
      const from = { domain: 'ssn', tokens, purpose: 'HRESCH' };
      return watched.refuses(
        () => watched.send('Exchange', { ...from, targetDomain: 'no-such' }),
        'RESOURCE_NOT_FOUND',
      );
    });
    test('looks to a reveal as to a Tokenize', () => {
      const reveal = { domain: 'no-such', tokens: [CANARY], purpose: 'TREAT', view: View.PLAIN };
      return watched.refuses(
        () => watched.send('Detokenize', reveal, as('clinician')),
        'RESOURCE_NOT_FOUND',
      );
    });
    test('that is no domain id is FIELD_INVALID, by the name of the field alone', async () => {
      const answer = await watched.refuses(
        () => watched.send('Tokenize', { domain: `../${CANARY}`, values }),
        'FIELD_INVALID',
      );
      expect(answer.fields).toEqual(['domain']);
    });
  });

  describe("another domain's token looks like one that never was", () => {
    test.each(['Detokenize', 'Exchange'] as const)('%s', async (verb) => {
      const other = await watched.tokens.tokenize({ domain: 'study7', values: [GOOD] });
      const ask = async (token: string): Promise<unknown> => {
        const base = { domain: 'ssn', tokens: [token] };
        const answer =
          verb === 'Detokenize'
            ? await watched.send(verb, { ...base, purpose: 'TREAT', view: View.PLAIN })
            : await watched.send(verb, { ...base, purpose: 'HRESCH', targetDomain: 'study7' });
        watched.echoesNothing(answer);
        const schema = verb === 'Detokenize' ? DetokenizeResponseSchema : ExchangeResponseSchema;
        const { receipt: _receipt, ...rest } = fromBinary(schema, answer.body);
        return { status: answer.status, message: answer.message, ...rest };
      };
      // A token of the same form, one digit away from a real one.
      const never = watched.goodToken.replace(/.$/, (digit) => String((Number(digit) + 1) % 10));
      const foreign = await ask(other.tokens[0]!);
      expect(foreign).toEqual(await ask(never));
      expect(foreign).toMatchObject({
        status: 0,
        errors: [{ index: 0, code: 5, reason: 'TOKEN_NOT_FOUND', retryable: false }],
      });
      await watched.works();
    });

    test('SIV: of another domain, forged, of no form', async () => {
      const note = await watched.tokens.tokenize({ domain: 'note', values: ['seen'] });
      const name = await watched.tokens.tokenize({ domain: 'name', values: ['Anna'] });
      const forged = note.tokens[0]!.replace(/.(?=.$)/, (letter) => (letter === 'a' ? 'b' : 'a'));
      const tokens = [name.tokens[0]!, forged, CANARY, ''];
      const reveal = { domain: 'note', tokens, purpose: 'TREAT', view: View.PLAIN };
      const answer = await watched.send('Detokenize', reveal);
      const { values, errors } = fromBinary(DetokenizeResponseSchema, answer.body);
      expect(values).toEqual(['', '', '', '']);
      expect(errors.map(({ reason }) => reason)).toEqual([
        'TOKEN_NOT_FOUND',
        'TOKEN_NOT_FOUND',
        'TOKEN_MALFORMED',
        'TOKEN_MALFORMED',
      ]);
      watched.echoesNothing(answer);
    });
  });

  describe('no purpose', () => {
    test('in a reveal, and one that is no code', async () => {
      const reveal = { domain: 'ssn', tokens: [watched.goodToken], view: View.PLAIN };
      const call = (purpose: string) => () => watched.send('Detokenize', { ...reveal, purpose });
      await watched.refuses(call(''), 'PURPOSE_REQUIRED');
      await watched.refuses(call(CANARY), 'PURPOSE_UNKNOWN');
      await watched.refuses(call(`${CANARY} !`), 'PURPOSE_UNKNOWN');
      await watched.refuses(call('HLEGAL'), 'ACCESS_DENIED');
    });
    test('in an Exchange', () => {
      const from = { domain: 'ssn', tokens: [watched.goodToken], targetDomain: 'study7' };
      return watched.refuses(() => watched.send('Exchange', from), 'PURPOSE_REQUIRED');
    });
  });

  test('a caller nobody knows: IDENTITY_INVALID, whatever the message', async () => {
    const headers = { 'lockstep-dev-caller': CANARY };
    const good = tokenizeBytes({ domain: 'ssn', values: [GOOD] });
    for (const bytes of [good, Buffer.from(CANARY)]) {
      await watched.refuses(() => watched.raw('Tokenize', bytes, { headers }), 'IDENTITY_INVALID');
    }
  });
});

/** A Tokenize whose field has these bytes; the others are good. */
function withField(field: number, bytes: readonly number[]): Uint8Array {
  const writer = new BinaryWriter();
  const texts: Record<number, string> = { 1: 'ssn', 2: GOOD };
  for (const [number, text] of Object.entries(texts)) {
    if (Number(number) === field) continue;
    writer.tag(Number(number), WireType.LengthDelimited).string(text);
  }
  return writer.tag(field, WireType.LengthDelimited).bytes(Uint8Array.from(bytes)).finish();
}
