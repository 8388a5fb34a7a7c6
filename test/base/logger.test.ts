import { describe, expect, test } from 'vitest';
import { CallError } from '../../src/base/call-error.ts';
import { columnOf } from '../../src/base/column.ts';
import { type LogFields, type Logger, openLogger, REDACTED } from '../../src/base/logger.ts';
import { Plain } from '../../src/base/plain.ts';

const CANARY = '529-31-0047';

/** The one line that `write` logs, as text and parsed. */
function logged(write: (logger: Logger) => void, level: 'info' | 'error' = 'info') {
  let text = '';
  const stream = {
    write(part: string) {
      text += part;
    },
  };
  write(openLogger({ level, stream }));
  return { text, line: text === '' ? undefined : (JSON.parse(text) as Record<string, unknown>) };
}

describe('logger', () => {
  test('writes one JSON line with fixed fields', () => {
    const { line, text } = logged((log) =>
      log.info('call-done', { method: 'lockstep.v1.TokenService/Tokenize', items: 10, ok: true }),
    );
    expect(text.endsWith('\n')).toBe(true);
    expect(line).toEqual({
      level: 'info',
      time: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/),
      service: 'lockstep',
      event: 'call-done',
      method: 'lockstep.v1.TokenService/Tokenize',
      items: 10,
      ok: true,
    });
  });

  test('keeps the levels apart', () => {
    expect(logged((log) => log.info('started'), 'error').line).toBeUndefined();
    expect(logged((log) => log.error('stopped'), 'error').line?.['level']).toBe('error');
  });

  test.each<[string, LogFields]>([
    ['a text under a name of its own', { value: CANARY }],
    ['a name of the prototype', { constructor: CANARY } as unknown as LogFields],
    ['a text that is no reason', { reason: `bad ${CANARY}` }],
    ['a text that is no code', { code: CANARY }],
    ['a caller with spaces', { caller: `Grace Hopper ${CANARY}` }],
    ['an object', { items: { [CANARY]: CANARY } } as unknown as LogFields],
    ['a list', { items: [CANARY] } as unknown as LogFields],
    ['bytes', { items: Buffer.from(CANARY) } as unknown as LogFields],
    ['a batch', { items: new Plain(columnOf([CANARY])) } as unknown as LogFields],
  ])('redacts %s', (_, fields) => {
    const { text, line } = logged((log) => log.info('call-done', fields));
    expect(text).not.toContain(CANARY);
    expect(Object.values(line ?? {})).toContain(REDACTED);
  });

  test('redacts an event that is a sentence', () => {
    const { text, line } = logged((log) => log.info(`call of ${CANARY}`));
    expect(text).not.toContain(CANARY);
    expect(line?.['event']).toBe(REDACTED);
  });

  test('of a cause it writes name, code and frames, never the message', () => {
    const inner = Object.assign(new TypeError(`bad ${CANARY}`), { code: 'CKR_DEVICE_ERROR' });
    const cause = new CallError('MODULE_UNAVAILABLE', { cause: inner });
    const { text, line } = logged((log) => log.error('call-failed', {}, cause));
    expect(text).not.toContain(CANARY);
    expect(line?.['cause']).toMatchObject({
      name: 'CallError',
      reason: 'MODULE_UNAVAILABLE',
      cause: { name: 'TypeError', code: 'CKR_DEVICE_ERROR' },
    });
    expect(text).toContain('logger.test.ts:');
  });

  test.each([
    [
      'a message with lines like frames',
      `x\n    at ${CANARY} (a.ts:1:1)\n    at b (${CANARY}:1:1)`,
    ],
    ['a code that is a value', 'x'],
  ])('is not fooled by %s', (_, message) => {
    const cause = Object.assign(new Error(message), { code: CANARY });
    expect(logged((log) => log.error('call-failed', {}, cause)).text).not.toContain(CANARY);
  });

  test('is not fooled by lines of a message that are spelled like frames', () => {
    const cause = new Error('x\n    at GraceHopper (hopper.ts:1:1)\n    at hopper.ts:2:2');
    for (const message of [cause.message, 'other', 'E', 'x', '']) {
      cause.message = message;
      const { text } = logged((log) => log.error('call-failed', {}, cause));
      expect(text.toLowerCase()).not.toContain('hopper');
    }
  });

  test('of a thrown text it writes the type alone', () => {
    const { text } = logged((log) => log.error('call-failed', {}, CANARY));
    expect(text).not.toContain(CANARY);
  });
});
