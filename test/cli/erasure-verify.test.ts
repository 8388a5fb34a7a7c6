import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { verifierKey } from '../../src/audit/note.ts';
import { insecureMemoryModule } from '../../src/keys/insecure-memory.ts';
import { CHECKPOINT_LABEL } from '../../src/keys/roots.ts';
import { BY_SUBJECT, eraseCall } from '../engine/erasing.ts';
import { DEV, domain, installation, ORIGIN, one, SEED, tokenizeCall } from '../engine/harness.ts';
import { lockstep } from './process.ts';

const folder = mkdtempSync(join(tmpdir(), 'lockstep-cli-'));
const home = installation();
const module = insecureMemoryModule({ seed: SEED });
const key = verifierKey(ORIGIN, module.publicKey(CHECKPOINT_LABEL));
const file = join(folder, 'certificate');
let certificate = '';

beforeAll(async () => {
  const engine = await home.open();
  await engine.createDomain(DEV, domain('mrn', 'static', 'digits:9', { subjectRequired: true }));
  await engine.createDomain(DEV, domain('pseudonym', 'one-way', 'text'));
  const subject = one('patient');
  await engine.tokenize(tokenizeCall('mrn', ['123456789'], { subject }));
  certificate = (await engine.erase(eraseCall('', BY_SUBJECT, { subject }))).certificate;
  writeFileSync(file, certificate);
  await engine.close();
});

afterAll(() => {
  home.remove();
  rmSync(folder, { recursive: true });
});

test('a certificate is read by the public key alone, given or in a file', async () => {
  const keyFile = join(folder, 'key');
  writeFileSync(keyFile, `${key}\n`);
  for (const verifier of [key, keyFile]) {
    const { code, out } = await lockstep(['erasure', 'verify', file, '--verifier', verifier]);
    expect(code).toBe(0);
    expect(out).toMatch(/^verdict +unreadable; not compacted yet$/m);
    expect(out).toMatch(/^domain +clinic\/mrn: 1 tokens$/m);
    expect(out).toMatch(/^cannot be erased +clinic\/pseudonym \(one-way\)$/m);
  }
  const { out } = await lockstep(['erasure', 'verify', file, '--verifier', key, '--json']);
  expect(JSON.parse(out)).toMatchObject({
    stage: 'unreadable',
    caller: 'dev:dev',
    domains: [{ domain: 'clinic/mrn', tokens: 1 }],
    complete: true,
    compacted: null,
  });
});

test('a touched one is refused', async () => {
  const touched = join(folder, 'touched');
  writeFileSync(touched, certificate.replace('tokens 1', 'tokens 2'));
  const { code, err } = await lockstep(['erasure', 'verify', touched, '--verifier', key]);
  expect(code).toBe(1);
  expect(err).toContain('is no certificate of this log');
});
