import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Delivery, View } from '../../src/base/domain.ts';
import type { Engine, PerCall } from '../../src/engine/calls.ts';
import {
  DEV,
  detokenizeCall,
  domain,
  each,
  exchangeCall,
  installation,
  one,
  textOf,
  tokenizeCall,
} from './harness.ts';

/** The engine beside a model that looks at one item at a time and knows nothing of batches: a value
 *  of nine digits is good and comes back, another is bad, and a delivery is cut by hand. */
const home = installation();
let engine: Engine;

beforeAll(async () => {
  engine = await home.open();
  const fpe = { safety: 'valid', note: 'x' };
  await engine.createDomain(DEV, domain('fpe', 'fpe', 'digits:9', fpe));
  for (const kind of ['siv', 'static', 'dynamic'] as const) {
    await engine.createDomain(DEV, domain(kind, kind, 'digits:9'));
  }
  await engine.createDomain(DEV, domain('target', 'siv', 'digits:9'));
});

afterAll(async () => {
  await engine.close();
  home.remove();
});

const value = fc.oneof(
  { weight: 4, arbitrary: fc.constantFrom('123456789', '000000000', '987654321') },
  {
    weight: 3,
    arbitrary: fc.integer({ min: 0, max: 999_999_999 }).map((n) => `${n}`.padStart(9, '0')),
  },
  { weight: 2, arbitrary: fc.constantFrom('', '12345678', 'abcdefghi', '1234567890', 'Zoë') },
);
const cell = fc.constantFrom('a', 'b', 'a longer name');
const cells = (rows: number): fc.Arbitrary<PerCall> =>
  fc.oneof(
    fc.constant<PerCall>({ kind: 'none' }),
    cell.map(one),
    fc.array(cell, { minLength: rows, maxLength: rows }).map((names) => each(...names)),
  );
const batch = fc.array(value, { minLength: 1, maxLength: 40 }).chain((values) =>
  fc.record({
    values: fc.constant(values),
    context: cells(values.length),
    subject: cells(values.length),
    delivery: fc.constantFrom<Delivery>('best-effort', 'all-or-nothing', 'ordered-stop'),
    view: fc.constantFrom<View>('plain', 'masked', 'redacted'),
  }),
);

const reasonOf = (text: string): string | undefined =>
  text === '' ? 'VALUE_EMPTY' : /^\d{9}$/.test(text) ? undefined : 'VALUE_MALFORMED';

/** What a delivery makes of reasons, item by item. */
function expected(reasons: readonly (string | undefined)[], delivery: Delivery) {
  const errors = reasons.flatMap((reason, index) =>
    reason === undefined ? [] : [{ index, reason }],
  );
  const first = errors[0];
  if (first === undefined || delivery === 'best-effort') return { rows: reasons.length, errors };
  if (delivery === 'ordered-stop') return { rows: first.index, errors: [first] };
  return { fails: first.reason };
}

const seen = (text: string, view: View): string =>
  ({ plain: text, masked: '*********', redacted: '[redacted]' })[view];

const nameAt = (cell: PerCall, row: number): string => {
  if (cell.kind === 'none') return '';
  return cell.kind === 'one' ? Buffer.from(cell.value).toString() : textOf(cell.values)[row]!;
};

/** The first rows of a column. */
const upTo = (cell: PerCall, rows: number): PerCall =>
  cell.kind === 'each' ? each(...textOf(cell.values).slice(0, rows)) : cell;

let requests = 0;

describe.each(['fpe', 'siv', 'static', 'dynamic'])('%s', (id) => {
  test('a batch equals its items one by one', async () => {
    await fc.assert(
      fc.asyncProperty(batch, async ({ values, context, subject, delivery, view }) => {
        const requestId = id === 'dynamic' ? `property-${++requests}` : '';
        const call = tokenizeCall(id, values, { context, subject, delivery, requestId });
        const model = expected(values.map(reasonOf), delivery);
        if ('fails' in model) {
          await expect(engine.tokenize(call)).rejects.toMatchObject({ reason: model.fails });
          return;
        }
        const answer = await engine.tokenize(call);
        expect(answer.errors).toEqual(model.errors);
        const tokens = textOf(answer.tokens);
        expect(tokens).toHaveLength(model.rows);
        // Equal items have equal tokens, others have others; where every item mints, all differ.
        const items = new Map<string, string>();
        for (const [row, token] of tokens.entries()) {
          expect(token === '').toBe(reasonOf(values[row]!) !== undefined);
          if (token === '') continue;
          const item = `${values[row]} ${nameAt(context, row)} / ${nameAt(subject, row)}`;
          const name = id === 'dynamic' ? `${row}` : item;
          expect(items.get(name) ?? token).toBe(token);
          items.set(name, token);
        }
        if (id !== 'fpe') expect(new Set(items.values()).size).toBe(items.size);
        if (model.rows === 0) return;

        const more = { context: upTo(context, model.rows), subject: upTo(subject, model.rows) };
        const back = await engine.detokenize(detokenizeCall(id, tokens, { ...more, view }));
        expect(back.errors.map(({ index }) => index)).toEqual(
          model.errors.map(({ index }) => index).filter((index) => index < model.rows),
        );
        const shown = tokens.map((token, row) => (token === '' ? '' : seen(values[row]!, view)));
        if (view !== 'masked') expect(textOf(back.values)).toEqual(shown);

        const moved = await engine.exchange(exchangeCall(id, 'target', tokens, more));
        const home = await engine.detokenize(
          detokenizeCall('target', textOf(moved.tokens), { subject: more.subject }),
        );
        expect(textOf(home.values)).toEqual(
          tokens.map((token, row) => (token === '' ? '' : values[row])),
        );
      }),
      { numRuns: 25 },
    );
  });
});
