import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Engine } from '../../src/engine/calls.ts';
import {
  callerOf,
  DEV,
  detokenizeCall,
  domain,
  exchangeCall,
  inspectCall,
  installation,
  lookupCall,
  readLog,
  textOf,
  tokenizeCall,
} from './harness.ts';

const home = installation();
let engine: Engine;
let token: string;
let closed = false;

beforeAll(async () => {
  engine = await home.open();
  await engine.createDomain(DEV, domain('ssn', 'static', 'ssn'));
  await engine.createDomain(DEV, domain('study', 'static', 'text'));
  token = textOf((await engine.tokenize(tokenizeCall('ssn', ['529-31-0047']))).tokens)[0]!;
});

afterAll(async () => {
  if (!closed) await engine.close();
  home.remove();
});

const reveal = (caller: string, view: 'plain' | 'masked' | 'redacted', more = {}) =>
  engine.detokenize(detokenizeCall('ssn', [token], { caller: callerOf(caller), view, ...more }));

describe('views', () => {
  test('each caller sees what it may', async () => {
    expect(textOf((await reveal('clinician', 'plain')).values)).toEqual(['529-31-0047']);
    expect(textOf((await reveal('clinician', 'masked')).values)).toEqual(['***-**-0047']);
    expect(textOf((await reveal('ehr', 'masked')).values)).toEqual(['***-**-0047']);
    const study = { purpose: 'HRESCH' };
    expect(textOf((await reveal('researcher', 'redacted', study)).values)).toEqual(['[redacted]']);
  });

  test('a higher view is VIEW_DENIED, or a lower one where the caller takes it', async () => {
    await expect(reveal('ehr', 'plain')).rejects.toMatchObject({ reason: 'VIEW_DENIED' });
    const lower = await reveal('ehr', 'plain', { acceptLowerView: true });
    expect(lower.view).toBe('masked');
    expect(textOf(lower.values)).toEqual(['***-**-0047']);
  });

  test('no view at all is ACCESS_DENIED; purposes are asked for and known', async () => {
    await expect(reveal('officer', 'plain')).rejects.toMatchObject({ reason: 'ACCESS_DENIED' });
    const billing = reveal('billing', 'masked', { purpose: 'TREAT' });
    await expect(billing).rejects.toMatchObject({ reason: 'ACCESS_DENIED' });
    const without = reveal('clinician', 'plain', { purpose: '' });
    await expect(without).rejects.toMatchObject({ reason: 'PURPOSE_REQUIRED' });
    const unknown = reveal('clinician', 'plain', { purpose: 'CURIOSITY' });
    await expect(unknown).rejects.toMatchObject({ reason: 'PURPOSE_UNKNOWN' });
  });
});

describe('denials', () => {
  test('an absent domain, a closed one and another organisation’s look alike', async () => {
    const outsider = { id: 'dev:dev', organisation: 'elsewhere' };
    const errors = [];
    for (const [caller, id] of [
      [callerOf('nobody'), 'ssn'],
      [callerOf('nobody'), 'absent'],
      [callerOf('nobody'), 'Not A Name'],
      [outsider, 'clinic/ssn'],
      [outsider, 'clinic/absent'],
    ] as const) {
      for (const call of [
        engine.tokenize(tokenizeCall(id, ['529-31-0047'], { caller })),
        engine.lookup(lookupCall(id, ['529-31-0047'], { caller })),
        engine.detokenize(detokenizeCall(id, [token], { caller })),
        engine.inspect(inspectCall(id, [token], { caller })),
        engine.exchange(exchangeCall(id, 'study', [token], { caller })),
        engine.getDomain(caller, id),
      ]) {
        errors.push(
          await call.catch(({ reason, message, metadata, violations }) => ({
            reason,
            message,
            metadata,
            violations,
          })),
        );
      }
    }
    expect(errors).toHaveLength(30);
    for (const error of errors) expect(error).toEqual({ ...errors[0], reason: 'ACCESS_DENIED' });
  });

  test('who may read domains hears that one is not there', async () => {
    const absent = engine.tokenize(tokenizeCall('absent', ['x']));
    await expect(absent).rejects.toMatchObject({ reason: 'RESOURCE_NOT_FOUND' });
  });

  test('an exchange takes both rights', async () => {
    const caller = callerOf('researcher');
    const purpose = 'HRESCH';
    const call = exchangeCall('ssn', 'study', [token], { caller, purpose });
    expect((await engine.exchange(call)).errors).toEqual([]);
    const back = exchangeCall('study', 'ssn', [token], { caller, purpose });
    await expect(engine.exchange(back)).rejects.toMatchObject({ reason: 'ACCESS_DENIED' });
  });

  test('domains and grants are for officers', async () => {
    const clinician = callerOf('clinician');
    const denied = { reason: 'ACCESS_DENIED' };
    const create = engine.createDomain(clinician, domain('mine', 'siv', 'text'));
    await expect(create).rejects.toMatchObject(denied);
    const update = engine.updateDomain(clinician, 'ssn', { disabled: true }, '');
    await expect(update).rejects.toMatchObject(denied);
    const grant = { caller: 'dev:clinician', domain: 'ssn', count: 1, untilMs: Date.now() + 1e6 };
    await expect(engine.grantBulk(clinician, grant)).rejects.toMatchObject(denied);
    expect(await engine.listDomains(callerOf('nobody'), '', 10)).toEqual([]);
    const seen = await engine.listDomains(clinician, '', 10);
    expect(seen.map(({ spec }) => spec.id)).toEqual(['clinic/ssn', 'clinic/study']);
    const rest = await engine.listDomains(clinician, 'clinic/ssn', 10);
    expect(rest.map(({ spec }) => spec.id)).toEqual(['clinic/study']);
  });
});

test('a disabled domain is told only to those who have the right, and comes back', async () => {
  const { domain: before } = await engine.updateDomain(DEV, 'study', { disabled: true }, '');
  for (const call of [
    engine.tokenize(tokenizeCall('study', ['x'])),
    engine.lookup(lookupCall('study', ['x'])),
    engine.detokenize(detokenizeCall('study', ['x'])),
    engine.inspect(inspectCall('study', ['x'])),
    engine.exchange(exchangeCall('study', 'ssn', ['x'])),
    engine.exchange(exchangeCall('ssn', 'study', [token])),
  ]) {
    await expect(call).rejects.toMatchObject({ reason: 'DOMAIN_DISABLED' });
  }
  const caller = callerOf('nobody');
  const foreign = engine.tokenize(tokenizeCall('study', ['x'], { caller }));
  await expect(foreign).rejects.toMatchObject({ reason: 'ACCESS_DENIED' });
  const stale = engine.updateDomain(DEV, 'study', { disabled: false }, 'stale');
  await expect(stale).rejects.toMatchObject({ reason: 'ETAG_MISMATCH' });
  const { domain: after } = await engine.updateDomain(
    DEV,
    'study',
    { disabled: false },
    before.etag,
  );
  expect(after.etag).not.toBe(before.etag);
  expect((await engine.tokenize(tokenizeCall('study', ['x']))).errors).toEqual([]);
});

test('a domain is made once, and refusals leave nothing', async () => {
  const again = engine.createDomain(DEV, domain('ssn', 'siv', 'text'));
  await expect(again).rejects.toMatchObject({ reason: 'RESOURCE_EXISTS' });
  const bad = engine.createDomain(DEV, domain('Bad Name', 'siv', 'text'));
  await expect(bad).rejects.toMatchObject({ reason: 'FIELD_INVALID' });
  const small = engine.createDomain(DEV, domain('small', 'fpe', 'digits:4'));
  await expect(small).rejects.toMatchObject({ reason: 'FORMAT_TOO_SMALL' });
  expect(await engine.listDomains(DEV, '', 10)).toHaveLength(2);
});

test('denials have leaves, without values, tokens or names that came from outside', async () => {
  await engine.close();
  closed = true;
  const calls = await readLog(home.folder);
  const denials = calls.filter(({ entry }) => entry.extra?.['refused'] !== undefined);
  const of = (caller: string, verb: string) =>
    denials.filter(({ entry }) => entry.caller === caller && entry.verb === verb);
  expect(of('dev:ehr', 'Detokenize').map(({ entry }) => entry.extra)).toEqual([
    { refused: 'VIEW_DENIED' },
  ]);
  expect(of('dev:nobody', 'Tokenize').map(({ entry }) => entry.domain)).toEqual([
    'clinic/ssn',
    '',
    '',
    'clinic/study',
  ]);
  for (const { bytes } of calls) {
    const text = Buffer.from(bytes).toString('utf8');
    for (const secret of ['529-31-0047', token, 'Not A Name', 'absent', 'CURIOSITY']) {
      expect(text).not.toContain(secret);
    }
  }
});
