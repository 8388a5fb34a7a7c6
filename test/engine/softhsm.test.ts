import { chmodSync, writeFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Engine } from '../../src/engine/calls.ts';
import { initialiseRoots } from '../../src/keys/roots.ts';
import { createTestToken, softHsmLibrary, type TestToken } from '../softhsm.ts';
import {
  DEV,
  detokenizeCall,
  domain,
  exchangeCall,
  type Installation,
  installation,
  one,
  textOf,
  tokenizeCall,
} from './harness.ts';

const library = softHsmLibrary();

describe.skipIf(library === undefined)('an engine over SoftHSM', () => {
  let token: TestToken;
  let home: Installation;
  let engine: Engine | undefined;

  beforeAll(async () => {
    token = createTestToken(library!);
    initialiseRoots(token);
    home = installation({ module: moduleOf(token) });
    engine = await home.open();
    const fpe = { safety: 'valid', note: 'x' };
    await engine.createDomain(DEV, domain('account', 'fpe', 'digits:9', fpe));
    await engine.createDomain(DEV, domain('ssn', 'static', 'ssn'));
    await engine.createDomain(DEV, domain('note', 'siv', 'text'));
    await engine.createDomain(DEV, domain('visit', 'dynamic', 'digits:9'));
  });

  afterAll(async () => {
    await engine?.close();
    home.remove();
    token.remove();
  });

  const moduleOf = ({ library, token, pinSource }: TestToken) =>
    ({ kind: 'pkcs11', library, token, pinSource }) as const;

  const CASES = [
    ['account', ['123456789', '000000001']],
    ['ssn', ['529-31-0047', '231-84-6605']],
    ['note', ['Zoë Ångström', 'x'.repeat(3_000)]],
    ['visit', ['123456789', '123456789']],
  ] as const;
  const made = new Map<string, string[]>();

  test.each(CASES)('%s: there and back, bound to context and subject', async (id, values) => {
    const bound = { context: one('ward'), subject: one('anna') };
    const call = tokenizeCall(id, values, { ...bound, requestId: `hsm-${id}` });
    const answer = await engine!.tokenize(call);
    expect(answer.errors).toEqual([]);
    const tokens = textOf(answer.tokens);
    made.set(id, tokens);
    const back = await engine!.detokenize(detokenizeCall(id, tokens, bound));
    expect(textOf(back.values)).toEqual(values);
    const wrong = await engine!.detokenize(detokenizeCall(id, tokens));
    expect(textOf(wrong.values)).not.toEqual(values);
  });

  test('concurrent calls keep their answers', async () => {
    const values = Array.from({ length: 64 }, (_, i) => String(100_000_000 + i));
    const answers = await Promise.all(
      values.map((value) => engine!.tokenize(tokenizeCall('account', [value]))),
    );
    const tokens = answers.flatMap((answer) => textOf(answer.tokens));
    const back = await engine!.detokenize(detokenizeCall('account', tokens));
    expect(textOf(back.values)).toEqual(values);
    const moved = await engine!.exchange(exchangeCall('account', 'note', tokens));
    const home = await engine!.detokenize(detokenizeCall('note', moved.tokens));
    expect(textOf(home.values)).toEqual(values);
  });

  test('the keys are the same after a restart', async () => {
    await engine!.close();
    engine = await home.open();
    const bound = { context: one('ward'), subject: one('anna') };
    for (const [id, values] of CASES) {
      const back = await engine.detokenize(detokenizeCall(id, made.get(id)!, bound));
      expect(textOf(back.values)).toEqual(values);
    }
  });

  test('a start that is refused says why, tries a PIN once, and leaves nothing open', async () => {
    await engine!.close();
    engine = undefined;
    const badPin = `${token.folder}/bad-pin`;
    writeFileSync(badPin, 'not-the-pin\n');
    chmodSync(badPin, 0o600);
    const module = moduleOf(token);
    const refusals = [
      [{ ...module, pinSource: badPin }, 'CKR_PIN_INCORRECT'],
      [{ ...module, pinSource: `${token.folder}/absent` }, expect.any(String)],
      [{ ...module, library: '/absent.so' }, expect.any(String)],
      [{ ...module, token: 'absent' }, expect.any(String)],
    ] as const;
    for (const [wrong, cause] of refusals) {
      const refused = installation({ module: wrong, folder: home.folder }).open();
      await expect(refused).rejects.toMatchObject({ reason: 'MODULE_UNAVAILABLE', cause });
      engine = await home.open();
      const back = await engine.detokenize(detokenizeCall('account', ['123456789']));
      expect(back.errors).toEqual([]);
      await engine.close();
      engine = undefined;
    }
  });

  test('and so does one whose signing key is gone', async () => {
    const refused = installation({
      module: moduleOf(token),
      checkpointKey: 'absent',
      folder: home.folder,
    }).open();
    await expect(refused).rejects.toMatchObject({ reason: 'MODULE_UNAVAILABLE' });
    engine = await home.open();
    expect(engine.health().serving).toBe(true);
  });
});
