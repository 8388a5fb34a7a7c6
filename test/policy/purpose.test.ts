import { describe, expect, test } from 'vitest';
import {
  ancestors,
  isPurpose,
  purposePlace,
  purposes,
  subsumers,
} from '../../src/policy/purpose.ts';
import { PURPOSE_TREE_VERSION } from '../../src/policy/purpose-tree.ts';

describe('the v3-ActReason tree', () => {
  test('it has exactly these codes, in this edition', () => {
    expect(PURPOSE_TREE_VERSION).toBe('v3-ActReason/2026-11');
    expect([...purposes()].sort()).toEqual(
      [
        ...['TREAT', 'ETREAT', 'BTG', 'ERTREAT', 'COC', 'CLINTRL', 'POPHLTH'],
        ...['HPAYMT', 'COVERAGE', 'CLMATTCH', 'COVAUTH'],
        ...['HOPERAT', 'CAREMGT', 'HLEGAL', 'HQUALIMP', 'FRAUD', 'MLTRAINING', 'SYSDEV', 'HTEST'],
        ...['HRESCH', 'CLINTRCH', 'CLINTRCHPC', 'CLINTRCHNPC', 'PRECLINTRCH'],
        ...['BIORCH', 'DSRCH', 'POARCH', 'TRANSRCH'],
        ...['PUBHLTH', 'DISASTER', 'THREAT', 'HMARKT', 'PATRQT', 'FAMRQT', 'PWATRNY', 'SUPNWK'],
      ].sort(),
    );
  });

  test.each([
    ['TREAT', []],
    ['ETREAT', ['TREAT']],
    ['BTG', ['ETREAT', 'TREAT']],
    ['ERTREAT', ['ETREAT', 'TREAT']],
    ['HTEST', ['SYSDEV', 'HOPERAT']],
    ['CAREMGT', ['HOPERAT']],
    ['HLEGAL', ['HOPERAT']],
    ['CLINTRCHNPC', ['CLINTRCH', 'HRESCH']],
    ['SUPNWK', ['PATRQT']],
    ['HMARKT', []],
  ])('above %s: %j', (code, above) => {
    expect(ancestors(code)).toEqual(above);
    expect(subsumers(code)).toEqual([code, ...above]);
  });

  test.each(['', 'treat', 'TREAT ', 'TREATMENT', '__proto__', 'constructor', '*'])(
    'no purpose: %j',
    (code) => {
      expect(isPurpose(code)).toBe(false);
      expect(subsumers(code)).toEqual([]);
      expect(purposePlace(code)).toBe(code === '' ? 0 : -1);
    },
  );

  test('places are distinct and not that of "no purpose"', () => {
    const places = purposes().map(purposePlace);
    expect(new Set(places).size).toBe(places.length);
    expect(Math.min(...places)).toBeGreaterThan(0);
  });
});
