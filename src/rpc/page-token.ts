import { createHash } from 'node:crypto';
import { CallError } from '../base/call-error.ts';

const GOOD_FOR_MS = 24 * 60 * 60 * 1_000;
const TOKEN_BYTES_MAX = 400;

/** Opaque, bound to the caller, good for a day and across restarts. It needs no secret: it says
 *  only where to go on, and what is listed there is decided anew for whoever asks. */
export function writePageToken(after: string, caller: string, nowMs: number = Date.now()): string {
  return Buffer.from(`1 ${nowMs} ${markOf(caller)} ${after}`).toString('base64url');
}

/** The id to go on after; '' for the first page. Throws PAGE_TOKEN_INVALID. */
export function readPageToken(token: string, caller: string, nowMs: number = Date.now()): string {
  if (token === '') return '';
  const text = token.length > TOKEN_BYTES_MAX ? '' : Buffer.from(token, 'base64url').toString();
  const match = /^1 (\d{1,15}) (\S+) ([a-z0-9/-]+)$/.exec(text);
  const ageMs = nowMs - Number(match?.[1]);
  const good = ageMs >= 0 && ageMs <= GOOD_FOR_MS && match?.[2] === markOf(caller);
  if (!good || match?.[3] === undefined) throw new CallError('PAGE_TOKEN_INVALID');
  return match[3];
}

function markOf(caller: string): string {
  return createHash('sha256').update(caller).digest('base64url').slice(0, 12);
}
