import { createCipheriv } from 'node:crypto';
import { expect, test } from 'vitest';
import { insecureMemoryKey, insecureMemoryModule } from '../../src/keys/insecure-memory.ts';
import { slowModule } from '../../src/keys/slow-module.ts';
import { keyModuleContract } from '../contract/key-module.ts';

const labels = { root: 'r', signing: 's' };

keyModuleContract('insecureMemoryModule', () => {
  const module = insecureMemoryModule();
  return { module, ...labels, close: () => module.close() };
});

keyModuleContract('slowModule', () => {
  const module = slowModule(insecureMemoryModule(), 0.01);
  return { module, ...labels, close: () => module.close() };
});

test('two modules of one seed unwrap each other’s blobs; others, and other roots, do not', () => {
  const seed = new Uint8Array(32).fill(1);
  const { blob, key } = insecureMemoryModule({ seed }).generateWrapped('r', 'id');
  const one = new Uint8Array(16);
  const two = new Uint8Array(16);
  key.encryptBlocks(one);
  insecureMemoryModule({ seed }).unwrap('r', 'id', blob).encryptBlocks(two);
  expect(two).toEqual(one);
  expect(() => insecureMemoryModule({ seed }).unwrap('other', 'id', blob)).toThrow();
  expect(() => insecureMemoryModule().unwrap('r', 'id', blob)).toThrow();
});

// FIPS 197 appendix C: the plain block 00112233… under the keys 000102….
for (const [bits, wanted] of [
  [128, '69c4e0d86a7b0430d8cdb78070b4c55a'],
  [192, 'dda97ca4864cdfe06eaf70a0ec0d7191'],
  [256, '8ea2b7ca516745bfeafc49904b496089'],
] as const) {
  test(`FIPS 197 appendix C, AES-${bits}`, () => {
    const key = insecureMemoryKey(
      Uint8Array.from({ length: bits / 8 }, (_, i) => i),
      'c',
    );
    const block = Uint8Array.from({ length: 16 }, (_, i) => i * 0x11);
    key.encryptBlocks(block);
    expect(Buffer.from(block).toString('hex')).toBe(wanted);
  });
}

test('one cipher serves call after call as a fresh one each would', () => {
  const raw = Buffer.alloc(32, 5);
  const key = insecureMemoryKey(raw, 'k');
  for (const count of [3, 1, 700]) {
    const blocks = new Uint8Array(count * 16).fill(count);
    const wanted = createCipheriv('aes-256-ecb', raw, null).setAutoPadding(false).update(blocks);
    key.encryptBlocks(blocks);
    expect(Buffer.from(blocks).equals(wanted)).toBe(true);
  }
});
