import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createSoftHsmToken, type SoftHsmToken } from '../src/keys/softhsm.ts';

/** As in keys/setup.mjs, which sets LOCKSTEP_PKCS11_MODULE for `npm test`. */
const WELL_KNOWN = [
  '/usr/lib/softhsm/libsofthsm2.so',
  '/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so',
  '/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so',
  '/usr/lib64/pkcs11/libsofthsm2.so',
  '/usr/lib64/softhsm/libsofthsm2.so',
  '/usr/local/lib/softhsm/libsofthsm2.so',
  '/opt/homebrew/lib/softhsm/libsofthsm2.so',
];

/** Path of the SoftHSM library, or undefined after a warning: tests that need it are skipped, and
 *  are seen to be. */
export function softHsmLibrary(): string | undefined {
  const named = process.env['LOCKSTEP_PKCS11_MODULE'];
  const library = named ?? WELL_KNOWN.find((path) => existsSync(path));
  if (library === undefined || !existsSync(library)) {
    console.warn(`no SoftHSM module (${library ?? 'LOCKSTEP_PKCS11_MODULE is not set'}): skipped`);
    return undefined;
  }
  return library;
}

export interface TestToken extends SoftHsmToken {
  readonly folder: string;
  readonly pin: string;
  readonly soPin: string;
  /** Environment for another process that opens the token. */
  readonly env: NodeJS.ProcessEnv;
  /** Removes the folder; close the module first. */
  remove(): void;
}

/** A fresh token in a temporary folder; sets SOFTHSM2_CONF of this process. The library reads it
 *  when it is initialised, so a process may use one token after the other, never two at once. */
export function createTestToken(library: string, label = 'lockstep-test'): TestToken {
  const folder = mkdtempSync(join(tmpdir(), 'lockstep-softhsm-'));
  const pin = 'test-pin-1234';
  const soPin = 'test-so-pin-5678';
  const token = createSoftHsmToken({ library, folder, label, pin, soPin });
  const env = { ...process.env, SOFTHSM2_CONF: token.conf };
  const remove = (): void => rmSync(folder, { recursive: true, force: true });
  return { ...token, folder, pin, soPin, env, remove };
}

/** Whether a program can be run, e.g. `pkcs11-tool`; warns where it cannot. */
export function hasProgram(name: string): boolean {
  try {
    execFileSync('sh', ['-c', `command -v ${name}`], { stdio: 'ignore' });
    return true;
  } catch {
    console.warn(`${name} is not installed: its test is skipped`);
    return false;
  }
}
