import { isIP } from 'node:net';
import { CallError } from '../base/call-error.ts';
import type { Caller } from '../base/caller.ts';
import type { CallerDirectory } from './identity.ts';

/** The header by which a development client picks its caller, by the part behind `dev:`. */
export const DEV_CALLER_HEADER = 'lockstep-dev-caller';
const DEV_CALLER_DEFAULT = 'dev';
const NAME = /^[a-z0-9-]{1,63}$/;

/** The development caller of a peer on loopback. Only for a server in development mode: whoever
 *  can open a socket on the machine is whom he says he is. Throws `CallError` IDENTITY_INVALID. */
export function devCaller(
  peer: { readonly address: string; readonly metadata: (name: string) => string | undefined },
  callers: CallerDirectory,
): Caller {
  const name = peer.metadata(DEV_CALLER_HEADER) ?? DEV_CALLER_DEFAULT;
  const caller =
    isLoopback(peer.address) && NAME.test(name) ? callers.get(`dev:${name}`) : undefined;
  if (caller === undefined) throw new CallError('IDENTITY_INVALID');
  return caller;
}

/** 127.0.0.0/8, ::1, and the former mapped into IPv6; nothing else, and no name. */
export function isLoopback(address: string): boolean {
  const bare = address.toLowerCase().startsWith('::ffff:') ? address.slice(7) : address;
  if (isIP(bare) === 4) return bare.startsWith('127.');
  return address === '::1';
}

/** The address in what grpc-js calls a peer, `address:port` with an IPv6 address unbracketed:
 *  `127.0.0.1:41000`, `::1:41000`. '' where it is none, as for a socket in the file system. */
export function addressOf(peer: string): string {
  const colon = peer.lastIndexOf(':');
  if (colon < 0 || !/^\d{1,5}$/.test(peer.slice(colon + 1))) return '';
  const address = peer.slice(0, colon).replace(/^\[(.*)\]$/, '$1');
  return isIP(address) === 0 ? '' : address;
}
