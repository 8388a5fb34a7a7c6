import type { BlockKey, KeyModule } from './key.ts';

/** Clocks of a sleeping thread are coarse; one shared cell is enough to sleep on. */
const cell = new Int32Array(new SharedArrayBuffer(4));

/** FOR BENCHES AND TESTS: adds `delayMs` (fractions allowed) to every call into a module, as the
 *  network adds it to an HSM's. The thread sleeps and does not spin; each sleep is some 60 µs
 *  longer than asked. */
export function slowModule(inner: KeyModule, delayMs: number): KeyModule {
  const wait = (): void => {
    if (delayMs > 0) Atomics.wait(cell, 0, 0, delayMs);
  };
  return {
    description: `${inner.description}, slowed by ${delayMs} ms a call`,
    generateWrapped(root, id) {
      wait();
      const { blob, key } = inner.generateWrapped(root, id);
      return { blob, key: slowKey(key, wait) };
    },
    unwrap(root, id, blob) {
      wait();
      return slowKey(inner.unwrap(root, id, blob), wait);
    },
    sign(label, message) {
      wait();
      return inner.sign(label, message);
    },
    publicKey(label) {
      wait();
      return inner.publicKey(label);
    },
    keepsData: inner.keepsData,
    readData(label) {
      wait();
      return inner.readData(label);
    },
    replaceData(label, change) {
      wait();
      inner.replaceData(label, change);
    },
    close: () => inner.close(),
  };
}

function slowKey(inner: BlockKey, wait: () => void): BlockKey {
  return {
    id: inner.id,
    blocksMax: inner.blocksMax,
    encryptBlocks(blocks) {
      wait();
      inner.encryptBlocks(blocks);
    },
  };
}
