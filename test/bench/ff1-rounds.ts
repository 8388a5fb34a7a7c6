import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { performance } from 'node:perf_hooks';
import { FF1 } from '@noble/ciphers/ff1.js';
import { insecureMemoryKey } from '../../src/keys/insecure-memory.ts';
import type { BlockKey } from '../../src/keys/key.ts';
import { openPkcs11Module } from '../../src/keys/pkcs11.ts';
import { initialiseRoots, ROOT_LABEL } from '../../src/keys/roots.ts';
import { createSoftHsmToken } from '../../src/keys/softhsm.ts';
import { encryptRows } from '../../src/modes/ff1.ts';
import { softHsmLibrary } from '../softhsm.ts';

/** What `ff1-rounds.ts` prints: nanoseconds a value, a number a round. */
export interface Ff1Rounds {
  readonly module: readonly number[];
  readonly memory: readonly number[];
  readonly noble: readonly number[];
  /** Empty where there is no Go. */
  readonly go: readonly number[];
  readonly description: string;
}

const DIGITS = 9;
const BATCH = 1_000;
const NO_TWEAK = new Uint8Array(0);

/** FF1 over nine digits in a process of its own, the contenders one after the other in each round.
 *  Arguments: a folder for the token, rounds, seconds each, the Go program or ''. */
function main([folder = '', rounds = '5', seconds = '0.5', go = '']: readonly string[]): void {
  const library = softHsmLibrary();
  if (library === undefined) throw new Error('there is no PKCS#11 module');
  const pins = { pin: randomBytes(8).toString('hex'), soPin: randomBytes(8).toString('hex') };
  const token = createSoftHsmToken({ library, folder, label: 'lockstep-bench', ...pins });
  initialiseRoots({ library, token: token.token, pinSource: token.pinSource });
  const module = openPkcs11Module({ library, token: token.token, pinSource: token.pinSource });
  const rawKey = randomBytes(32);
  const inModule = module.generateWrapped(ROOT_LABEL, 'bench.fpe.v1').key;
  const inMemory = insecureMemoryKey(rawKey, 'bench.memory');
  const length = Number(seconds) * 1_000;
  const out = {
    module: [] as number[],
    memory: [] as number[],
    noble: [] as number[],
    go: [] as number[],
  };
  for (let round = -1; round < Number(rounds); round++) {
    // The first round warms up.
    const results = {
      module: lockstepNanos(inModule, length),
      memory: lockstepNanos(inMemory, length),
      noble: nobleNanos(rawKey, length),
      go: go === '' ? undefined : Number(execFileSync(go, [seconds, rawKey.toString('hex')])),
    };
    if (round < 0) continue;
    out.module.push(results.module);
    out.memory.push(results.memory);
    out.noble.push(results.noble);
    if (results.go !== undefined) out.go.push(results.go);
  }
  const rounds_: Ff1Rounds = { ...out, description: module.description };
  process.stdout.write(JSON.stringify(rounds_));
  module.close();
}

/** Numerals in, numerals out, as the codec calls it. */
function lockstepNanos(key: BlockKey, lengthMs: number): number {
  const numerals = new Uint16Array(BATCH * DIGITS);
  const ends = new Uint32Array(BATCH);
  for (let i = 0; i < BATCH; i++) ends[i] = (i + 1) * DIGITS;
  for (let i = 0; i < numerals.length; i++) numerals[i] = (i * 7) % 10;
  // Each batch works on what the last one left: all of them are different.
  return nanosAValue(lengthMs, () => encryptRows(key, { radix: 10, numerals, ends }, NO_TWEAK));
}

function nobleNanos(rawKey: Uint8Array, lengthMs: number): number {
  const cipher = FF1(10, rawKey, NO_TWEAK);
  let digits = [1, 2, 3, 4, 5, 6, 7, 8, 9];
  return nanosAValue(lengthMs, () => {
    for (let i = 0; i < BATCH; i++) digits = cipher.encrypt(digits);
  });
}

function nanosAValue(lengthMs: number, encryptBatch: () => void): number {
  const startMs = performance.now();
  let values = 0;
  let now = startMs;
  while (now - startMs < lengthMs) {
    encryptBatch();
    values += BATCH;
    now = performance.now();
  }
  return ((now - startMs) * 1e6) / values;
}

main(process.argv.slice(2));
