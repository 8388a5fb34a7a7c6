import { expect, test } from 'vitest';
import { UniformDraw } from '../../src/vault/placement.ts';
import { placementContract } from '../contract/placement.ts';
import { levelHarness, memoryHarness } from './stores.ts';

placementContract('memory', memoryHarness);
placementContract('LevelDB', levelHarness);

test('draws are uniform', () => {
  const limit = 1_000;
  const draws = 200_000;
  const source = new UniformDraw(limit);
  const seen = new Float64Array(limit);
  for (let i = 0; i < draws; i++) seen[source.next()]!++;
  const expected = draws / limit;
  let square = 0;
  for (const count of seen) square += (count - expected) ** 2 / expected;
  // 999 degrees of freedom: mean 999, deviation 44.7.
  expect(square).toBeGreaterThan(999 - 6 * 44.7);
  expect(square).toBeLessThan(999 + 6 * 44.7);
});
