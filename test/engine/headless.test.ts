import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { beforeEach, describe, expect, test, vi } from 'vitest';
import type { Engine } from '../../src/engine/calls.ts';
import { byTokens, eraseCall } from './erasing.ts';
import { copyOf, DEV, domain, installation, textOf, tokenizeCall } from './harness.ts';
import {
  closed,
  mint,
  mintRefusal,
  nextId,
  opened,
  PARTS,
  putBack,
  reasons,
  suite,
} from './rolling.ts';

describe('without a head that is kept', () => {
  const { at, history, accepted } = suite((more) => installation(more));
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
  });

  test('a rollback of the whole is seen by a checkpoint kept elsewhere', async () => {
    const { home, older, kept } = await history();
    const checkpoint = readFileSync(join(home.folder, 'log', 'checkpoint'), 'utf8');
    await closed(await opened(at({ folder: home.folder, checkpoint })));
    putBack(older, home.folder, PARTS);
    await closed(await opened(at({ folder: copyOf(home.folder) })));
    const held = at({ folder: home.folder, checkpoint });
    await expect(held.open()).rejects.toThrow('the log is older than the checkpoint given');
    // The log is not whole and there is no head: nobody knows which counters are free.
    const { engine, leaves } = await accepted(home, { checkpoint });
    expect(leaves).toMatchObject([{ closed: ['clinic/ssn', 'clinic/visit'] }]);
    expect(await reasons(engine, 'visit', kept)).toEqual([]);
    expect(await mintRefusal(engine, 'visit')).toBe('MINTING_CLOSED');
    const { errors } = await engine.tokenize(tokenizeCall('ssn', ['529-31-0047']));
    expect(errors).toMatchObject([{ reason: 'MINTING_CLOSED' }]);
  });

  test('a checkpoint of another history is refused, and what is none', async () => {
    const { home, older } = await history();
    const checkpoint = readFileSync(join(home.folder, 'log', 'checkpoint'), 'utf8');
    putBack(older, home.folder, PARTS);
    const other = await opened(home);
    await mint(other, 'visit', 1);
    for (let i = 0; i < 5; i++) await mint(other, 'visit', 1);
    await closed(other);
    await expect(at({ folder: home.folder, checkpoint }).open()).rejects.toThrow(
      'the log is not the one of the checkpoint given: its first',
    );
    for (const bad of ['', 'not a note', checkpoint.replace(/^\S+/, 'elsewhere')]) {
      await expect(at({ folder: home.folder, checkpoint: bad }).open()).rejects.toMatchObject({
        name: 'AuditError',
      });
    }
  });

  test('an older vault beside a whole log goes on above the log’s counters', async () => {
    const { home, older, lost } = await history();
    putBack(older, home.folder, ['vault']);
    await expect(home.open()).rejects.toThrow('the vault is older than the log');
    const { engine, leaves } = await accepted(home);
    expect(leaves).toMatchObject([{ closed: [] }]);
    const again = await mint(engine, 'visit', 200);
    expect(again.filter((each) => lost.includes(each))).toEqual([]);
    await closed(engine);
    await closed(await opened(home));
  });

  test('what was erased since stays erased', async () => {
    const { home, older, kept } = await history();
    const engine = await opened(home);
    await engine.erase(eraseCall('visit', byTokens(...kept.slice(0, 5))));
    await closed(engine);
    putBack(older, home.folder, ['vault']);
    const { engine: back } = await accepted(home);
    const gone = Array(5).fill('TOKEN_NOT_FOUND');
    expect(await reasons(back, 'visit', kept)).toEqual(gone);
    await closed(back);
    const again = await opened(home);
    expect(await reasons(again, 'visit', kept)).toEqual(gone);
  });

  test('tokens that were drawn since are never drawn again', async () => {
    const home = at();
    const first = await opened(home);
    await first.createDomain(DEV, domain('room', 'dynamic', 'digits:3'));
    const draw = async (engine: Engine, count: number): Promise<string[]> => {
      const values = Array.from({ length: count }, (_, i) => String(i % 1_000).padStart(3, '0'));
      const call = tokenizeCall('room', values, { requestId: nextId() });
      return textOf((await engine.tokenize(call)).tokens).filter((token) => token !== '');
    };
    const kept = await draw(first, 20);
    await closed(first);
    const older = copyOf(home.folder);
    const second = await opened(home);
    const lost = [...(await draw(second, 100)), ...(await draw(second, 100))];
    await closed(second);
    putBack(older, home.folder, ['vault']);
    const { engine } = await accepted(home);
    const rest = await draw(engine, 1_000);
    expect(rest.length).toBeGreaterThan(500);
    const all = [...kept, ...lost, ...rest];
    expect(new Set(all).size).toBe(all.length);
    expect(await reasons(engine, 'room', lost)).toEqual(Array(200).fill('TOKEN_NOT_FOUND'));
  });

  test('what was accepted is not asked about again, even after a crash at once', async () => {
    for (const part of ['log', 'vault'] as const) {
      const { home, older } = await history();
      putBack(older, home.folder, [part]);
      const { engine } = await accepted(home);
      const crashed = copyOf(home.folder);
      await closed(engine);
      await closed(await opened(at({ folder: crashed })));
    }
  });

  test('without a log all domains are closed, but what there is resolves', async () => {
    const { home, kept, lost } = await history();
    rmSync(join(home.folder, 'log'), { recursive: true });
    const { engine, leaves } = await accepted(home);
    expect(leaves).toMatchObject([{ closed: ['clinic/ssn', 'clinic/visit'] }]);
    expect(await reasons(engine, 'visit', [...kept, ...lost])).toEqual([]);
    expect(await mintRefusal(engine, 'visit')).toBe('MINTING_CLOSED');
    await engine.createDomain(DEV, domain('fresh', 'dynamic', 'digits:9'));
    await mint(engine, 'fresh', 1);
    await closed(engine);
    const again = await opened(home);
    expect(await mintRefusal(again, 'visit')).toBe('MINTING_CLOSED');
  });

  test('a note that the log cannot hold is refused before anything happens', async () => {
    const { home, older } = await history();
    putBack(older, home.folder, ['vault']);
    for (const note of ['', ' ', 'x'.repeat(501), 'a\nb', '"'.repeat(500), '\ud800']) {
      const refused = at({ folder: home.folder, accept: { rollback: note } });
      await expect(refused.open()).rejects.toMatchObject({ reason: 'FIELD_INVALID' });
    }
    await expect(home.open()).rejects.toThrow('the vault is older than the log');
  });
});
