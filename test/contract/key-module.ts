import { createPublicKey, verify } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type KeyModule, ModuleError } from '../../src/keys/key.ts';

export interface Opened {
  readonly module: KeyModule;
  /** A label of a wrapping root, and one of an Ed25519 pair. */
  readonly root: string;
  readonly signing: string;
  close(): void;
}

/** What every `KeyModule` does; the rest of the interface's definition. */
export function keyModuleContract(name: string, open: () => Opened): void {
  describe(`${name} as a KeyModule`, () => {
    let opened: Opened;
    let module: KeyModule;
    beforeAll(() => {
      opened = open();
      module = opened.module;
    });
    afterAll(() => opened.close());

    test('describes itself', () => expect(module.description).not.toBe(''));

    test('a generated key and its unwrapped blob are one key, under their own ids', () => {
      const { blob, key } = module.generateWrapped(opened.root, 'a/b.fpe.v1');
      expect(blob).toHaveLength(40);
      const again = module.unwrap(opened.root, 'a/b.fpe.v1 again', blob);
      expect(key.id).toBe('a/b.fpe.v1');
      expect(again.id).toBe('a/b.fpe.v1 again');
      expect(encrypt(again, 3)).toEqual(encrypt(key, 3));
    });

    test('two generated keys differ, and swapped blobs are seen by what they encrypt', () => {
      const first = module.generateWrapped(opened.root, 'first');
      const second = module.generateWrapped(opened.root, 'second');
      expect(first.blob).not.toEqual(second.blob);
      const swapped = module.unwrap(opened.root, 'first', second.blob);
      expect(encrypt(swapped, 1)).not.toEqual(encrypt(first.key, 1));
    });

    test('a blob with any byte flipped, or of another length, is refused', () => {
      const { blob } = module.generateWrapped(opened.root, 'flipped');
      for (let i = 0; i < blob.length; i++) {
        const bad = Uint8Array.from(blob);
        bad[i]! ^= 1 << (i % 8);
        expect(() => module.unwrap(opened.root, 'flipped', bad), `byte ${i}`).toThrow(ModuleError);
      }
      for (const length of [0, 32, 39, 48]) {
        const bad = new Uint8Array(length);
        expect(() => module.unwrap(opened.root, 'short', bad)).toThrow(ModuleError);
      }
      expect(module.unwrap(opened.root, 'whole', blob).id).toBe('whole');
    });

    test('blocks are encrypted one by one, in place, in any number up to blocksMax', () => {
      const { key } = module.generateWrapped(opened.root, 'blocks');
      for (const count of [1, 2, 1_000, key.blocksMax]) {
        const blocks = new Uint8Array(count * 16);
        for (let i = 0; i < count; i++) blocks[i * 16] = i % 7;
        key.encryptBlocks(blocks);
        const one = new Uint8Array(16);
        one[0] = (count - 1) % 7;
        key.encryptBlocks(one);
        expect(blocks.subarray(-16)).toEqual(one);
      }
      key.encryptBlocks(new Uint8Array(0));
    });

    test('a view into a larger buffer is encrypted and its neighbours are left alone', () => {
      const { key } = module.generateWrapped(opened.root, 'view');
      const large = new Uint8Array(64).fill(7);
      key.encryptBlocks(large.subarray(16, 48));
      expect(large.subarray(0, 16)).toEqual(new Uint8Array(16).fill(7));
      expect(large.subarray(48)).toEqual(new Uint8Array(16).fill(7));
      expect(large.subarray(16, 32)).not.toEqual(new Uint8Array(16).fill(7));
    });

    test('part of a block, and one block too many, are broken invariants', () => {
      const { key } = module.generateWrapped(opened.root, 'lengths');
      expect(() => key.encryptBlocks(new Uint8Array(17))).toThrow('whole blocks');
      const tooMany = new Uint8Array((key.blocksMax + 1) * 16);
      expect(() => key.encryptBlocks(tooMany)).toThrow('whole blocks');
      expect(encrypt(key, 1)).toEqual(encrypt(key, 1));
    });

    test('signs as Ed25519, deterministically (RFC 8032)', () => {
      const message = Buffer.from('a checkpoint\n1\n');
      const signature = module.sign(opened.signing, message);
      expect(signature).toHaveLength(64);
      expect(module.sign(opened.signing, message)).toEqual(signature);
      const key = ed25519(module.publicKey(opened.signing));
      expect(verify(null, message, key, signature)).toBe(true);
      expect(verify(null, Buffer.from('another'), key, signature)).toBe(false);
    });

    test('data is absent, then replaced whole; without an answer nothing changes', () => {
      const label = `data ${module.description}`;
      const seen: (readonly Uint8Array[])[] = [];
      const replace = (value: Uint8Array | undefined): void =>
        module.replaceData(label, (found) => {
          seen.push(found);
          return value;
        });
      expect(module.readData(label)).toEqual([]);
      const [one, two] = [new Uint8Array(300).fill(1), Uint8Array.of(2)];
      for (const value of [undefined, one, undefined, two, one]) replace(value);
      expect(seen).toEqual([[], [], [one], [one], [two]]);
      expect(module.readData(label)).toEqual([one]);
      expect(module.readData('data of another name')).toEqual([]);
      const refused = new Error('refused');
      const refuse = (): never => {
        throw refused;
      };
      expect(() => module.replaceData(label, refuse)).toThrow(refused);
      expect(module.readData(label)).toEqual([one]);
    });

    test('once closed, everything is refused, and closing again does nothing', () => {
      const { blob, key } = module.generateWrapped(opened.root, 'closed');
      encrypt(key, 1);
      module.close();
      module.close();
      const refused = expect.objectContaining({ code: 'CKR_CRYPTOKI_NOT_INITIALIZED' });
      expect(() => encrypt(key, 1)).toThrow(refused);
      expect(() => module.unwrap(opened.root, 'closed', blob)).toThrow(refused);
      expect(() => module.generateWrapped(opened.root, 'closed')).toThrow(refused);
      expect(() => module.sign(opened.signing, blob)).toThrow(refused);
      expect(() => module.publicKey(opened.signing)).toThrow(refused);
      expect(() => module.readData('closed')).toThrow(refused);
      expect(() => module.replaceData('closed', () => blob)).toThrow(refused);
    });
  });
}

function encrypt(key: { encryptBlocks(blocks: Uint8Array): void }, count: number): Uint8Array {
  const blocks = new Uint8Array(count * 16);
  key.encryptBlocks(blocks);
  return blocks;
}

const ed25519 = (raw: Uint8Array) =>
  createPublicKey({
    key: { kty: 'OKP', crv: 'Ed25519', x: Buffer.from(raw).toString('base64url') },
    format: 'jwk',
  });
