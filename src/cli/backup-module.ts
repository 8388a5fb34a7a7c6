import { CallError } from '../base/call-error.ts';
import type { ModuleOptions } from '../engine/backup/restore-module.ts';
import type { Config } from './config-schema.ts';
import { Refusal } from './frame.ts';

/** The module as the configuration names it. */
export const moduleOf = ({ module, log }: Config): ModuleOptions => ({
  module: {
    kind: 'pkcs11',
    library: module.library,
    token: module.token,
    pinSource: module.pin_source,
    rootBackup: module.root_backup,
  },
  root: module.root,
  checkpointKey: log.checkpoint,
});

/** A module that does not answer says why in CKR codes. */
export async function refusingModule<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    if (!(cause instanceof CallError)) throw cause;
    const code = typeof cause.cause === 'string' ? cause.cause : cause.reason;
    throw new Refusal(`${cause.message}: ${code}`, { reason: cause.reason, code }, cause);
  }
}
