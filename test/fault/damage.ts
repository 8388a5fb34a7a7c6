import assert from 'node:assert';
import { cpSync, readdirSync, readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { AuditError } from '../../src/audit/audit-error.ts';
import { fsckLog } from '../../src/audit/fsck.ts';
import { RpcError } from '../../src/rpc/rpc-error.ts';
import { StoreError } from '../../src/storage/store.ts';
import { perform } from './calls.ts';
import { checkTokens } from './checker.ts';
import type { Bench, Counts, Fault } from './fault.ts';
import { Refused, type Server } from './home.ts';
import type { Account, Ask } from './journal.ts';
import { exampleOf, STATIC } from './load.ts';
import type { Rig } from './rig.ts';

export const flip: Fault = {
  id: 'T06',
  title: 'one bit flipped in catalogue, log and vault (T47: in the log)',
  run: flipRuns,
};

/** The largest of the files under a folder whose path ends so: a version of it that counts. */
export function fileOf(folder: string, kind: RegExp): string {
  const files = readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .filter((path) => kind.test(path))
    .sort((a, b) => statSync(b).size - statSync(a).size);
  assert(files[0] !== undefined, `no file is like ${kind.source}`);
  return files[0];
}

const TARGETS = [
  { name: 'catalogue', kind: /catalogue\.json$/, proves: true },
  { name: 'journal', kind: /journal\/\d+\.log$/, proves: true },
  { name: 'bundle', kind: /tile\/entries\/.+/, proves: true },
  { name: 'tile', kind: /tile\/0\/.+/, proves: true },
  { name: 'checkpoint', kind: /log\/checkpoint$/, proves: true },
  { name: 'wal', kind: /vault\/\d+\.log$/, proves: false },
  { name: 'table', kind: /vault\/\d+\.ldb$/, proves: false },
] as const;

async function flipRuns(bench: Bench): Promise<Counts> {
  const settled = await bench.fork();
  // Once more started and stopped, what lay in the write-ahead log lies in a table.
  await (await settled.home.start()).end();
  const counts: Record<string, number> = { flips: 0 };
  for (const { name, kind, proves } of TARGETS) {
    for (let i = 0; i < bench.times(1, 10); i++) {
      const from = name === 'wal' ? await bench.fork() : settled;
      const rig = from.copyTo(bench.path(`${name}-${i}`));
      const file = fileOf(rig.home.data(), kind);
      const bytes = readFileSync(file);
      const place = bench.random.below(bytes.length);
      const bit = bench.random.below(8);
      bytes[place]! ^= 1 << bit;
      writeFileSync(file, bytes);
      const where = `${basename(file)} byte ${place} of ${bytes.length}, bit ${bit}`;
      const verdict = await verdictOf(rig, where);
      rig.close();
      assert(!proves || verdict !== 'harmless', `${name}: nobody noticed: ${where}`);
      counts['flips']! += 1;
      counts[verdict] = (counts[verdict] ?? 0) + 1;
    }
  }
  return counts;
}

type Verdict = 'refused' | 'named' | 'died' | 'harmless';

/** How the damage came out. Throws where a token resolves to another value, or where one does not
 *  resolve and neither the call nor a check says that something is damaged. */
async function verdictOf(rig: Rig, where: string): Promise<Verdict> {
  let server: Server;
  try {
    server = await rig.home.start();
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    // LevelDB ends the process over some of what it reads.
    if (error.code === null) return 'died';
    assertClear(error, where);
    return 'refused';
  }
  let named = false;
  let lost = 0;
  try {
    const checked = await checkTokens(server, rig.journal.read(), ['RECORD_CORRUPT']);
    named = checked.named > 0;
    const wrong = checked.breaches.filter(({ invariant }) => invariant === 'I2');
    assert.deepEqual(wrong, [], where);
    lost = checked.breaches.length;
  } catch (error) {
    if (!(error instanceof RpcError)) throw error;
    if (error.reason === '' && (await diedSoon(server))) return 'died';
    const said = `${error.code} ${error.reason} ${error.message}`;
    assert(DAMAGE_REASONS.has(error.reason), `${said}: ${where}`);
    named = true;
  }
  await server.end();
  const found = (await logIsBad(rig)) || (await vaultIsBad(rig));
  assert(lost === 0 || found, `tokens do not resolve, and no check says why: ${where}`);
  return named || found ? 'named' : 'harmless';
}

/** How a whole call may say that what it needs is damaged. */
const DAMAGE_REASONS: ReadonlySet<string> = new Set(['RECORD_CORRUPT', 'STORE_UNAVAILABLE']);

/** A connection that broke is heard of before the end of the process is. */
async function diedSoon(server: Server): Promise<boolean> {
  const deadline = pause(5_000, undefined, { ref: false });
  await Promise.race([server.exited, deadline]);
  return !server.alive;
}

async function logIsBad(rig: Rig): Promise<boolean> {
  try {
    return !(await fsckLog(rig.home.data('log'), rig.verifier)).ok;
  } catch (error) {
    if (error instanceof AuditError) return true;
    throw error;
  }
}

async function vaultIsBad(rig: Rig): Promise<boolean> {
  try {
    return (await rig.vaultProblems()).length > 0;
  } catch (error) {
    if (error instanceof StoreError) return true;
    throw error;
  }
}

/** What an operator is told must be a sentence of ours, and the exit code the one for refusals. */
export function assertClear(refused: Refused | undefined, where: string): void {
  assert(refused !== undefined, `it started: ${where}`);
  const foreign = /not a line for operators|an internal fault/.test(refused.message);
  assert(!foreign && refused.code === 1, `${refused.code} ${refused.message}: ${where}`);
}

export const tear: Fault = {
  id: 'T07',
  title: 'torn tails of log and vault after a kill',
  run: tearRuns,
};

async function tearRuns(bench: Bench): Promise<Counts> {
  const torn = await killedInLastCall(bench);
  const counts = { cuts: 0, recovered: 0, started: 0, refused: 0 };
  for (let i = 0; i < bench.times(1, 20); i++) {
    await cutLogAlone(bench, torn, `a-${i}`);
    await cutBoth(bench, torn, `b-${i}`);
    const { copy } = torn.at(bench.path(`c-${i}`));
    // The log is fsynced after the vault, so no crash leaves this behind: it is a rollback.
    truncateSync(join(copy.home.data('vault'), torn.wal.name), torn.wal.from + 3);
    assertClear(await copy.home.refusal(), 'the vault torn, the log whole');
    copy.close();
    counts.cuts += 3;
    counts.recovered += 1;
    counts.started += 1;
    counts.refused += 1;
  }
  return counts;
}

interface Growth {
  readonly name: string;
  readonly from: number;
  readonly to: number;
}

interface Torn {
  /** What was acknowledged before the last call. */
  readonly before: Account;
  readonly last: Ask;
  readonly lastTokens: readonly string[];
  readonly wal: Growth;
  readonly log: Growth;
  at(folder: string): { readonly copy: Rig };
}

/** An installation that was killed right after one more call, with what that call wrote. */
async function killedInLastCall(bench: Bench): Promise<Torn> {
  const rig = await bench.fork();
  const server = await rig.home.start();
  const ask = (id: number): Ask => ({
    ...{ id, verb: 'tokenize', domain: STATIC, purpose: '', requestId: '', target: '' },
    items: Array.from({ length: 16 }, () => exampleOf(STATIC, bench.random)),
  });
  const connection = server.connect();
  await perform(connection, ask(0));
  const before = rig.journal.read();
  const [wal, log] = [rig.home.data('vault'), rig.home.data('log', 'journal')];
  const sizes = [sizeOfNewest(wal), sizeOfNewest(log)];
  const last = ask(before.nextId);
  const { outputs } = await perform(connection, last);
  await server.end('SIGKILL');
  const [walNow, logNow] = [sizeOfNewest(wal), sizeOfNewest(log)];
  return {
    before,
    last,
    lastTokens: outputs,
    wal: { name: walNow.name, from: sizes[0]!.size, to: walNow.size },
    log: { name: logNow.name, from: sizes[1]!.size, to: logNow.size },
    at(folder) {
      return { copy: rig.copyTo(folder) };
    },
  };
}

function sizeOfNewest(folder: string): { name: string; size: number } {
  const name = readdirSync(folder)
    .filter((each) => each.endsWith('.log'))
    .sort()
    .at(-1)!;
  return { name, size: statSync(join(folder, name)).size };
}

/** The leaf did not make it into the log: it comes out of the vault's outbox, and with it the
 *  tokens of a call that nobody had been answered. */
async function cutLogAlone(bench: Bench, torn: Torn, name: string): Promise<void> {
  const { copy } = torn.at(bench.path(name));
  const { from, to } = torn.log;
  const at = from + bench.random.below(to - from);
  truncateSync(join(copy.home.data('log', 'journal'), torn.log.name), at);
  const server = await copy.home.start();
  await assertBefore(copy, server, torn);
  const again = await perform(server.connect(), torn.last);
  assert.deepEqual(again.outputs, torn.lastTokens, 'the last call is there, its leaf recovered');
  await server.end();
  copy.close();
}

/** Neither vault nor log has all of the last call. */
async function cutBoth(bench: Bench, torn: Torn, name: string): Promise<void> {
  const { copy } = torn.at(bench.path(name));
  const cut = (folder: string, { name: file, from, to }: Growth, most: number): void => {
    const at = from + bench.random.below(Math.min(most, to - from));
    truncateSync(join(folder, file), at);
  };
  // The call's own group stands first in what the vault wrote; its running record may follow.
  cut(copy.home.data('vault'), torn.wal, 200);
  cut(copy.home.data('log', 'journal'), torn.log, Number.POSITIVE_INFINITY);
  const server = await copy.home.start();
  await assertBefore(copy, server, torn);
  await server.end();
  copy.close();
}

async function assertBefore(copy: Rig, server: Server, { before }: Torn): Promise<void> {
  const { breaches, resolved } = await checkTokens(server, before);
  assert.deepEqual(breaches, []);
  assert(resolved > 0);
  await copy.assertWhole(server);
}

/** Files as they were, so that a later state can be mixed with them. */
export const keep = (from: string, to: string): void => cpSync(from, to, { recursive: true });
