import { openPkcs11Module } from '../../src/keys/pkcs11.ts';

/* A process that replaces a data object and ends: `LIBRARY TOKEN PIN-FILE LABEL FILL`. */

const [library, token, pinSource, label, fill] = process.argv.slice(2);
const module = openPkcs11Module({ library: library!, token: token!, pinSource: pinSource! });
module.replaceData(label!, () => new Uint8Array(100).fill(Number(fill)));
module.close();
