import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { systemClock } from '../../src/base/clock.ts';
import { newIdentity } from '../../src/engine/backup/age.ts';
import { drillBackup } from '../../src/engine/backup/drill.ts';
import { type RestoreOptions, restoreBackup } from '../../src/engine/backup/restore.ts';
import { verifyBackup } from '../../src/engine/backup/verify.ts';
import { type Login, logIn } from '../../src/keys/pkcs11-session.ts';
import {
  CKA,
  CKK,
  CKM,
  CKO,
  rootTemplate,
  signingPrivateTemplate,
  signingPublicTemplate,
} from '../../src/keys/pkcs11-templates.ts';
import { CHECKPOINT_LABEL, initialiseRoots, ROOT_LABEL } from '../../src/keys/roots.ts';
import { createSoftHsmToken, type SoftHsmToken } from '../../src/keys/softhsm.ts';
import { softHsmLibrary } from '../softhsm.ts';
import { backUp } from './backing-up.ts';
import {
  DEV,
  detokenizeCall,
  domain,
  installation,
  ORIGIN,
  textOf,
  tokenizeCall,
} from './harness.ts';

const library = softHsmLibrary();
const KEY_BYTES = 32;

/** A key that both modules have, to carry the root across; a hardware module takes one by RSA or
 *  by its vendor's cloning. Its value is here, so it is for tests alone. */
function transportKey(login: Login, power: number): Buffer {
  return login.lib.C_CreateObject(login.holder, [
    { type: CKA.CLASS, value: CKO.SECRET_KEY },
    { type: CKA.KEY_TYPE, value: CKK.AES },
    { type: CKA.TOKEN, value: false },
    { type: CKA.VALUE, value: Buffer.alloc(KEY_BYTES, 0x74) },
    { type: power, value: true },
  ]);
}

const final = (label: string): ReturnType<typeof rootTemplate> =>
  rootTemplate(label, Buffer.alloc(8, 1));
const replaced = (template: ReturnType<typeof rootTemplate>, flags: Record<number, boolean>) =>
  template.map((row) => ({ ...row, value: flags[row.type] ?? row.value }));

/** Makes a root, as a session object that is gone with the ceremony, and wraps it. SoftHSM does not
 *  let a key that was born extractable become one that can be neither changed nor copied, so the
 *  module that serves receives it by wrapping too. */
function makeRoot(login: Login): Buffer {
  const { lib, holder } = login;
  const open = { [CKA.EXTRACTABLE]: true, [CKA.TOKEN]: false };
  const mechanism = { mechanism: CKM.AES_KEY_GEN };
  const born = lib.C_GenerateKey(holder, mechanism, replaced(final(ROOT_LABEL), open));
  const kek = transportKey(login, CKA.WRAP);
  const wrapping = { mechanism: CKM.AES_KEY_WRAP_PAD };
  return lib.C_WrapKey(holder, wrapping, kek, born, Buffer.alloc(64));
}

function receiveRoot(login: Login, blob: Buffer): void {
  const rows = final(ROOT_LABEL).filter(({ type }) => type !== CKA.VALUE_LEN);
  // SoftHSM sets one after the other, and nothing after this one.
  const last = rows.filter(({ type }) => type === CKA.MODIFIABLE);
  const template = [...rows.filter(({ type }) => type !== CKA.MODIFIABLE), ...last];
  const kek = transportKey(login, CKA.UNWRAP);
  const wrapping = { mechanism: CKM.AES_KEY_WRAP_PAD };
  login.lib.C_UnwrapKey(login.holder, wrapping, kek, blob, template);
}

function makeCheckpointKey(login: Login): void {
  const id = Buffer.alloc(8, 2);
  login.lib.C_GenerateKeyPair(
    login.holder,
    { mechanism: CKM.EC_EDWARDS_KEY_PAIR_GEN },
    signingPublicTemplate(CHECKPOINT_LABEL, id),
    signingPrivateTemplate(CHECKPOINT_LABEL, id),
  );
}

describe.skipIf(library === undefined)('a backup of a vault over SoftHSM', () => {
  const folder = mkdtempSync(join(tmpdir(), 'lockstep-restore-hsm-'));
  const tokens = new Map<string, string[]>();
  const values = Array.from({ length: 500 }, (_, i) => String(200_000_000 + i));
  let keys: Awaited<ReturnType<typeof newIdentity>>;
  let file: string;
  let signer: Uint8Array;

  /** Tokens of one folder: a process sees them all, and uses one after the other. */
  function tokenOf(label: string): SoftHsmToken {
    const secrets = { pin: 'test-pin-1234', soPin: 'test-so-pin-5678' };
    return createSoftHsmToken({
      library: library!,
      folder: join(folder, 'hsm'),
      label,
      ...secrets,
    });
  }
  const moduleOf = (label: string) =>
    ({
      kind: 'pkcs11',
      library: library!,
      token: label,
      pinSource: join(folder, 'hsm', 'pin'),
      rootBackup: 'wrapped',
    }) as const;
  function installationOver(label: string, data: string) {
    return installation({ module: moduleOf(label), folder: data, place: undefined });
  }
  const home = installationOver('first', join(folder, 'first', 'data'));

  function withToken<T>(label: string, work: (login: Login) => T): T {
    const login = logIn(tokenOf(label), true);
    try {
      return work(login);
    } finally {
      login.close();
    }
  }

  beforeAll(async () => {
    keys = await newIdentity(false);
    const blob = withToken('ceremony', makeRoot);
    for (const label of ['first', 'second']) {
      withToken(label, (login) => {
        makeCheckpointKey(login);
        receiveRoot(login, blob);
      });
    }
    withToken('third', makeCheckpointKey);
    initialiseRoots(tokenOf('fourth'));
    const engine = await home.open();
    await engine.createDomain(DEV, domain('mrn', 'static', 'digits:9'));
    await engine.createDomain(DEV, domain('visit', 'dynamic', 'digits:9'));
    await engine.createDomain(DEV, domain('note', 'siv', 'text'));
    for (const id of ['mrn', 'visit', 'note']) {
      const answer = await engine.tokenize(tokenizeCall(id, values, { requestId: id }));
      tokens.set(id, textOf(answer.tokens));
    }
    file = await backUp(engine, home.folder, 'night.age', [keys.recipient]);
    await engine.close();
    const { head } = await verifyBackup(file, { identities: [keys.identity] });
    signer = Uint8Array.from(Buffer.from(head.publicKey, 'base64'));
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  const optionsOf = (label: string, more: Partial<RestoreOptions> = {}): RestoreOptions => ({
    file,
    identities: [keys.identity],
    folder: join(folder, label, 'data'),
    module: moduleOf(label),
    root: ROOT_LABEL,
    checkpointKey: CHECKPOINT_LABEL,
    origin: ORIGIN,
    clock: systemClock,
    log: { kind: 'kept', folder: join(home.folder, 'log') },
    signer,
    ...more,
  });

  test('a second token that received the root by wrapping resolves every token', async () => {
    const { newSigner } = await restoreBackup(optionsOf('second'));
    expect(newSigner).toBe(true);
    const engine = await installationOver('second', join(folder, 'second', 'data')).open();
    for (const [id, made] of tokens) {
      const back = await engine.detokenize(detokenizeCall(id, made));
      expect(textOf(back.values)).toEqual(values);
    }
    const more = await engine.tokenize(tokenizeCall('mrn', ['999999999']));
    expect(tokens.get('mrn')).not.toContain(textOf(more.tokens)[0]);
    await engine.close();
  });

  test('a drill on it opens the sample', async () => {
    const { log: _, ...rest } = optionsOf('second', { folder });
    const drilled = await drillBackup({ ...rest, sample: 100 });
    expect(drilled.domains.map(({ opened }) => opened)).toEqual([100, 100]);
  });

  test('a third without the root, a fourth with another: refused', async () => {
    for (const [label, fault] of [
      ['third', 'root-missing'],
      ['fourth', 'keys-differ'],
    ] as const) {
      await expect(restoreBackup(optionsOf(label))).rejects.toMatchObject({ fault });
      expect(existsSync(join(folder, label, 'data'))).toBe(false);
    }
  });

  test('a root with a copy is refused where none is configured', async () => {
    const module = { ...moduleOf('second'), rootBackup: 'none' } as const;
    const refused = restoreBackup(optionsOf('fifth', { module }));
    await expect(refused).rejects.toMatchObject({ reason: 'MODULE_UNAVAILABLE' });
    expect(existsSync(join(folder, 'fifth'))).toBe(false);
  });

  test('the first module, whose head is newer than the backup, takes it too', async () => {
    const data = join(folder, 'again', 'data');
    await restoreBackup(optionsOf('first', { folder: data }));
    const engine = await installationOver('first', data).open();
    const back = await engine.detokenize(detokenizeCall('mrn', tokens.get('mrn')!));
    expect(textOf(back.values)).toEqual(values);
    await engine.close();
  });
});
