import { openAuthenticator } from '../../src/auth/authenticator.ts';
import type { Logger } from '../../src/base/logger.ts';
import type { CallEnd } from '../../src/base/metrics.ts';
import { type Connection, connect } from '../../src/rpc/client.ts';
import type { RpcLimits } from '../../src/rpc/options.ts';
import { type RpcServer, startRpcServer } from '../../src/rpc/server.ts';
import { ReversingEngine } from './reversing-engine.ts';

export interface Harness {
  readonly engine: ReversingEngine;
  readonly server: RpcServer;
  readonly client: Connection;
  readonly address: string;
  /** Calls that the meter was told of. */
  readonly ended: CallEnd[];
  /** Lines logged, as event, fields and cause. */
  readonly logged: unknown[][];
  stop(): Promise<void>;
}

/** A server on a free loopback port with a client of the development caller `dev:dev`. */
export async function startHarness(limits: Partial<RpcLimits> = {}): Promise<Harness> {
  const engine = new ReversingEngine();
  const ended: CallEnd[] = [];
  const logged: unknown[][] = [];
  const log = (...line: unknown[]): void => void logged.push(line);
  const logger: Logger = { info: log, warn: log, error: log, flush: () => {} };
  const server = await startRpcServer({
    engine,
    authenticator: openAuthenticator({
      callers: [{ id: 'dev:dev', organisation: 'clinic' }],
      development: true,
    }),
    address: '127.0.0.1:0',
    transport: { plaintext: 'loopback-only' },
    logger,
    metrics: { call: (end) => void ended.push(end) },
    limits: { lameDuckMs: 0, ...limits },
  });
  const address = `127.0.0.1:${server.port}`;
  const client = connect({ address, transport: 'plaintext' });
  const stop = async (): Promise<void> => {
    client.close();
    await server.drain(1_000);
  };
  return { engine, server, client, address, ended, logged, stop };
}
