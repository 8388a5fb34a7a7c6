import { AuditError } from '../audit/audit-error.ts';
import { CallError } from '../base/call-error.ts';
import { RecoveryError } from '../engine/recovery-error.ts';
import { ModuleError } from '../keys/key.ts';
import { PolicyError } from '../policy/cedar.ts';
import { StoreError } from '../storage/store.ts';
import { Refusal } from './frame.ts';

/** What an operator reads when the server does not come up; never a stack, never a value. */
export async function refusing<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    const text = refusalText(cause);
    throw text === undefined ? cause : new Refusal(text, {}, cause);
  }
}

function refusalText(cause: unknown): string | undefined {
  if (cause instanceof ModuleError) return cause.message;
  if (cause instanceof StoreError) return `the vault does not open: ${STORE_TEXT[cause.fault]}`;
  if (cause instanceof AuditError) return cause.message;
  if (cause instanceof RecoveryError) return cause.message;
  if (cause instanceof PolicyError) return cause.message;
  if (cause instanceof CallError) {
    // For a start, the cause is the CKR name or the catalogue's complaint that the worker sent.
    const faults = cause.violations.map(({ field, text }) => `${field} ${text}`);
    if (typeof cause.cause === 'string' && cause.cause !== '') faults.push(cause.cause);
    return [cause.message, ...faults].join(': ');
  }
  const code = (cause as NodeJS.ErrnoException | undefined)?.code;
  return LISTEN_TEXT.get(code ?? '');
}

const LISTEN_TEXT: ReadonlyMap<string, string> = new Map([
  ['EADDRINUSE', 'the address is in use'],
  ['EADDRNOTAVAIL', 'the address is not one of this machine'],
  ['EACCES', 'the address needs more rights'],
]);

const STORE_TEXT = {
  fenced: 'a write failed',
  unknown: 'a write failed',
  full: 'the disk is full',
  corrupt: 'its files are damaged',
  'in-use': 'another process has it',
  missing: 'its files are not there',
  exists: 'there is one already',
  foreign: 'it belongs to another installation',
  moved:
    'it is not where it was made; if no server has the one it was copied from, ' +
    '`lockstep vault adopt --note TEXT` adopts it',
  closed: 'it is closed',
} as const satisfies Record<StoreError['fault'], string>;
