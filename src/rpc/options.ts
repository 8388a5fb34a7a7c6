import type { Authenticator } from '../auth/authenticator.ts';
import { LIMITS } from '../base/limits.ts';
import type { Logger } from '../base/logger.ts';
import type { Metrics } from '../base/metrics.ts';
import type { Engine } from '../engine/calls.ts';

/** Files; read again within a minute of a change, without a restart. */
export interface TlsFiles {
  /** PEM: the server's certificate and those between it and the root. */
  readonly certificate: string;
  /** PEM, the private key. */
  readonly key: string;
  /** PEM: who signs the certificates of clients. Each client must show one. */
  readonly clientCa: string;
}

export interface RpcServerOptions {
  readonly engine: Engine;
  readonly authenticator: Authenticator;
  /** `host:port`; port 0 takes a free one. */
  readonly address: string;
  readonly transport:
    | { readonly tls: TlsFiles }
    /** No encryption, no client certificates: refused off loopback unless the name is honest. */
    | { readonly plaintext: 'loopback-only' | 'insecure-plaintext-anywhere' };
  readonly logger: Logger;
  /** Counts calls, once each, never once a value. */
  readonly metrics?: Pick<Metrics, 'call'>;
  readonly limits?: Partial<RpcLimits>;
}

export interface RpcLimits {
  /** MiB of memory that one connection may take. */
  readonly sessionMemoryMib: number;
  /** Open calls on one connection. */
  readonly streamsMax: number;
  /** A ping goes out after so long without traffic, and its answer is awaited so long. */
  readonly keepaliveMs: number;
  readonly keepaliveTimeoutMs: number;
  /** A connection is asked to go after this age (± 10 %), and ends this much later. */
  readonly connectionAgeMs: number;
  readonly connectionAgeGraceMs: number;
  /** A connection without calls is closed after this. */
  readonly connectionIdleMs: number;
  /** A stream without progress ends after this. */
  readonly streamStallMs: number;
  /** A drain goes on serving so long after health says NOT_SERVING, for balancers to see it. */
  readonly lameDuckMs: number;
  /** How often the TLS files are looked at. */
  readonly tlsRefreshMs: number;
}

/** Documented in proto/README.md. */
export const RPC_LIMITS: RpcLimits = {
  sessionMemoryMib: 64,
  streamsMax: 1_000,
  keepaliveMs: 60_000,
  keepaliveTimeoutMs: 20_000,
  connectionAgeMs: 3_600_000,
  connectionAgeGraceMs: 600_000,
  connectionIdleMs: 900_000,
  streamStallMs: LIMITS.streamStallMs,
  lameDuckMs: 5_000,
  tlsRefreshMs: 60_000,
};
