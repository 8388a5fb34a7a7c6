import fc from 'fast-check';
import { expect, test } from 'vitest';
import { CounterSet } from '../../src/vault/counter-set.ts';
import { IndexTable } from '../../src/vault/index-table.ts';

// Few distinct words, and a first and last word from a tiny range, so that probes collide.
const index = fc.tuple(
  fc.integer({ min: 0, max: 3 }),
  fc.integer({ min: 0, max: 1 }),
  fc.integer({ min: 0, max: 1 }),
  fc.integer({ min: 0, max: 1 }),
);
const step = fc.record({
  add: fc.boolean(),
  domain: fc.integer({ min: 1, max: 3 }),
  index,
  counter: fc.nat(),
  owner: fc.integer({ min: 1, max: 0xffff_ffff }),
});

test('the table holds what a Map would', () =>
  fc.assert(
    fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
      const table = new IndexTable(8);
      const model = new Map<string, { counter: number; owner: number }>();
      for (const { add, domain, index, counter, owner } of steps) {
        const words = Uint32Array.of(99, ...index);
        const name = `${domain}/${index}`;
        if (!add) {
          table.remove(domain, words, 1);
          model.delete(name);
        } else if (!model.has(name)) {
          table.add(domain, words, 1, counter, owner);
          model.set(name, { counter, owner });
        }
      }
      expect(table.size).toBe(model.size);
      for (const domain of [1, 2, 3]) {
        for (let i = 0; i < 32; i++) {
          const words = Uint32Array.of(i >> 3, (i >> 2) & 1, (i >> 1) & 1, i & 1);
          const place = table.find(domain, words, 0);
          const found =
            place < 0 ? undefined : { counter: table.counter(place), owner: table.owner(place) };
          expect(found).toEqual(model.get(`${domain}/${[...words]}`));
        }
      }
    }),
    { numRuns: 300 },
  ));

test('a counter set holds what a Set would', () =>
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.boolean(), fc.oneof(fc.nat(40), fc.nat(), fc.maxSafeNat()))),
      (steps) => {
        const set = new CounterSet();
        const model = new Set<number>();
        for (const [add, counter] of steps) {
          if (add) expect(set.add(counter)).toBe(!model.has(counter));
          else expect(set.delete(counter)).toBe(model.has(counter));
          if (add) model.add(counter);
          else model.delete(counter);
        }
        expect([...set].sort((a, b) => a - b)).toEqual([...model].sort((a, b) => a - b));
      },
    ),
  ));
