/** What a start found wrong between vault, log, catalogue and module; nothing is served then. The
 *  text is for operators. */
export class RecoveryError extends Error {
  override readonly name = 'RecoveryError';
}
