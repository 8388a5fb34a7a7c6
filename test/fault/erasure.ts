import assert from 'node:assert';
import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { type Verbs, verbsOf } from '../../src/rpc/verbs.ts';
import type { Bench, Counts, Fault } from './fault.ts';
import type { Server } from './home.ts';
import { CANARY, NOTE, STATIC } from './load.ts';
import type { Rig } from './rig.ts';

const PATIENT = `${CANARY} patient 4711`;

/** Yesterday's backup must not bring back what was erased today, nor may a repair. */
export const erased: Fault = {
  id: 'T53',
  title: 'a subject erased, an older backup restored, the vault repaired: gone for good',
  run: erasureRuns,
};

async function erasureRuns(bench: Bench): Promise<Counts> {
  const rig = await bench.fork();
  const counts = { tokens: 0, asked: 0, acks: 0 };
  let server = await rig.home.start();
  const tokens = await makePatient(server, bench);
  counts.tokens = tokens.length;
  const { recipient, identity } = keyPair(rig, bench);
  const load = rig.load({ random: bench.random, server: () => server });
  while (load.acks < 12) await pause(20);
  const backup = lockstep(rig, server, 'backup', 'create', '--file', 'yesterday.age', [
    '--recipient',
    recipient,
  ]);
  assert.equal(typeof backup['file'], 'string');
  while (load.acks < 24) await pause(20);
  await load.stop();
  counts.acks = load.acks;
  const erasure = await eraseSubject(server);
  assert.equal(erasure.counts[0], tokens.length);
  counts.asked += await assertGone(server, tokens);
  // The bytes go at the next compaction, which an officer may ask for at once.
  lockstep(rig, server, 'vault', 'compact');
  const certificate = bench.path('certificate');
  const shown = await verbsOf(server.connect('officer')).erasureCertificate(erasure.leafIndex);
  assert.equal(shown.compacted, true);
  writeFileSync(certificate, shown.certificate);
  await rig.assertWhole(server);
  assert.equal((await server.end()).code, 0);
  assertNowhere(rig.home.data('vault'));

  // The vault is lost; the log outlived it.
  const kept = bench.path('kept');
  mkdirSync(kept);
  cpSync(rig.home.data('log'), join(kept, 'log'), { recursive: true });
  cpSync(rig.home.data('catalogue.json'), join(kept, 'catalogue.json'));
  cpSync(rig.home.data('backups', 'yesterday.age'), join(kept, 'yesterday.age'));
  rmSync(rig.home.data(), { recursive: true });
  lockstep(rig, undefined, 'restore', join(kept, 'yesterday.age'), [
    ...['--identity', identity, '--config', rig.home.config, '--log', join(kept, 'log')],
  ]);
  server = await rig.home.start();
  counts.asked += await assertGone(server, tokens);
  assert.equal((await server.end()).code, 0);

  const repaired = lockstep(
    rig,
    undefined,
    'vault',
    'repair',
    '--note',
    'to see that nothing comes',
    [...['--config', rig.home.config]],
  );
  assert.equal(repaired['damaged'], 0);
  server = await rig.home.start();
  counts.asked += await assertGone(server, tokens);
  assert.equal((await server.end()).code, 0);
  assert.deepEqual(await rig.vaultProblems(), []);
  const verified = lockstep(rig, undefined, 'erasure', 'verify', certificate, [
    ...['--verifier', rig.verifier],
  ]);
  assert.equal(verified['stage'], 'gone');
  return counts;
}

/** Tokens of one patient: static ones, and a bound one without a record. */
async function makePatient(
  server: Server,
  bench: Bench,
): Promise<{ domain: string; token: string }[]> {
  const verbs = verbsOf(server.connect());
  const made: { domain: string; token: string }[] = [];
  const digits = (): string => bench.random.digits(4);
  const items = [`529-31-${digits()}`, `231-84-${digits()}`];
  const common = { purpose: '', requestId: '', context: '', subject: PATIENT };
  const { outputs } = await verbs.tokenize({ ...common, domain: STATIC, items });
  for (const token of outputs) made.push({ domain: STATIC, token });
  await verbs.tokenize({ ...common, domain: NOTE, items: [`${CANARY} of the patient`] });
  return made;
}

const eraseSubject = (server: Server): ReturnType<Verbs['erase']> =>
  verbsOf(server.connect('officer')).erase({
    domain: '',
    purpose: 'PATRQT',
    requestId: 'erase-4711',
    by: 'subject',
    items: [],
    subject: PATIENT,
    context: '',
    mode: 'delete',
  });

/** Neither to who names the patient nor to who does not. */
async function assertGone(
  server: Server,
  tokens: readonly { readonly domain: string; readonly token: string }[],
): Promise<number> {
  const verbs = verbsOf(server.connect());
  let asked = 0;
  for (const { domain, token } of tokens) {
    for (const subject of [PATIENT, '']) {
      const { outputs, errors } = await verbs.detokenize({
        ...{ domain, items: [token], purpose: 'TREAT', requestId: '', context: '', subject },
        ...{ view: 'plain', acceptLowerView: false },
      });
      assert.deepEqual(outputs, ['']);
      assert.equal(errors[0]?.reason, 'TOKEN_NOT_FOUND');
      asked += 1;
    }
  }
  return asked;
}

function assertNowhere(folder: string): void {
  for (const name of readdirSync(folder)) {
    assert(!readFileSync(join(folder, name)).includes(CANARY), `${name} holds a value`);
  }
}

function keyPair(rig: Rig, bench: Bench): { recipient: string; identity: string } {
  const identity = bench.path('identity');
  const { recipient } = lockstep(rig, undefined, 'backup', 'keygen', '--output', identity);
  assert(typeof recipient === 'string');
  return { recipient, identity };
}

/** One command line; its JSON answer. */
function lockstep(
  rig: Rig,
  server: Server | undefined,
  ...args: (string | readonly string[])[]
): Record<string, unknown> {
  const words = [...args.flat(), '--json'];
  const online =
    server === undefined ? [] : ['--address', server.address, '--dev-caller', 'officer'];
  return rig.home.command([...words, ...online]);
}
