import { afterEach, beforeEach, expect, test } from 'vitest';
import { openLogger } from '../../src/base/logger.ts';
import type { Engine } from '../../src/engine/calls.ts';
import { FillWatch } from '../../src/engine/fill.ts';
import { DEV, domain, type Installation, installation, tokenizeCall } from './harness.ts';
import { importCall } from './several.ts';

let home: Installation;
let engine: Engine;

beforeEach(async () => {
  home = installation();
  engine = await home.open();
});

afterEach(async () => {
  await engine.close();
  home.remove();
});

const fillOf = async (name: string): Promise<number> => (await engine.getDomain(DEV, name)).fill;

test('a domain says how much of it is used', async () => {
  await engine.createDomain(DEV, domain('six', 'static', 'digits:6'));
  await engine.createDomain(DEV, domain('fpe', 'fpe', 'digits:9'));
  await engine.createDomain(DEV, domain('two', 'static', 'digits:2'));
  expect(await fillOf('fpe')).toBe(0);
  expect(await fillOf('six')).toBe(0);
  const values = Array.from({ length: 1_000 }, (_, i) => String(100_000 + i));
  await engine.tokenize(tokenizeCall('six', values));
  expect(await fillOf('six')).toBe(0.001);
  await engine.importTokens(importCall('six', [['200000', '999999']]));
  expect(await fillOf('six')).toBeCloseTo(0.001001, 8);
  await engine.tokenize(tokenizeCall('two', ['01', '02', '01']));
  expect(await fillOf('two')).toBe(0.02);
  await engine.close();
  engine = await home.open();
  expect(await fillOf('two')).toBe(0.02);
  expect(await fillOf('six')).toBeCloseTo(0.001001, 8);
});

test('people are told once when a domain passes 80, 90 and 95 per cent', () => {
  const lines: string[] = [];
  const logger = openLogger({ stream: { write: (line) => void lines.push(line) } });
  const fills = new Map([
    ['clinic/a', 0.5],
    ['clinic/b', 0.92],
  ]);
  const watch = new FillWatch({ ids: () => fills.keys(), fillOf: (id) => fills.get(id)! }, logger);
  const told = () => lines.splice(0).map((line) => JSON.parse(line));
  watch.lookAtAll();
  expect(told()).toMatchObject([
    { event: 'domain-fills-up', level: 'warn', domain: 'clinic/b', percent: 90 },
  ]);
  expect([80, 90, 95].map((percent) => watch.past(percent))).toEqual([1, 1, 0]);
  for (const fill of [0.79, 0.8, 0.85, 0.9, 0.93, 0.95, 0.99, 1]) {
    fills.set('clinic/a', fill);
    watch.look('clinic/a');
  }
  expect(told()).toMatchObject(
    [80, 90, 95].map((percent) => ({ event: 'domain-fills-up', domain: 'clinic/a', percent })),
  );
});
