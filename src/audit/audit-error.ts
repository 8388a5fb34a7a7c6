/** What is wrong with a log or a part of it. `damaged`: bytes that must not change did.
 *  `missing`: a file is not there. `rollback`: newer parts than the log knows of. `signature`: the
 *  checkpoint is not by this key and origin. `in-use`: another process has the log. `malformed`:
 *  bytes given by a caller do not parse. `unsupported`: this platform cannot hold the lock. */
export type AuditFault =
  | 'damaged'
  | 'missing'
  | 'rollback'
  | 'signature'
  | 'in-use'
  | 'malformed'
  | 'unsupported';

/** A log that is refused. Names no value: only files of the log and indexes of entries. */
export class AuditError extends Error {
  override readonly name = 'AuditError';
  readonly fault: AuditFault;
  /** First entry in doubt, from 0; undefined where the fault is not about entries. */
  readonly index: number | undefined;

  constructor(fault: AuditFault, what: string, index?: number, cause?: unknown) {
    const where = index === undefined ? '' : `, first bad index ${index}`;
    super(`the log is refused (${fault}): ${what}${where}`, cause === undefined ? {} : { cause });
    this.fault = fault;
    this.index = index;
  }
}
