import { execFileSync } from 'node:child_process';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import type { AcceptedLeaf } from '../../src/engine/acceptance.ts';
import { initialiseRoots } from '../../src/keys/roots.ts';
import { createTestToken, softHsmLibrary, type TestToken } from '../softhsm.ts';
import { copyOf, DEV, domain, installation } from './harness.ts';
import { closed, entriesOf, mint, moduleOf, NOTE, opened, reasons, suite } from './rolling.ts';

const library = softHsmLibrary();

describe.skipIf(library === undefined)('a vault in another place, with the head in SoftHSM', () => {
  let token: TestToken;
  beforeAll(() => {
    token = createTestToken(library!);
    initialiseRoots(token);
  });
  afterAll(() => token.remove());

  const { at } = suite((more) => installation({ module: moduleOf(token), ...more }));
  const NOWHERE = { place: undefined };

  test('a folder that was moved is refused until it is adopted', async () => {
    const home = at(NOWHERE);
    const first = await opened(home);
    await first.createDomain(DEV, domain('visit', 'dynamic', 'digits:9'));
    const tokens = await mint(first, 'visit', 5);
    await closed(first);
    const folder = join(mkdtempSync(join(tmpdir(), 'lockstep-moved-')), 'data');
    execFileSync('cp', ['-a', home.folder, folder]);
    const moved = at({ ...NOWHERE, folder });
    await expect(moved.open()).rejects.toMatchObject({ fault: 'moved' });
    const rollback = at({ ...NOWHERE, folder, accept: { rollback: NOTE } });
    await expect(rollback.open()).rejects.toMatchObject({ fault: 'moved' });
    const leaves: AcceptedLeaf[] = [];
    const accept = { moved: 'host 3 is host 7 now', onLeaf: leaves.push.bind(leaves) };
    const adopted = await opened(at({ ...NOWHERE, folder, accept }));
    expect(leaves).toMatchObject([{ verb: 'VaultAdopted' }]);
    expect(await reasons(adopted, 'visit', tokens)).toEqual([]);
    await closed(adopted);
    const log = await entriesOf(token, folder);
    expect(log[leaves[0]!.leafIndex]).toMatchObject({
      verb: 'VaultAdopted',
      extra: { note: 'host 3 is host 7 now' },
    });
    await closed(await opened(moved));
    // The first one stands where it stood, but it is not the one any more.
    await expect(home.open()).rejects.toThrow(/the vault is older than the module's head/);
  });

  test('of two that run, the one that was not adopted fences itself off', async () => {
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
    const home = at(NOWHERE);
    const engine = await opened(home);
    await engine.createDomain(DEV, domain('visit', 'dynamic', 'digits:9'));
    const before = await mint(engine, 'visit', 10);
    const folder = copyOf(home.folder);
    // More than a vault skips by itself after a crash.
    const ours = await mint(engine, 'visit', 6_000);
    const run = (more: readonly string[]): string => {
      const script = new URL('./adopter.ts', import.meta.url).pathname;
      const { library: lib, token: label, pinSource } = token;
      const words = [script, folder, lib, label, pinSource, ...more];
      return execFileSync(process.execPath, words, { env: token.env, encoding: 'utf8' });
    };
    expect(run([])).toBe('moved\n');
    const theirs = run(['adopt', '400']).trim().split('\n');
    expect(theirs).toHaveLength(400);
    // Until it finds out it mints on, out of what was reserved for it before.
    const late = await mint(engine, 'visit', 400);
    expect(new Set([...before, ...ours, ...theirs, ...late]).size).toBe(6_810);
    expect(engine.health().serving).toBe(true);
    vi.advanceTimersByTime(10_000);
    await vi.waitFor(() => expect(home.fatal).toEqual(['fenced-off']));
    expect(engine.health()).toEqual({ serving: false, reason: 'STORE_UNAVAILABLE' });
    const refused = { reason: 'STORE_UNAVAILABLE' };
    await expect(mint(engine, 'visit', 1)).rejects.toMatchObject(refused);
    await expect(reasons(engine, 'visit', before)).rejects.toMatchObject(refused);
    await closed(engine);
    await expect(home.open()).rejects.toThrow(/the vault is older than the module's head/);
  });
});
