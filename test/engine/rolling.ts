import { cpSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, expect, vi } from 'vitest';
import { decodeEntry, type Entry } from '../../src/audit/entry.ts';
import { openLog } from '../../src/audit/log.ts';
import { systemClock } from '../../src/base/clock.ts';
import type { AcceptedLeaf } from '../../src/engine/acceptance.ts';
import type { Engine } from '../../src/engine/calls.ts';
import { openPkcs11Module } from '../../src/keys/pkcs11.ts';
import { CHECKPOINT_LABEL } from '../../src/keys/roots.ts';
import type { TestToken } from '../softhsm.ts';
import {
  copyOf,
  DEV,
  detokenizeCall,
  domain,
  type Installation,
  type InstallationOptions,
  ORIGIN,
  textOf,
  tokenizeCall,
} from './harness.ts';

/* Installations that are put back to an older state, for the tests of rollbacks. */

export const PARTS = ['vault', 'log', 'catalogue.json'] as const;
export type Part = (typeof PARTS)[number];
export const NOTE = 'the disk of host 3 came back from last night’s snapshot';

const engines = new Set<Engine>();
let homes: Installation[] = [];

export const opened = async (home: Installation): Promise<Engine> => {
  const engine = await home.open();
  engines.add(engine);
  return engine;
};
export const closed = async (engine: Engine): Promise<void> => {
  engines.delete(engine);
  await engine.close();
};

afterEach(async () => {
  vi.useRealTimers();
  for (const engine of [...engines]) await closed(engine);
  for (const home of homes) home.remove();
  homes = [];
});

let serial = 0;
/** Another at each call. */
export const nextId = (): string => `n${++serial}`;

export const mint = async (engine: Engine, id: string, count: number): Promise<string[]> => {
  const values = Array.from({ length: count }, () => String(200_000_000 + ++serial));
  const requestId = `r${serial}`;
  const { tokens, errors } = await engine.tokenize(tokenizeCall(id, values, { requestId }));
  expect(errors).toEqual([]);
  return textOf(tokens);
};
/** Why the domain mints no more; undefined where it does. */
export const mintRefusal = async (
  engine: Engine,
  id: string,
  value = String(200_000_000 + serial),
): Promise<string | undefined> => {
  serial += 1;
  const call = tokenizeCall(id, [value], { requestId: `r${serial}` });
  return (await engine.tokenize(call)).errors[0]?.reason;
};
export const reasons = async (engine: Engine, id: string, tokens: readonly string[]) =>
  (await engine.detokenize(detokenizeCall(id, tokens))).errors.map(({ reason }) => reason);

/** Puts parts of an older copy into the folder, as `cp` would. */
export function putBack(older: string, folder: string, parts: readonly Part[]): void {
  for (const part of parts) {
    rmSync(join(folder, part), { recursive: true, force: true });
    cpSync(join(older, part), join(folder, part), { recursive: true });
  }
}

export interface History {
  readonly home: Installation;
  /** As it was after the kept tokens. */
  readonly older: string;
  readonly kept: readonly string[];
  /** Made since, as acknowledged. */
  readonly lost: readonly string[];
  readonly lostSsn: string;
}

export function suite(makeHome: (more?: Partial<InstallationOptions>) => Installation) {
  const at = (more: Partial<InstallationOptions> = {}): Installation => {
    const home = makeHome(more);
    homes.push(home);
    return home;
  };

  /** Kept tokens, a stop, a copy; then lost tokens and a domain more, and a stop. */
  async function history(): Promise<History> {
    const home = at();
    const first = await opened(home);
    await first.createDomain(DEV, domain('visit', 'dynamic', 'digits:9'));
    await first.createDomain(DEV, domain('ssn', 'static', 'ssn'));
    const kept = await mint(first, 'visit', 20);
    await closed(first);
    const older = copyOf(home.folder);
    const second = await opened(home);
    const lost = await mint(second, 'visit', 50);
    const { tokens } = await second.tokenize(tokenizeCall('ssn', ['529-31-0047']));
    await closed(second);
    return { home, older, kept, lost, lostSsn: textOf(tokens)[0]! };
  }

  /** Opens with an officer's acceptance; what he was told. */
  async function accepted(home: Installation, more: Partial<InstallationOptions> = {}) {
    const leaves: AcceptedLeaf[] = [];
    const accept = { rollback: NOTE, by: 'local:anna', onLeaf: leaves.push.bind(leaves) };
    const engine = await opened(at({ folder: home.folder, accept, ...more }));
    return { engine, leaves };
  }

  return { at, history, accepted };
}

export const moduleOf = ({ library, token, pinSource }: TestToken) =>
  ({ kind: 'pkcs11', library, token, pinSource }) as const;

/** The log of an installation that is closed. */
export async function entriesOf(token: TestToken, folder: string): Promise<Entry[]> {
  const module = openPkcs11Module(token);
  try {
    const log = await openLog({
      folder: join(folder, 'log'),
      origin: ORIGIN,
      sign: async (message) => module.sign(CHECKPOINT_LABEL, message),
      publicKey: module.publicKey(CHECKPOINT_LABEL),
      clock: systemClock,
      create: false,
    });
    const found: Entry[] = [];
    for await (const { entry } of log.entriesFrom(0)) found.push(decodeEntry(entry));
    await log.close();
    return found;
  } finally {
    module.close();
  }
}
