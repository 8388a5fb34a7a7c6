import assert from 'node:assert';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { isMainThread } from 'node:worker_threads';
import { hasToken, initialiseToken } from './pkcs11-session.ts';

export interface SoftHsmOptions {
  /** Path of libsofthsm2.so. */
  readonly library: string;
  /** Absolute folder for the token, its configuration and its PIN file; made if it is not there. */
  readonly folder: string;
  /** At most 32 bytes. */
  readonly label: string;
  /** 4 to 255 characters each. */
  readonly pin: string;
  readonly soPin: string;
}

export interface SoftHsmToken {
  readonly library: string;
  readonly token: string;
  /** The PIN file, mode 0600. */
  readonly pinSource: string;
  /** What SOFTHSM2_CONF must name, in this process before the library is first initialised, and
   *  in the environment of every other process that opens the token. */
  readonly conf: string;
  /** False if the folder held a token of this label already. */
  readonly made: boolean;
}

/** Makes a SoftHSM token for development, the demo and tests: `softhsm2.conf`, `tokens/` (0700) and
 *  `pin` (0600) in one folder. The PIN beside the token is the reason that this is for development
 *  only. The token is made through the library, so that no PIN is on a command line.
 *
 *  Sets SOFTHSM2_CONF of this process, so it must run on the main thread (a worker's process.env
 *  never reaches native code) and while the library is not open here. A second call over the same
 *  folder finds the token, and keeps it and its PIN file. Throws `ModuleError`. */
export function createSoftHsmToken(options: SoftHsmOptions): SoftHsmToken {
  assert(isMainThread, 'a worker cannot set the environment of native code');
  const { library, folder, label } = options;
  const tokens = join(folder, 'tokens');
  const conf = join(folder, 'softhsm2.conf');
  const pinSource = join(folder, 'pin');
  mkdirSync(tokens, { recursive: true, mode: 0o700 });
  writeFileSync(conf, confText(tokens), { mode: 0o600 });
  process.env['SOFTHSM2_CONF'] = conf;
  const made = !hasToken(library, label);
  if (made) {
    writeFileSync(pinSource, `${options.pin}\n`, { mode: 0o600 });
    initialiseToken(library, options);
  }
  return { library, token: label, pinSource, conf, made };
}

const confText = (tokens: string): string =>
  [
    `directories.tokendir = ${tokens}`,
    'objectstore.backend = file',
    'log.level = ERROR',
    'slots.removable = false',
    '',
  ].join('\n');
