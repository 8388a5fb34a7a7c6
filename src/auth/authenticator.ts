import { CallError } from '../base/call-error.ts';
import type { Caller } from '../base/caller.ts';
import { devCaller } from './dev.ts';
import { type CallerDirectory, callerOfCertificate, directoryOf } from './identity.ts';

/** The other end of a connection, as the edge saw it. */
export interface Peer {
  /** IP address without a port, as `addressOf` makes it; '' where unknown. */
  readonly address: string;
  /** `subjectaltname` of the client certificate, exactly as Node prints it; only of one that TLS
   *  has verified. Undefined where there is none. */
  readonly certificateSan: string | undefined;
  /** A header of the call by its lower-case name. */
  readonly metadata: (name: string) => string | undefined;
}

/** Who calls. */
export interface Authenticator {
  /** Throws `CallError` IDENTITY_INVALID, whatever the fault. With a certificate the answer is the
   *  same for the whole connection, so the edge may keep it; without, it depends on a header. */
  identify(peer: Peer): Caller;
}

export interface AuthenticatorOptions {
  /** The callers of the configuration; nobody else gets in. */
  readonly callers: readonly Caller[];
  /** Whether a peer on loopback without a certificate is a development caller. */
  readonly development: boolean;
}

/** A certificate, where there is one, always decides: a bad one never falls back to a development
 *  caller. */
export function openAuthenticator(options: AuthenticatorOptions): Authenticator {
  const directory: CallerDirectory = directoryOf(options.callers);
  return {
    identify(peer) {
      if (peer.certificateSan !== undefined) {
        return callerOfCertificate(peer.certificateSan, directory);
      }
      if (options.development) return devCaller(peer, directory);
      throw new CallError('IDENTITY_INVALID');
    },
  };
}
