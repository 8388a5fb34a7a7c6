import { isIP } from 'node:net';
import { logVerbosity, Server, type ServerOptions, setLogVerbosity } from '@grpc/grpc-js';
import { HealthImplementation } from 'grpc-health-check';
import { isLoopback } from '../auth/dev.ts';
import { CallError } from '../base/call-error.ts';
import { LIMITS } from '../base/limits.ts';
import { accessHandlers } from './access-service.ts';
import { type Edge, serve } from './adapter.ts';
import { credentialsFor } from './credentials.ts';
import { domainHandlers } from './domain-service.ts';
import { CallEdge } from './edge.ts';
import { ServerReflection } from './gen/grpc/reflection/v1/reflection_pb.ts';
import { AccessService } from './gen/lockstep/v1/access_service_pb.ts';
import { DomainService } from './gen/lockstep/v1/domain_service_pb.ts';
import { JobService } from './gen/lockstep/v1/job_service_pb.ts';
import { TokenService } from './gen/lockstep/v1/token_service_pb.ts';
import { VaultService } from './gen/lockstep/v1/vault_service_pb.ts';
import { jobHandlers } from './job-service.ts';
import { RPC_LIMITS, type RpcLimits, type RpcServerOptions } from './options.ts';
import { loadDescriptors, reflectionHandlers } from './reflection.ts';
import { statusOf } from './status.ts';
import { tokenCodecs } from './token-codecs.ts';
import { tokenHandlers } from './token-service.ts';
import { windowStreams } from './transport.ts';
import { vaultCodecs, vaultHandlers } from './vault-service.ts';

const SERVICES = [TokenService, DomainService, AccessService, VaultService, JobService].map(
  (service) => service.typeName,
);
const HEALTH = 'grpc.health.v1.Health';
const ALPHA = 'grpc.reflection.v1alpha.ServerReflection';

export interface RpcServer {
  /** The port taken, where the address said 0. */
  readonly port: number;
  /** Calls under way. */
  active(): number;
  /** Tells health checkers; the start is SERVING. */
  setServing(serving: boolean): void;
  /** Health says NOT_SERVING, a lame duck goes on serving, streams end with DRAINING, calls under
   *  way end, then the connections; what is left after `graceMs` is cut. Never rejects. */
  drain(graceMs: number): Promise<void>;
}

/** Serves the contract, health and reflection. Rejects where the address is taken, a TLS file
 *  cannot be read, or plaintext was asked for off loopback without its honest name. */
export async function startRpcServer(options: RpcServerOptions): Promise<RpcServer> {
  refuseOpenPlaintext(options);
  // It would write texts of its own, with addresses and input in them, between our log lines.
  setLogVerbosity(logVerbosity.NONE);
  const limits: RpcLimits = { ...RPC_LIMITS, ...options.limits };
  const draining = new AbortController();
  const edge = new CallEdge({
    authenticator: options.authenticator,
    logger: options.logger,
    metrics: options.metrics,
    draining: draining.signal,
  });
  const server = new Server({ ...channelOptions(limits), interceptors: [windowStreams] });
  const { engine } = options;
  const { streamStallMs } = limits;
  serve(server, TokenService, tokenCodecs, tokenHandlers(engine, streamStallMs), edge);
  serve(server, DomainService, {}, domainHandlers(engine), edge);
  serve(server, AccessService, {}, accessHandlers(engine), edge);
  serve(server, VaultService, vaultCodecs, vaultHandlers(engine, streamStallMs), edge);
  serve(server, JobService, {}, jobHandlers(engine, streamStallMs), edge);
  serveReflection(server);
  const health = new HealthImplementation();
  health.addToServer(server);
  const setServing = (serving: boolean): void => {
    // '' speaks for the whole server.
    for (const name of ['', ...SERVICES]) {
      health.setStatus(name, serving ? 'SERVING' : 'NOT_SERVING');
    }
  };
  const port = await bind(server, options, limits.tlsRefreshMs);
  setServing(true);
  const active = (): number => edge.active;
  return {
    port,
    active,
    setServing,
    drain: (graceMs) => drain(server, { graceMs, limits, draining, setServing, active }),
  };
}

/** Who it is for is nobody's secret: no caller is asked for, and no call is counted. */
function serveReflection(server: Server): void {
  const names: readonly string[] = [...SERVICES, HEALTH, ServerReflection.typeName, ALPHA];
  const handlers = reflectionHandlers<undefined>(loadDescriptors(), names);
  const edge: Edge<undefined> = {
    open: () => undefined,
    failed: () => statusOf(new CallError('MESSAGE_MALFORMED')),
    done: () => {},
  };
  serve(server, ServerReflection, {}, handlers, edge);
  // The messages of v1alpha are those of v1, field by field.
  serve(server, { ...ServerReflection, typeName: ALPHA }, {}, handlers, edge);
}

function channelOptions(limits: RpcLimits): ServerOptions {
  return {
    'grpc.max_concurrent_streams': limits.streamsMax,
    // Twice the limit, so that a message somewhat too large gets a reason and not only a code.
    'grpc.max_receive_message_length': 2 * LIMITS.requestBytesMax,
    'grpc.max_send_message_length': LIMITS.answerBytesMax,
    'grpc.keepalive_time_ms': limits.keepaliveMs,
    'grpc.keepalive_timeout_ms': limits.keepaliveTimeoutMs,
    'grpc.max_connection_age_ms': limits.connectionAgeMs,
    'grpc.max_connection_age_grace_ms': limits.connectionAgeGraceMs,
    'grpc.max_connection_idle_ms': limits.connectionIdleMs,
    'grpc-node.max_session_memory': limits.sessionMemoryMib,
  };
}

function refuseOpenPlaintext({ transport, address }: RpcServerOptions): void {
  if (!('plaintext' in transport) || transport.plaintext !== 'loopback-only') return;
  const host = address.slice(0, address.lastIndexOf(':')).replace(/^\[(.*)\]$/, '$1');
  // A name other than localhost may resolve to anything, tomorrow if not today.
  const loopback = isIP(host) === 0 ? host === 'localhost' : isLoopback(host);
  if (!loopback) {
    throw new Error('plaintext is for loopback addresses; elsewhere configure TLS');
  }
}

async function bind(
  server: Server,
  { transport, address, logger }: RpcServerOptions,
  refreshMs: number,
): Promise<number> {
  const credentials = await credentialsFor(transport, logger, refreshMs);
  return new Promise((resolve, reject) => {
    server.bindAsync(address, credentials, (error, port) => {
      if (error === null) resolve(port);
      else reject(bindFault(error));
    });
  });
}

/** With the code of the fault, e.g. `EADDRINUSE`, which grpc-js hides in the text that it makes of
 *  all addresses that a name stands for. */
function bindFault(error: Error): Error {
  const code = /\blisten (E[A-Z]+)\b/.exec(error.message)?.[1];
  return code === undefined ? error : Object.assign(new Error(error.message), { code });
}

interface Drain {
  readonly graceMs: number;
  readonly limits: RpcLimits;
  readonly draining: AbortController;
  readonly setServing: (serving: boolean) => void;
  readonly active: () => number;
}

const TICK_MS = 25;
/** Ticks without a call before connections that only watch health are closed. */
const QUIET_TICKS = 8;

async function drain(server: Server, { graceMs, limits, ...rest }: Drain): Promise<void> {
  const endMs = Date.now() + graceMs;
  rest.setServing(false);
  await sleep(Math.min(limits.lameDuckMs, graceMs / 2));
  rest.draining.abort();
  let closed = false;
  server.tryShutdown(() => {
    closed = true;
  });
  // tryShutdown waits for clients that vanished (grpc-node#1458) and for watchers of health.
  for (let quiet = 0; !closed && quiet < QUIET_TICKS && Date.now() < endMs; ) {
    await sleep(TICK_MS);
    quiet = rest.active() === 0 ? quiet + 1 : 0;
  }
  server.forceShutdown();
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms);
  });
}
