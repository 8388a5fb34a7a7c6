import { describe, expect, test } from 'vitest';
import { CallError } from '../../src/base/call-error.ts';
import { columnOf, EMPTY_COLUMN } from '../../src/base/column.ts';
import { perCall } from '../../src/rpc/validate.ts';

const bytes = (text: string): Uint8Array => Buffer.from(text, 'utf8');

/** A JavaScript client sends a lone surrogate as U+FFFD: two damaged names would be one patient. */
describe('U+FFFD', () => {
  for (const name of ['subject', 'context', 'target_context'] as const) {
    test(`is refused as ${name} of a call, and of an item by its place`, () => {
      expect(() => perCall(name, bytes('a\uFFFDb'), EMPTY_COLUMN, 2)).toThrow(CallError);
      const each = columnOf(['fine', 'a\uFFFD', 'Zoë']);
      try {
        perCall(name, new Uint8Array(0), each, 3);
        expect.unreachable();
      } catch (error) {
        expect(error).toMatchObject({
          reason: 'FIELD_INVALID',
          violations: [{ field: `${name}s[1]` }],
        });
      }
    });
  }

  test('and nothing else is', () => {
    expect(perCall('subject', bytes('Zoë \uFFFC 患者'), EMPTY_COLUMN, 1).kind).toBe('one');
  });
});
