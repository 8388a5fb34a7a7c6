import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { isIP } from 'node:net';

/** Whether a call made now would be served; `reason` is a fixed text, e.g. a Reason. */
export interface Readiness {
  readonly ready: boolean;
  readonly reason?: string;
}

export interface AdminOptions {
  /** `127.0.0.1:PORT` or `[::1]:PORT`; port 0 takes a free one. No other address is accepted. */
  readonly address: string;
  readonly ready: () => Readiness;
  readonly metrics: (request: IncomingMessage, response: ServerResponse) => void;
}

export interface AdminServer {
  /** As bound, e.g. `127.0.0.1:9464`. */
  readonly address: string;
  close(): Promise<void>;
}

// A scrape is a few kilobytes on the same machine: whoever needs longer than this hangs.
const REQUEST_MS = 5_000;
const CONNECTIONS_MAX = 32;
const OWN_HOST = /^(?:127(?:\.\d{1,3}){3}|\[::1\]|localhost)(?::\d+)?$/;

/** Metrics and health for the operators of this machine: plain HTTP, so loopback only. */
export async function openAdminServer(options: AdminOptions): Promise<AdminServer> {
  const { host, port } = loopbackAddress(options.address);
  const server = createServer(
    { requestTimeout: REQUEST_MS, headersTimeout: REQUEST_MS, connectionsCheckingInterval: 1_000 },
    (request, response) => route(options, request, response),
  );
  server.maxConnections = CONNECTIONS_MAX;
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen({ host, port, exclusive: true }, resolve);
  });
  return { address: boundAddress(server), close: () => closeServer(server) };
}

/** Throws a RangeError unless the address is a loopback number: a name may resolve elsewhere. */
export function loopbackAddress(address: string): { host: string; port: number } {
  const match = /^(?:\[([0-9a-f:]+)\]|([0-9.]+)):(\d{1,5})$/.exec(address);
  const host = match?.[1] ?? match?.[2] ?? '';
  const port = Number(match?.[3]);
  const loopback = host === '::1' || (isIP(host) === 4 && host.startsWith('127.'));
  if (!loopback || port > 65_535) {
    throw new RangeError('the admin address must be 127.x.x.x:PORT or [::1]:PORT');
  }
  return { host, port };
}

function route(options: AdminOptions, request: IncomingMessage, response: ServerResponse): void {
  const path = (request.url ?? '').split('?', 1)[0];
  // A page of another origin must not read this through the operator's browser (DNS rebinding).
  if (!OWN_HOST.test(request.headers.host ?? '')) answer(response, 421, { error: 'host' });
  else if (request.method !== 'GET') answer(response, 405, { error: 'method' });
  else if (path === '/metrics') options.metrics(request, response);
  else if (path === '/healthz') answer(response, 200, { live: true });
  else if (path === '/readyz') answerReadiness(response, options.ready());
  else answer(response, 404, { error: 'path' });
}

function answerReadiness(response: ServerResponse, state: Readiness): void {
  answer(response, state.ready ? 200 : 503, state);
}

function answer(response: ServerResponse, status: number, body: object): void {
  response.writeHead(status, {
    'content-type': 'application/json',
    'cache-control': 'no-store',
  });
  response.end(`${JSON.stringify(body)}\n`);
}

function boundAddress(server: Server): string {
  const bound = server.address();
  if (bound === null || typeof bound === 'string') throw new Error('the admin server is not bound');
  return bound.family === 'IPv6'
    ? `[${bound.address}]:${bound.port}`
    : `${bound.address}:${bound.port}`;
}

function closeServer(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve());
    server.closeAllConnections();
  });
}
