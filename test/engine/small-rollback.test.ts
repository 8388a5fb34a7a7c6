import { describe, expect, test } from 'vitest';
import {
  copyOf,
  DEV,
  detokenizeCall,
  domain,
  exchangeCall,
  installation,
  textOf,
  tokenizeCall,
} from './harness.ts';
import { closed, opened, putBack, suite } from './rolling.ts';
import { importCall, multipleCall } from './several.ts';

const { at, accepted } = suite((more) => installation(more));

describe('an older vault whose rollback was accepted', () => {
  test('never makes the tokens again that the log tells of', async () => {
    const home = at();
    const first = await opened(home);
    for (const [name, kind] of [
      ['ward', 'static'],
      ['room', 'static'],
      ['bed', 'dynamic'],
    ] as const) {
      await first.createDomain(DEV, domain(name, kind, 'digits:2'));
    }
    await first.createDomain(DEV, domain('ssn', 'static', 'digits:9'));
    const values = (from: number, count: number) =>
      Array.from({ length: count }, (_, i) => String(10 + from + i));
    const kept = textOf((await first.tokenize(tokenizeCall('ward', values(0, 10)))).tokens);
    await closed(first);
    const older = copyOf(home.folder);
    const second = await opened(home);
    const lost = {
      ward: textOf((await second.tokenize(tokenizeCall('ward', values(10, 40)))).tokens),
      room: textOf((await second.exchange(exchangeCall('ward', 'room', kept))).tokens),
      bed: textOf((await second.tokenizeMultiple(multipleCall('bed', values(0, 5), 8))).tokens),
      ssn: '123456789',
    };
    await second.importTokens(importCall('ssn', [['999999999', lost.ssn]]));
    await second.importTokens(importCall('bed', [['99', lostBed(lost.bed)]]));
    lost.bed.push(lostBed(lost.bed));
    await closed(second);
    putBack(older, home.folder, ['vault']);
    const { engine } = await accepted(home);
    const all = values(0, 90);
    const made = {
      ward: textOf((await engine.tokenize(tokenizeCall('ward', all))).tokens),
      room: textOf((await engine.tokenize(tokenizeCall('room', all))).tokens),
      bed: textOf((await engine.tokenize(tokenizeCall('bed', all, { requestId: 'after' }))).tokens),
    };
    for (const name of ['ward', 'room', 'bed'] as const) {
      const fresh = made[name].filter((token) => token !== '');
      expect(fresh.filter((token) => lost[name].includes(token))).toEqual([]);
      expect(new Set([...fresh, ...lost[name]]).size, name).toBe(90);
    }
    expect(made.ward.slice(0, 10)).toEqual(kept);
    const shown = await engine.detokenize(detokenizeCall('ward', lost.ward.slice(0, 3)));
    expect(shown.errors.map(({ reason }) => reason)).toEqual(Array(3).fill('TOKEN_NOT_FOUND'));
    const again = await engine.importTokens(importCall('ssn', [['888888888', lost.ssn]]));
    expect(again.errors).toEqual([{ index: 0, reason: 'TOKEN_TAKEN' }]);
  });
});

/** The first token that none of these is. */
const lostBed = (tokens: readonly string[]): string =>
  Array.from({ length: 100 }, (_, i) => String(i).padStart(2, '0')).find(
    (token) => !tokens.includes(token),
  )!;
