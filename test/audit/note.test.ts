import { createPrivateKey, sign } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { checkpointBody, formatProof, openCheckpoint } from '../../src/audit/checkpoint.ts';
import { formatNote, openNote, parseVerifierKey, verifierOf } from '../../src/audit/note.ts';
import { newSigner, ORIGIN } from './fixtures.ts';
import { vectorFolder } from './vectors.ts';

interface Cases {
  cases: {
    name: string;
    note_b64: string;
    vkeys: string[];
    expect: string;
    verified: string[];
    unverified: string[];
  }[];
  sign: { skey: string; text: string; want_b64: string };
  bad_vkeys: string[];
  good_vkey: string;
}

const folder = vectorFolder('signed-note');
const json =
  folder === undefined
    ? undefined
    : (JSON.parse(readFileSync(join(folder, 'cases.json'), 'utf8')) as Cases);

/** Go's words for our faults. */
const FAULTS: readonly [RegExp, string][] = [
  [/^malformed note/, 'malformed'],
  [/^ambiguous key/, 'ambiguous'],
  [/^invalid signature/, 'invalid'],
  [/no verifiable signatures/, 'unverified'],
];

describe.skipIf(json === undefined)('golang.org/x/mod sumdb/note', () => {
  for (const c of json?.cases ?? []) {
    test(c.name, () => {
      const run = () => openNote(Buffer.from(c.note_b64, 'base64'), c.vkeys.map(parseVerifierKey));
      if (c.expect === 'ok') {
        expect(run()).toMatchObject({ verified: c.verified, unverified: c.unverified });
      } else {
        const fault = FAULTS.find(([words]) => words.test(c.expect))?.[1];
        expect(fault, c.expect).toBeDefined();
        expect(run).toThrow(expect.objectContaining({ fault }));
      }
    });
  }

  test('sign', () => {
    const { skey, text, want_b64 } = json!.sign;
    const seed = Buffer.from(skey.split('+').slice(4).join('+'), 'base64').subarray(1);
    const head = Buffer.from('302e020100300506032b657004220420', 'hex');
    const der = Buffer.concat([head, seed]);
    const key = createPrivateKey({ key: der, format: 'der', type: 'pkcs8' });
    const note = formatNote(
      text,
      parseVerifierKey(json!.good_vkey),
      sign(null, Buffer.from(text), key),
    );
    expect(Buffer.from(note).toString('base64')).toBe(want_b64);
  });

  test('bad verifier keys', () => {
    for (const key of json!.bad_vkeys) expect(() => parseVerifierKey(key)).toThrow();
  });

  test('every part of a verifier key, and every one with a byte raised', () => {
    const good = json!.good_vkey;
    expect(parseVerifierKey(good).name).toBe('PeterNeumann');
    for (let from = 0; from < good.length; from++) {
      for (let to = from; to <= good.length; to++) {
        if (to - from === good.length) continue;
        expect(() => parseVerifierKey(good.slice(from, to))).toThrow();
      }
      const raised = String.fromCharCode(good.charCodeAt(from) + 1);
      const other = good.slice(0, from) + raised + good.slice(from + 1);
      expect(() => parseVerifierKey(other)).toThrow();
    }
  });
});

describe('checkpoints', () => {
  const pair = newSigner();
  const verifier = verifierOf(ORIGIN, pair.publicKey);
  const root = Buffer.alloc(32, 7);
  const noteOf = async (text: string): Promise<Buffer> =>
    Buffer.from(formatNote(text, verifier, await pair.sign(Buffer.from(text))));

  test('what is signed is read again', async () => {
    const text = checkpointBody(ORIGIN, 2 ** 40, root);
    expect(openCheckpoint(await noteOf(text), verifier)).toMatchObject({ size: 2 ** 40 });
  });

  test.each([
    ['another origin', checkpointBody('other.test/log', 1, root)],
    ['a leading zero', `${ORIGIN}\n01\n${root.toString('base64')}\n`],
    ['a sign', `${ORIGIN}\n+1\n${root.toString('base64')}\n`],
    ['a size beyond 2^53', `${ORIGIN}\n9007199254740993\n${root.toString('base64')}\n`],
    ['a short root', `${ORIGIN}\n1\n${root.subarray(1).toString('base64')}\n`],
    ['no root', `${ORIGIN}\n1\n`],
    ['another spelling of base64', `${ORIGIN}\n1\n${root.toString('base64').replace('=', '')}\n`],
  ])('%s is refused, though signed', async (_, text) => {
    const note = await noteOf(text);
    expect(() => openCheckpoint(note, verifier)).toThrow(
      expect.objectContaining({ fault: 'signature' }),
    );
  });

  test('another key of the same name is refused', async () => {
    const note = await noteOf(checkpointBody(ORIGIN, 1, root));
    const other = verifierOf(ORIGIN, newSigner().publicKey);
    expect(() => openCheckpoint(note, other)).toThrow();
  });

  test('the proof text is that of C2SP tlog-proof', () => {
    expect(formatProof(5, [root, root], 'a\n1\nb\n\n— a c\n')).toBe(
      `c2sp.org/tlog-proof@v1\nindex 5\n${root.toString('base64')}\n${root.toString('base64')}\n` +
        '\na\n1\nb\n\n— a c\n',
    );
  });
});
