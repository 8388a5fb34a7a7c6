import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Engine } from '../../src/engine/calls.ts';
import {
  callerOf,
  DEV,
  detokenizeCall,
  domain,
  heldClock,
  type Installation,
  installation,
  one,
  readLog,
  textOf,
  tokenizeCall,
} from './harness.ts';

let home: Installation;
let engine: Engine;
const clock = heldClock(Date.UTC(2026, 10, 23, 12));

beforeEach(async () => {
  home = installation({ clock });
  engine = await home.open();
  await engine.createDomain(DEV, domain('visit', 'dynamic', 'digits:9', { onInvalid: 'pass' }));
  await engine.createDomain(DEV, domain('ssn', 'static', 'ssn'));
});

afterEach(async () => {
  await engine.close();
  home.remove();
});

const VALUES = ['123456789', 'passed', '', '123456789'];
const call = (more = {}) => tokenizeCall('visit', VALUES, { requestId: 'r', ...more });

describe('a repeated request', () => {
  test('answers as the first one did, with the same receipt, and mints nothing', async () => {
    const first = await engine.tokenize(call());
    expect(first.errors).toHaveLength(1);
    const again = await engine.tokenize(call());
    expect(textOf(again.tokens)).toEqual(textOf(first.tokens));
    expect({ ...again, tokens: 0 }).toEqual({ ...first, tokens: 0 });
    expect((await engine.getDomain(DEV, 'visit')).liveTokens).toBe(2);
    await engine.close();
    const leaves = (await readLog(home.folder)).filter(({ entry }) => entry.verb === 'Tokenize');
    expect(leaves).toHaveLength(1);
  });

  test('brings the proof where it is asked for', async () => {
    const first = await engine.tokenize(call());
    const again = await engine.tokenize(call({ waitForProof: true }));
    expect(again.receipt.leafIndex).toBe(first.receipt.leafIndex);
    expect(again.receipt.proof?.text).toContain('c2sp.org/tlog-proof');
  });

  test('with another message is refused, and changes nothing', async () => {
    const first = await engine.tokenize(call());
    for (const other of [
      tokenizeCall('visit', ['123456780'], { requestId: 'r' }),
      call({ context: one('ward') }),
      call({ subject: one('anna') }),
      call({ delivery: 'ordered-stop' }),
      tokenizeCall('ssn', VALUES, { requestId: 'r' }),
    ]) {
      await expect(engine.tokenize(other)).rejects.toMatchObject({ reason: 'REQUEST_ID_REUSED' });
    }
    expect(textOf((await engine.tokenize(call())).tokens)).toEqual(textOf(first.tokens));
    expect((await engine.getDomain(DEV, 'visit')).liveTokens).toBe(2);
  });

  test('of another caller is another request', async () => {
    const first = await engine.tokenize(call());
    const other = await engine.tokenize(call({ caller: callerOf('ehr') }));
    expect(textOf(other.tokens)[0]).not.toBe(textOf(first.tokens)[0]);
  });

  test('in flight waits for the first', async () => {
    const answers = await Promise.all(Array.from({ length: 8 }, () => engine.tokenize(call())));
    const tokens = answers.map((answer) => textOf(answer.tokens).join());
    expect(new Set(tokens).size).toBe(1);
    expect(new Set(answers.map(({ receipt }) => receipt.leafIndex)).size).toBe(1);
    expect((await engine.getDomain(DEV, 'visit')).liveTokens).toBe(2);
  });

  test('is known after a restart, and forgotten after a day', async () => {
    const first = await engine.tokenize(call());
    const ordered = { delivery: 'ordered-stop', requestId: 's' };
    const stopped = await engine.tokenize(call(ordered));
    await engine.close();
    engine = await home.open();
    const again = await engine.tokenize(call());
    expect(textOf(again.tokens)).toEqual(textOf(first.tokens));
    expect(again.receipt).toEqual(first.receipt);
    const stoppedAgain = await engine.tokenize(call(ordered));
    expect(textOf(stoppedAgain.tokens)).toEqual(textOf(stopped.tokens));
    expect(stoppedAgain.errors).toEqual(stopped.errors);
    clock.ms += 24 * 3_600_000;
    const later = await engine.tokenize(call());
    expect(textOf(later.tokens)[0]).not.toBe(textOf(first.tokens)[0]);
  });

  test('of a call that failed starts anew', async () => {
    const refused = engine.tokenize(call({ delivery: 'all-or-nothing' }));
    await expect(refused).rejects.toMatchObject({ reason: 'VALUE_EMPTY' });
    const late = engine.tokenize(call({ deadlineMs: Date.now() - 1 }));
    await expect(late).rejects.toMatchObject({ reason: 'DEADLINE_PASSED' });
    const done = await engine.tokenize(call());
    const back = await engine.detokenize(detokenizeCall('visit', [textOf(done.tokens)[0]!]));
    expect(textOf(back.values)).toEqual(['123456789']);
  });

  test('is authorised anew', async () => {
    await engine.tokenize(call());
    await engine.updateDomain(DEV, 'visit', { disabled: true }, '');
    await expect(engine.tokenize(call())).rejects.toMatchObject({ reason: 'DOMAIN_DISABLED' });
  });
});

test('a static domain may be asked with an id too', async () => {
  const ask = tokenizeCall('ssn', ['529-31-0047'], { requestId: 'static' });
  const first = await engine.tokenize(ask);
  expect([...first.created]).toEqual([1]);
  const again = await engine.tokenize(ask);
  expect([...again.created]).toEqual([1]);
  expect(again.receipt).toEqual(first.receipt);
  const other = await engine.tokenize(tokenizeCall('ssn', ['529-31-0047'], { requestId: 'other' }));
  expect([...other.created]).toEqual([0]);
  expect(textOf(other.tokens)).toEqual(textOf(first.tokens));
});
