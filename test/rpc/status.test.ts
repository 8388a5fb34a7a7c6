import { expect, test } from 'vitest';
import { CallError } from '../../src/base/call-error.ts';
import type { Logger } from '../../src/base/logger.ts';
import { REASONS, type Reason } from '../../src/base/reason.ts';
import { rpcErrorOf } from '../../src/rpc/rpc-error.ts';
import { callErrorOf, DETAILS_KEY, statusOf, wireErrorOf } from '../../src/rpc/status.ts';

const detailsOf = (error: CallError): Buffer => {
  const [bytes] = statusOf(error).metadata.get(DETAILS_KEY);
  if (!Buffer.isBuffer(bytes)) throw new Error('no details');
  return bytes;
};

test.each(Object.keys(REASONS) as Reason[])('%s keeps its reason across the wire', (reason) => {
  const metadata = { limit: '10000' };
  const error = new CallError(reason, { metadata, retryDelayMs: 1_500 });
  const seen = rpcErrorOf(statusOf(error));
  expect(seen).toMatchObject({ reason, metadata, retryDelayMs: 1_500 });
  expect(seen.message).toBe(REASONS[reason].text);
  const inBand = wireErrorOf(error);
  expect(inBand).toMatchObject({ reason, code: seen.code, retryable: REASONS[reason].retry });
});

test('details stay within 16 violations and 4 KiB', () => {
  const many = Array.from({ length: 40 }, (_, i) => ({ field: `values[${i}]`, text: 'is bad' }));
  const error = new CallError('FIELD_INVALID', { violations: many });
  expect(rpcErrorOf(statusOf(error)).violations).toEqual(many.slice(0, 16));
  const long = many.map(({ field }) => ({ field, text: 'x'.repeat(500) }));
  const bounded = new CallError('FIELD_INVALID', { violations: long });
  expect(detailsOf(bounded).length).toBeLessThanOrEqual(4_096);
  expect(rpcErrorOf(statusOf(bounded)).violations).toEqual(long.slice(0, 7));
});

test('RESOURCE_EXHAUSTED that may pass says when to retry, even where nobody knows', () => {
  expect(rpcErrorOf(statusOf(new CallError('OVERLOADED'))).retryDelayMs).toBe(1_000);
  expect(rpcErrorOf(statusOf(new CallError('MESSAGE_TOO_LARGE'))).retryDelayMs).toBeUndefined();
});

test('a cause goes to the log and never to the client', () => {
  const lines: unknown[][] = [];
  const log = (...line: unknown[]): void => void lines.push(line);
  const logger: Logger = { info: log, warn: log, error: log, flush: () => {} };
  const cause = new Error('SSN=529-31-0047');
  const error = new CallError('STORE_UNAVAILABLE', { cause });
  const sent = statusOf(callErrorOf(error, 'a/B', logger));
  expect(lines).toEqual([['call-failed', { method: 'a/B', reason: 'STORE_UNAVAILABLE' }, cause]]);
  expect(sent.details).toBe('the store cannot be used');
  expect(detailsOf(error).toString('latin1')).not.toContain('529');
});

test('what is no status of ours has no reason', () => {
  expect(rpcErrorOf(undefined)).toMatchObject({ code: 2, reason: '' });
  expect(rpcErrorOf({ code: 14, details: 'refused' })).toMatchObject({ code: 14, reason: '' });
});
