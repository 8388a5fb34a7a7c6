import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openCheckpoint } from '../../src/audit/checkpoint.ts';
import { formatNote, verifierOf } from '../../src/audit/note.ts';
import type { Engine } from '../../src/engine/calls.ts';
import { verifyCertificate } from '../../src/engine/certificate.ts';
import { insecureMemoryModule } from '../../src/keys/insecure-memory.ts';
import { CHECKPOINT_LABEL } from '../../src/keys/roots.ts';
import { BY_SUBJECT, byTokens, ended, eraseCall } from './erasing.ts';
import {
  callerOf,
  DEV,
  domain,
  installation,
  ORIGIN,
  one,
  SEED,
  textOf,
  tokenizeCall,
} from './harness.ts';

const home = installation();
const module = insecureMemoryModule({ seed: SEED });
const publicKey = module.publicKey(CHECKPOINT_LABEL);
const mine = { subject: one('patient-77') };
let engine: Engine;
let tokens: string[] = [];
let first = '';
let leafIndex = 0;
let gone = '';

beforeAll(async () => {
  engine = await home.open();
  for (const [id, kind, format, more] of [
    ['mrn', 'static', 'digits:9', { subjectRequired: true }],
    ['visit', 'static', 'digits:9', {}],
    ['note', 'siv', 'text', { subjectRequired: true }],
    ['account', 'fpe', 'digits:9', { safety: 'valid', note: 'x' }],
  ] as const) {
    await engine.createDomain(DEV, domain(id, kind, format, more));
  }
  const values = ['123456789', '987654321'];
  tokens = textOf((await engine.tokenize(tokenizeCall('mrn', values, mine))).tokens);
  tokens.push(...textOf((await engine.tokenize(tokenizeCall('visit', values, mine))).tokens));
  const answer = await engine.erase(eraseCall('', BY_SUBJECT, mine));
  first = answer.certificate;
  leafIndex = answer.receipt.leafIndex;
  await ended(engine, (await engine.compactVault(DEV)).job);
  gone = (await engine.erasureCertificate(DEV, leafIndex)).certificate;
});

afterAll(async () => {
  await engine.close();
  home.remove();
});

const verify = (text: string) => verifyCertificate(text, ORIGIN, publicKey);

test('says who erased what, how, and what could not be, and proves each leaf', () => {
  const read = verify(first);
  expect(read).toMatchObject({
    stage: 'unreadable',
    origin: ORIGIN,
    caller: 'dev:dev',
    purpose: 'PATRQT',
    mode: 'delete',
    complete: true,
    domains: [
      { domain: 'clinic/mrn', tokens: 2 },
      { domain: 'clinic/visit', tokens: 2 },
      { domain: 'clinic/note', tokens: 0 },
    ],
    cannotErase: [{ domain: 'clinic/account', kind: 'fpe' }],
    compacted: undefined,
  });
  expect(read.leaves).toHaveLength(3);
  expect(read.leaves.at(-1)!.index).toBe(leafIndex);
  for (const { body } of read.leaves) expect(body!.length).toBeGreaterThan(0);
});

test('the second stage adds the compaction', () => {
  const read = verify(gone);
  expect(read.stage).toBe('gone');
  expect(read.compacted!.index).toBeGreaterThan(leafIndex);
});

test('holds no value, no token and nobody', () => {
  for (const text of [first, gone]) {
    for (const secret of [...tokens, '123456789', '987654321', 'patient-77']) {
      expect(text).not.toContain(secret);
    }
  }
});

describe('is refused', () => {
  test('after a change of any line, and of any byte of a few', () => {
    const lines = gone.split('\n');
    const blank = lines.lastIndexOf('');
    for (const [i, line] of lines.entries()) {
      const without = [...lines.slice(0, i), ...lines.slice(i + 1)].join('\n');
      if (i < blank) expect(() => verify(without), line).toThrow();
      if (line === '') continue;
      for (let at = 0; at < line.length; at += Math.ceil(line.length / 7)) {
        const other = line[at] === 'x' ? 'y' : 'x';
        const touched = line.slice(0, at) + other + line.slice(at + 1);
        const text = [...lines.slice(0, i), touched, ...lines.slice(i + 1)].join('\n');
        expect(() => verify(text), `${line} at ${at}`).toThrow();
      }
    }
  });

  test('under another name or key, and signed by nobody', () => {
    expect(() => verifyCertificate(first, 'other.example/log', publicKey)).toThrow();
    const other = insecureMemoryModule({ seed: new Uint8Array(32).fill(8) });
    const key = other.publicKey(CHECKPOINT_LABEL);
    expect(() => verifyCertificate(first, ORIGIN, key)).toThrow();
    expect(() => verify(first.slice(0, first.lastIndexOf('\n\n') + 1))).toThrow();
  });

  test('as a checkpoint, and a checkpoint as a certificate', () => {
    const verifier = verifierOf(ORIGIN, publicKey);
    expect(() => openCheckpoint(Buffer.from(first), verifier)).toThrow();
    const proof = /^proof (.*)$/m.exec(first)![1]!;
    const text = Buffer.from(proof, 'base64').toString('utf8');
    const checkpoint = text.slice(text.indexOf('\n\n') + 2);
    expect(openCheckpoint(Buffer.from(checkpoint), verifier).size).toBeGreaterThan(0);
    expect(() => verify(checkpoint)).toThrow();
  });

  const signed = (text: string): string => {
    const signature = module.sign(CHECKPOINT_LABEL, Buffer.from(text));
    return formatNote(text, verifierOf(ORIGIN, publicKey), signature);
  };
  const textOfNote = (note: string): string => note.slice(0, note.lastIndexOf('\n\n') + 1);

  test('when the key holder says more than the leaves do, or proves other leaves', () => {
    const text = textOfNote(first);
    expect(verify(signed(text)).stage).toBe('unreadable');
    const more = text.replace('domain clinic/mrn tokens 2', 'domain clinic/mrn tokens 3');
    expect(more).not.toBe(text);
    expect(() => verify(signed(more))).toThrow(/what its leaves say/);
    const proofs = [...text.matchAll(/^proof .*$/gm)].map(([line]) => line);
    const swapped = text.replace(proofs[0]!, proofs[1]!);
    expect(() => verify(signed(swapped))).toThrow(/proof/);
    const early = textOfNote(gone);
    const upTo = /"upTo":\d+/.exec(early)![0];
    expect(() => verify(signed(early.replace(upTo, '"upTo":1')))).toThrow();
  });
});

test('is made for erasures alone, and for officers', async () => {
  await expect(engine.erasureCertificate(DEV, 0)).rejects.toMatchObject({
    reason: 'RESOURCE_NOT_FOUND',
  });
  await expect(engine.erasureCertificate(DEV, 1_000_000)).rejects.toMatchObject({
    reason: 'RESOURCE_NOT_FOUND',
  });
  await expect(engine.erasureCertificate(callerOf('ehr'), leafIndex)).rejects.toMatchObject({
    reason: 'ACCESS_DENIED',
  });
  const denied = eraseCall('mrn', byTokens('000000000'), { caller: callerOf('ehr') });
  await expect(engine.erase(denied)).rejects.toMatchObject({ reason: 'ACCESS_DENIED' });
});
