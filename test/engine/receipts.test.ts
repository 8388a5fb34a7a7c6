import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { verifyProof } from '../../src/audit/checkpoint.ts';
import { fsckLog } from '../../src/audit/fsck.ts';
import { parseVerifierKey, verifierKey } from '../../src/audit/note.ts';
import type { Engine, Receipt } from '../../src/engine/calls.ts';
import { insecureMemoryModule } from '../../src/keys/insecure-memory.ts';
import { CHECKPOINT_LABEL } from '../../src/keys/roots.ts';
import {
  DEV,
  detokenizeCall,
  domain,
  each,
  exchangeCall,
  inspectCall,
  installation,
  type LoggedCall,
  lookupCall,
  ORIGIN,
  one,
  readLog,
  SEED,
  textOf,
  tokenizeCall,
} from './harness.ts';

const home = installation();
const publicKey = insecureMemoryModule({ seed: SEED }).publicKey(CHECKPOINT_LABEL);
const verifier = verifierKey(ORIGIN, publicKey);
const receipts = new Map<string, Receipt>();
const tokens = new Map<string, string[]>();
let log: LoggedCall[];

const KINDS = ['fpe', 'siv', 'static', 'dynamic'] as const;
const VALUES = ['123456789', 'bad', '987654321'];

beforeAll(async () => {
  const engine = await home.open();
  for (const kind of KINDS) {
    const more = kind === 'fpe' ? { safety: 'valid', note: 'x' } : {};
    await engine.createDomain(DEV, domain(kind, kind, 'digits:9', more));
    await callAll(engine, kind);
  }
  await engine.close();
  log = await readLog(home.folder);
});

afterAll(() => home.remove());

async function callAll(engine: Engine, kind: (typeof KINDS)[number]): Promise<void> {
  const subject = each('anna', 'ben', 'anna');
  const made = await engine.tokenize(
    tokenizeCall(kind, VALUES, { subject, requestId: `receipts-${kind}`, waitForProof: true }),
  );
  const own = textOf(made.tokens);
  tokens.set(kind, own);
  receipts.set(`${kind} Tokenize`, made.receipt);
  const back = await engine.detokenize(detokenizeCall(kind, own, { subject, waitForProof: true }));
  receipts.set(`${kind} Detokenize`, back.receipt);
  const seen = await engine.inspect(inspectCall(kind, own));
  receipts.set(`${kind} Inspect`, seen.receipt);
  if (kind !== 'dynamic') {
    const found = await engine.lookup(lookupCall(kind, VALUES, { subject }));
    receipts.set(`${kind} Lookup`, found.receipt);
  }
  if (kind === 'siv') {
    const moved = await engine.exchange(
      exchangeCall('siv', 'fpe', own, { subject, waitForProof: true }),
    );
    tokens.set('targets', textOf(moved.tokens));
    receipts.set('siv Exchange', moved.receipt);
  }
}

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
const sha256 = (...parts: Uint8Array[]): string => {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(part);
  return hash.digest('hex');
};

test('a receipt names the leaf: SHA-256(0x00 ‖ entry), and its salt opens the body hash', () => {
  expect(receipts.size).toBe(16);
  for (const [call, { leafIndex, leafHash, salt }] of receipts) {
    const [kind, verb] = call.split(' ');
    const { entry, bytes, bodyBytes } = log[leafIndex]!;
    expect(hex(leafHash), call).toBe(sha256(Uint8Array.of(0), bytes));
    expect(entry, call).toMatchObject({ verb, domain: `clinic/${kind}`, caller: DEV.id });
    expect(hex(salt), call).toBe(hex(bodyBytes!.subarray(0, 32)));
    expect(hex(entry.bodyHash!), call).toBe(sha256(salt, bodyBytes!.subarray(32)));
  }
  const salts = [...receipts.values()].map(({ salt }) => hex(salt));
  expect(new Set(salts).size).toBe(salts.length);
});

test('a proof holds for the entry and for no other', () => {
  const known = parseVerifierKey(verifier);
  let proofs = 0;
  for (const [call, { leafIndex, proof }] of receipts) {
    if (proof === undefined) continue;
    proofs++;
    expect(hex(proof.leaf), call).toBe(hex(log[leafIndex]!.bytes));
    expect(verifyProof(proof.text, proof.leaf, known).index, call).toBe(leafIndex);
    expect(() => verifyProof(proof.text, log[leafIndex - 1]!.bytes, known)).toThrow();
  }
  expect(proofs).toBe(9);
});

test('sealed bodies hold the tokens, the errors and the subjects, never a value or a name', () => {
  for (const [call, { leafIndex }] of receipts) {
    const [kind, verb] = call.split(' ');
    const { body, bodyBytes } = log[leafIndex]!;
    expect(textOf(body!.tokens), call).toEqual(tokens.get(kind!));
    if (verb !== 'Inspect') {
      expect(
        body!.errors.map(({ index }) => index),
        call,
      ).toEqual([1]);
      expect(body!.subjects, call).toHaveLength(48);
      expect(hex(body!.subjects.subarray(0, 16)), call).toBe(hex(body!.subjects.subarray(32)));
      expect(hex(body!.subjects.subarray(0, 16)), call).not.toBe(
        hex(body!.subjects.subarray(16, 32)),
      );
    }
    const text = Buffer.from(bodyBytes!).toString('latin1');
    for (const secret of ['123456789', '987654321', 'anna', 'ben']) {
      expect(text, call).not.toContain(secret);
    }
  }
  const exchange = log[receipts.get('siv Exchange')!.leafIndex]!;
  expect(textOf(exchange.body!.targets!)).toEqual(tokens.get('targets'));
  expect(exchange.entry.extra).toEqual({ into: 'clinic/fpe' });
});

test('entries tell who, why, how many and which counters', () => {
  for (const kind of KINDS) {
    const vaulted = kind === 'static' || kind === 'dynamic';
    const made = log[receipts.get(`${kind} Tokenize`)!.leafIndex]!.entry;
    expect(made).toMatchObject({ done: 2, failed: 1, keyVersions: [1] });
    expect(made.counters).toEqual(vaulted ? { first: 0, count: 2 } : undefined);
    expect(made.commit === undefined).toBe(!vaulted);
    const shown = log[receipts.get(`${kind} Detokenize`)!.leafIndex]!.entry;
    expect(shown).toMatchObject({
      purpose: 'TREAT',
      view: 'plain',
      done: 2,
      failed: 1,
      distinct: 3,
    });
    expect(shown.policyHash).toMatch(/^[0-9a-f]{64}$/);
  }
});

test('the log is whole to those who check it from outside', async () => {
  const report = await fsckLog(join(home.folder, 'log'), verifier);
  expect(report).toMatchObject({ ok: true, findings: [], entries: log.length });
});

test('a call for one subject keeps one index', async () => {
  const engine = await home.open();
  const made = await engine.tokenize(tokenizeCall('siv', VALUES, { subject: one('anna') }));
  await engine.close();
  const { body } = (await readLog(home.folder))[made.receipt.leafIndex]!;
  const before = log[receipts.get('siv Tokenize')!.leafIndex]!.body!;
  expect(hex(body!.subjects)).toBe(hex(before.subjects.subarray(0, 16)));
});
