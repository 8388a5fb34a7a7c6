import { createHash } from 'node:crypto';
import { CallError } from '../base/call-error.ts';
import { LIMITS } from '../base/limits.ts';
import { invalid } from './validate.ts';

const GOOD_FOR_MS = 24 * 60 * 60 * 1_000;
const TOKEN_BYTES_MAX = 800;
const PAGE_ENTRIES = 100;

/** Whose list it is, and what was asked: caller, method, and the fields of the query. No patient
 *  data: the token holds an unkeyed hash of it, and tokens get logged. */
export type PageScope = readonly string[];

/** Opaque, bound to caller and query, good for a day and across restarts. It needs no secret: it
 *  says only where to go on, and what is listed there is decided anew for whoever asks. `after` is
 *  printable ASCII without spaces. */
export function writePageToken(
  after: string,
  scope: PageScope,
  nowMs: number = Date.now(),
): string {
  return Buffer.from(`2 ${nowMs} ${markOf(scope)} ${after}`).toString('base64url');
}

/** Where to go on; '' for the first page. Throws PAGE_TOKEN_INVALID. */
export function readPageToken(token: string, scope: PageScope, nowMs: number = Date.now()): string {
  if (token === '') return '';
  const text = token.length > TOKEN_BYTES_MAX ? '' : Buffer.from(token, 'base64url').toString();
  const match = /^2 (\d{1,15}) (\S+) ([!-~]+)$/.exec(text);
  const ageMs = nowMs - Number(match?.[1]);
  const good = ageMs >= 0 && ageMs <= GOOD_FOR_MS && match?.[2] === markOf(scope);
  if (!good || match?.[3] === undefined) throw new CallError('PAGE_TOKEN_INVALID');
  return match[3];
}

function markOf(scope: PageScope): string {
  return createHash('sha256').update(JSON.stringify(scope)).digest('base64url').slice(0, 12);
}

/** Entries of a page: 100 unless told. */
export function pageEntries(pageSize: number): number {
  if (pageSize > LIMITS.pageEntriesMax) {
    throw invalid({ field: 'page_size', text: `is above ${LIMITS.pageEntriesMax}` });
  }
  return pageSize === 0 ? PAGE_ENTRIES : pageSize;
}
