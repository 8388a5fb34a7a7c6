import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openPkcs11Module } from '../../src/keys/pkcs11.ts';
import { initialiseRoots } from '../../src/keys/roots.ts';
import { createTestToken, softHsmLibrary, type TestToken } from '../softhsm.ts';
import { copyOf, DEV, domain, installation, textOf, tokenizeCall } from './harness.ts';
import {
  closed,
  entriesOf,
  mint,
  mintRefusal,
  moduleOf,
  NOTE,
  opened,
  PARTS,
  type Part,
  putBack,
  reasons,
  suite,
} from './rolling.ts';

const library = softHsmLibrary();

describe.skipIf(library === undefined)('with the head in SoftHSM', () => {
  let token: TestToken;
  beforeAll(() => {
    token = createTestToken(library!);
    initialiseRoots(token);
  });
  afterAll(() => token.remove());

  const { at, history, accepted } = suite((more) =>
    installation({ module: moduleOf(token), ...more }),
  );

  const MIXTURES: readonly [readonly Part[], RegExp][] = [
    [['vault'], /vault is older than the log \(rollback\) by 2 commits/],
    [['log'], /log is older than the vault \(rollback\) by 2 leaves/],
    [['vault', 'log'], /vault is older than the module's head \(rollback\) by 2 commits/],
    [PARTS, /log is older than the module's head \(rollback\) by 2 leaves/],
  ];

  test.each(MIXTURES)(
    'older %s: refused until accepted, and no token comes again',
    async (parts, why) => {
      const { home, older, kept, lost, lostSsn } = await history();
      putBack(older, home.folder, parts);
      for (let turn = 0; turn < 2; turn++) {
        await expect(home.open()).rejects.toThrow(why);
        await expect(home.open()).rejects.toThrow('`lockstep vault accept-rollback --note TEXT`');
      }
      const before = (await entriesOf(token, home.folder)).length;
      const { engine, leaves } = await accepted(home);
      expect(leaves).toMatchObject([{ verb: 'RollbackAccepted', leafIndex: before, closed: [] }]);
      expect(await reasons(engine, 'visit', kept)).toEqual([]);
      const gone = parts.includes('vault');
      const unknown = Array(lost.length).fill('TOKEN_NOT_FOUND');
      expect(await reasons(engine, 'visit', lost)).toEqual(gone ? unknown : []);
      const again = await mint(engine, 'visit', 200);
      expect(again.filter((each) => lost.includes(each) || kept.includes(each))).toEqual([]);
      const { tokens } = await engine.tokenize(tokenizeCall('ssn', ['529-31-0047']));
      if (gone) expect(textOf(tokens)).not.toEqual([lostSsn]);
      else expect(textOf(tokens)).toEqual([lostSsn]);
      await closed(engine);
      const leaf = (await entriesOf(token, home.folder))[before];
      expect(leaf).toMatchObject({
        verb: 'RollbackAccepted',
        caller: 'local:anna',
        extra: { note: NOTE, closed: 0, what: gone && parts.length > 1 ? 'vault log' : parts[0] },
      });
      // Nothing is left to accept.
      const later = await accepted(home);
      expect(later.leaves).toEqual([]);
      expect(await reasons(later.engine, 'visit', again)).toEqual([]);
      await closed(later.engine);
      await closed(await opened(home));
      // And the state before the acceptance is old in its turn.
      putBack(older, home.folder, parts);
      await expect(home.open()).rejects.toThrow(/older than/);
    },
  );

  test('an older catalogue is refused, and what it lacks can never be made again', async () => {
    const { home, older } = await history();
    const engine = await opened(home);
    await engine.createDomain(DEV, domain('late', 'dynamic', 'digits:9'));
    await mint(engine, 'late', 3);
    await closed(engine);
    putBack(older, home.folder, ['catalogue.json']);
    await expect(home.open()).rejects.toThrow('the catalogue is older than the log');
    const { engine: back } = await accepted(home);
    const made = back.createDomain(DEV, domain('late', 'dynamic', 'digits:9'));
    // Its keys are gone: other keys could make tokens that were given out already.
    await expect(made).rejects.toMatchObject({ reason: 'RESOURCE_EXISTS' });
    await back.createDomain(DEV, domain('other', 'dynamic', 'digits:9'));
    await closed(back);
    await closed(await opened(home));
    putBack(older, home.folder, PARTS);
    const { engine: all } = await accepted(home);
    const again = all.createDomain(DEV, domain('late', 'dynamic', 'digits:9'));
    await expect(again).rejects.toMatchObject({ reason: 'RESOURCE_EXISTS' });
  });

  test('an idle vault of before the last opening is older too', async () => {
    const { home } = await history();
    const older = copyOf(home.folder);
    await closed(await opened(home));
    putBack(older, home.folder, ['vault']);
    await expect(home.open()).rejects.toThrow(
      "the vault is older than the module's head (rollback) by 1 opening",
    );
  });

  test('counters that only the head knows of are passed after a crash', async () => {
    const { home, older } = await history();
    const running = await opened(home);
    const lost = await mint(running, 'visit', 300);
    // Seconds after the last write of the head, everything goes back.
    const crashed = copyOf(home.folder);
    await closed(running);
    putBack(older, crashed, PARTS);
    const { engine } = await accepted(at({ folder: crashed }));
    const again = await mint(engine, 'visit', 2_000);
    expect(again.filter((each) => lost.includes(each))).toEqual([]);
  });

  test('a log that is gone is given up by an officer; the head knows the counters', async () => {
    const { home, older, lost } = await history();
    rmSync(join(home.folder, 'log'), { recursive: true });
    await expect(home.open()).rejects.toMatchObject({ name: 'AuditError' });
    putBack(older, home.folder, ['vault']);
    const { engine, leaves } = await accepted(home);
    expect(leaves).toMatchObject([{ leafIndex: 0, closed: [] }]);
    const again = await mint(engine, 'visit', 200);
    expect(again.filter((each) => lost.includes(each))).toEqual([]);
  });

  test('of drawn tokens nobody knows which were used, once the log is gone', async () => {
    const home = at();
    const first = await opened(home);
    await first.createDomain(DEV, domain('room', 'dynamic', 'digits:3'));
    await first.createDomain(DEV, domain('visit', 'dynamic', 'digits:9'));
    await closed(first);
    const older = copyOf(home.folder);
    const second = await opened(home);
    const call = tokenizeCall('room', ['001', '002'], { requestId: 'drawn' });
    const lost = textOf((await second.tokenize(call)).tokens);
    await closed(second);
    putBack(older, home.folder, ['vault', 'log']);
    const { engine, leaves } = await accepted(home);
    expect(leaves).toMatchObject([{ closed: ['clinic/room'] }]);
    expect(await mintRefusal(engine, 'room', '001')).toBe('MINTING_CLOSED');
    expect(await reasons(engine, 'room', lost)).toHaveLength(2);
    await mint(engine, 'visit', 1);
  });

  test('no head, or one that does not prove itself, is a rollback as well', async () => {
    const { home, older, kept, lost } = await history();
    const { catalogue } = JSON.parse(readFileSync(join(home.folder, 'catalogue.json'), 'utf8'));
    const label = `lockstep.head.${catalogue.installation}`;
    const module = openPkcs11Module(moduleOf(token));
    const [head] = module.readData(label);
    const forged = Uint8Array.from(head!);
    forged[24]! ^= 1; // Of the epoch.
    module.replaceData(label, () => forged);
    module.close();
    await expect(home.open()).rejects.toThrow('the module keeps no head of this installation');
    putBack(older, home.folder, ['vault']);
    const { engine } = await accepted(home);
    expect(await reasons(engine, 'visit', kept)).toEqual([]);
    // The log is whole, so it knows the counters.
    const again = await mint(engine, 'visit', 200);
    expect(again.filter((each) => lost.includes(each))).toEqual([]);
    await closed(engine);
    await closed(await opened(home));
  });

  test('a request id whose leaf is gone is free again, and answers no other call', async () => {
    const { home, older } = await history();
    const first = await opened(home);
    const call = () => tokenizeCall('visit', ['123456789'], { requestId: 'same' });
    const { tokens } = await first.tokenize(call());
    await mint(first, 'visit', 1); // Writes into the vault where that leaf is.
    await closed(first);
    putBack(older, home.folder, ['log']);
    const { engine } = await accepted(home);
    for (let i = 0; i < 8; i++) await mint(engine, 'visit', 1);
    const again = await engine.tokenize(call());
    expect(textOf(again.tokens)).not.toEqual(textOf(tokens));
  });
});
