import assert from 'node:assert';
import { appendFileSync, cpSync, readFileSync, rmSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { type Breach, checkCanaries, checkLog, checkTokens } from './checker.ts';
import { fileOf } from './damage.ts';
import type { Bench, Counts, Fault } from './fault.ts';
import type { Server } from './home.ts';
import { Account, type Ack, type Ask, type Line } from './journal.ts';
import { CANARY, FPE, NOTE, STATIC } from './load.ts';
import type { Rig } from './rig.ts';

/** The checker itself: it must go red for each promise that is broken on purpose, by the letter of
 *  that promise and no other. */
export const controls: Fault = {
  id: 'T58',
  title: 'negative controls: the checker sees each broken promise',
  run: controlRuns,
};

async function controlRuns(bench: Bench): Promise<Counts> {
  const rig = await bench.fork();
  const fork = await forkedCheckpoint(rig, bench);
  const server = await startAndMoveOn(rig, bench);
  await rig.assertWhole(server);
  const lines = rig.journal.lines();
  let reds = 0;
  const red = (breaches: readonly Breach[], ...letters: string[]): void => {
    const seen = [...new Set(breaches.map(({ invariant }) => invariant))].sort();
    assert.deepEqual(seen, letters);
    reds += 1;
  };
  for (const domain of [STATIC, FPE, NOTE]) {
    red((await checkTokens(server, swapped(lines, domain))).breaches, 'I2');
  }
  red((await checkTokens(server, invented(lines))).breaches, 'I1');
  red((await checkTokens(server, doubled(lines))).breaches, 'I2');
  const log = rig.home.data('log');
  const check = (account: Account, folder = log): Promise<Breach[]> =>
    checkLog(folder, rig.verifier, account);
  red(await check(changedAck(lines, (ack) => ({ ...ack, hash: `${ack.hash.slice(2)}00` }))), 'I3');
  red(await check(changedAck(lines, (ack) => ({ ...ack, leaf: ack.leaf + 1 }))), 'I3');
  red(await check(changedAck(lines, (ack) => ({ ...ack, leaf: -1 }))), 'I3');
  red(await check(new Account([...lines, { checkpoint: fork }])), 'I4');
  red(await check(new Account([...lines, { checkpoint: fork.replace('\n', 'x\n') }])), 'I4');
  await server.end();
  const account = new Account(lines);
  // Without that hash nothing is provable: neither receipts nor growth.
  red(await check(account, withoutLeaf(log, bench.path('log-cut'))), 'I3', 'I4');
  reds += canaries(rig, account);
  return { controls: reds, red: reds };
}

/** A checkpoint that the same key signed over another history: what a log that forks looks like. */
async function forkedCheckpoint(rig: Rig, bench: Bench): Promise<string> {
  const other = rig.copyTo(bench.path('other'));
  const server = await other.home.start();
  const load = other.load({ random: bench.random, server: () => server });
  while (load.acks < 8) await pause(20);
  await load.stop();
  await server.end();
  other.close();
  return readFileSync(other.home.data('log', 'checkpoint'), 'utf8');
}

/** The genuine log gets leaves of its own beyond the common beginning, and more than the other. */
async function startAndMoveOn(rig: Rig, bench: Bench): Promise<Server> {
  const server = await rig.home.start();
  const load = rig.load({ random: bench.random, server: () => server });
  while (load.acks < 40) await pause(20);
  await load.stop();
  return server;
}

const isAck = (line: Line): line is { ack: Ack } => 'ack' in line;

/** The last acknowledged Tokenize of a domain. */
function lastOf(lines: readonly Line[], domain: string): { ask: Ask; ack: Ack } {
  const { asks } = new Account(lines);
  const line = lines.findLast((line) => {
    const ask = isAck(line) ? asks.get(line.ack.id) : undefined;
    return ask?.verb === 'tokenize' && ask.domain === domain;
  });
  assert(line !== undefined && isAck(line), `the load tokenized in ${domain}`);
  return { ask: asks.get(line.ack.id)!, ack: line.ack };
}

/** Two tokens of one answer change places; the rest of the journal might contradict that. */
function swapped(lines: readonly Line[], domain: string): Account {
  const { ask, ack } = lastOf(lines, domain);
  const [first, second, ...rest] = ack.outputs;
  const outputs = [second!, first!, ...rest];
  // The last item repeats the first, so its token would contradict the swap.
  outputs[outputs.length - 1] = '';
  return new Account([{ ask }, { ack: { ...ack, outputs } }]);
}

/** A token that nobody was given. */
function invented(lines: readonly Line[]): Account {
  const { ask, ack } = lastOf(lines, STATIC);
  const outputs = ack.outputs.map((token, i) => (i === 0 ? digitChanged(token) : ''));
  return new Account([{ ask }, { ack: { ...ack, outputs } }]);
}

/** Tokens are a hundred thousandth of their range, so a neighbour is none. */
const digitChanged = (token: string): string =>
  `${token.slice(0, -1)}${(Number(token.at(-1)) + 1) % 10}`;

function doubled(lines: readonly Line[]): Account {
  const { ask, ack } = lastOf(lines, STATIC);
  const [first, , ...rest] = ack.outputs;
  return new Account([{ ask }, { ack: { ...ack, outputs: [first!, first!, ...rest] } }]);
}

/** The last receipt, changed. */
function changedAck(lines: readonly Line[], change: (ack: Ack) => Ack): Account {
  const place = lines.findLastIndex(isAck);
  return new Account(
    lines.map((line, i) => (i === place && isAck(line) ? { ack: change(line.ack) } : line)),
  );
}

/** A copy of the log whose last tile lacks its last hash. */
function withoutLeaf(log: string, copy: string): string {
  cpSync(log, copy, { recursive: true });
  const tile = fileOf(copy, /tile\/0\/.+/);
  truncateSync(tile, readFileSync(tile).length - 32);
  return copy;
}

/** Each form in which a value could stand in a file, one after the other. */
function canaries(rig: Rig, account: Account): number {
  const ssn = account.tokens().acked.findLast(({ domain }) => domain === STATIC)!.value;
  const forms = [
    Buffer.from(`{"name":"${CANARY} X"}`),
    Buffer.from(CANARY, 'utf16le'),
    Buffer.from(Buffer.from(CANARY).toString('hex')),
    ...['', 'a', 'ab'].map((before) =>
      Buffer.from(Buffer.from(`${before}${CANARY}`).toString('base64')),
    ),
    Buffer.from(`ssn=${ssn}`),
  ];
  const file = join(rig.home.data('vault'), 'LOG');
  const before = readFileSync(file).length;
  for (const form of forms) {
    appendFileSync(file, form);
    const found = checkCanaries([rig.home.data()], [], account);
    assert.deepEqual(
      found.map(({ invariant }) => invariant),
      ['I5'],
    );
    truncateSync(file, before);
    assert.equal(checkCanaries([], [form.toString('latin1')], account).length, 1);
  }
  assert.deepEqual(checkCanaries([rig.home.data()], [], account), []);
  rmSync(file);
  return forms.length;
}
