import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Command } from 'commander';
import { type ConnectOptions, connect } from '../rpc/client.ts';
import { GRPC_CODE } from '../rpc/codes.ts';
import { RpcError } from '../rpc/rpc-error.ts';
import { type Verbs, verbsOf } from '../rpc/verbs.ts';
import { addressHost } from './config-schema.ts';
import { type Frame, type Io, Refusal, UsageError } from './frame.ts';

/** How a command reaches its server. */
export interface ConnectionOptions {
  readonly address?: string;
  readonly plaintext?: boolean;
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: string;
  readonly devCaller?: string;
}

const ADDRESS = '127.0.0.1:50051';
/** By which a development server on loopback is told who calls. */
export const DEV_CALLER_HEADER = 'lockstep-dev-caller';

export function addConnectionOptions(command: Command): Command {
  return command
    .option('--address <host:port>', `the server; default: LOCKSTEP_ADDRESS, else ${ADDRESS}`)
    .option('--ca <file>', 'PEM of who signs servers; default: LOCKSTEP_CA')
    .option('--cert <file>', 'PEM of your certificate; default: LOCKSTEP_CERT')
    .option('--key <file>', 'PEM of its key; default: LOCKSTEP_KEY')
    .option('--plaintext', 'no TLS, as for `lockstep serve --dev`; so without --ca, on loopback')
    .option('--dev-caller <name>', 'who calls, as a development server takes it; e.g. clinician');
}

/** Opens a connection for the time of `work`. Faults of calls become Refusals. */
export async function withServer<T>(
  frame: Frame,
  options: ConnectionOptions,
  work: (verbs: Verbs) => Promise<T>,
): Promise<T> {
  const connection = connect(connectOptions(frame.io, options));
  try {
    return await work(verbsOf(connection));
  } catch (cause) {
    throw cause instanceof RpcError ? refusalOf(cause) : cause;
  } finally {
    connection.close();
  }
}

function connectOptions(io: Io, options: ConnectionOptions): ConnectOptions {
  const address = options.address ?? io.env['LOCKSTEP_ADDRESS'] ?? ADDRESS;
  const host = addressHost(address);
  if (host === undefined) throw new UsageError('--address is HOST:PORT');
  const caller = options.devCaller;
  return {
    address,
    transport: transportOf(io, options, host),
    ...(caller === undefined ? {} : { headers: { [DEV_CALLER_HEADER]: caller } }),
  };
}

function transportOf(
  io: Io,
  options: ConnectionOptions,
  host: string,
): ConnectOptions['transport'] {
  const ca = options.ca ?? io.env['LOCKSTEP_CA'];
  const certificate = options.cert ?? io.env['LOCKSTEP_CERT'];
  const key = options.key ?? io.env['LOCKSTEP_KEY'];
  if (options.plaintext === true) return 'plaintext';
  if (ca !== undefined && certificate !== undefined && key !== undefined) {
    return { ca: readPem(ca), certificate: readPem(certificate), key: readPem(key) };
  }
  const none = ca === undefined && certificate === undefined && key === undefined;
  if (none && LOOPBACK.test(host)) return 'plaintext';
  throw new UsageError('--ca, --cert and --key are wanted, all three; or --plaintext');
}

const LOOPBACK = /^(localhost|::1|127(\.\d{1,3}){3})$/;

function readPem(file: string): Buffer {
  try {
    return readFileSync(file);
  } catch (cause) {
    const code = cause instanceof Error && 'code' in cause ? cause.code : 'failed';
    throw new Refusal(`${file} cannot be read: ${code}`, {}, cause);
  }
}

/** Reasons, texts and violations are fixed texts of the server's: they never quote input. */
function refusalOf(error: RpcError): Refusal {
  const places = error.violations.map(({ field, text }) => `; ${field}: ${text}`).join('');
  const wait =
    error.retryDelayMs === undefined
      ? ''
      : `; try again in ${Math.ceil(error.retryDelayMs / 1_000)} s`;
  const reason = error.reason === '' ? nameOf(error.code) : error.reason;
  return new Refusal(`${reason}: ${textOf(error)}${places}${wait}`, {
    reason,
    code: nameOf(error.code),
    violations: error.violations,
    metadata: error.metadata,
    ...(error.retryDelayMs === undefined ? {} : { retryDelayMs: error.retryDelayMs }),
  });
}

/** Without a reason the text is not the server's: only what is said of the connection is shown. */
function textOf(error: RpcError): string {
  if (error.reason !== '' || error.code === GRPC_CODE.UNAVAILABLE) return error.message;
  return error.code === GRPC_CODE.DEADLINE_EXCEEDED ? 'no answer in time' : 'the call failed';
}

const nameOf = (code: number): string =>
  Object.entries(GRPC_CODE).find(([, number]) => number === code)?.[0] ?? `CODE_${code}`;

const ATTEMPTS_MAX = 4;
const WAIT_MS = 250;
const WAIT_MAX_MS = 5_000;
/** Beside all of UNAVAILABLE. */
const SOON: ReadonlySet<string> = new Set(['OVERLOADED', 'STREAM_STALLED']);

/** Repeats a call that may succeed soon; safe since the same request id comes with each attempt.
 *  A used-up quota is not waited for: that takes until the next day. */
export async function retrying<T>(call: () => Promise<T>, signal: AbortSignal): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await call();
    } catch (cause) {
      const waitMs = waitOf(cause, attempt);
      if (waitMs === undefined || signal.aborted) throw cause;
      await sleep(waitMs, undefined, { signal });
    }
  }
}

/** A signal that ends with one batch: listeners on the command's own would pile up, one a batch. */
export async function withOwnSignal<T>(
  signal: AbortSignal,
  work: (own: AbortSignal) => Promise<T>,
): Promise<T> {
  const stop = new AbortController();
  const onAbort = (): void => stop.abort(signal.reason);
  signal.addEventListener('abort', onAbort);
  try {
    signal.throwIfAborted();
    return await work(stop.signal);
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}

function waitOf(cause: unknown, attempt: number): number | undefined {
  if (!(cause instanceof RpcError) || attempt >= ATTEMPTS_MAX) return undefined;
  const soon = cause.code === GRPC_CODE.UNAVAILABLE || SOON.has(cause.reason);
  if (!soon) return undefined;
  const waitMs = cause.retryDelayMs ?? WAIT_MS * 2 ** (attempt - 1);
  return waitMs <= WAIT_MAX_MS ? waitMs : undefined;
}
