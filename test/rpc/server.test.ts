import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect as connectTcp } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect as connectTls } from 'node:tls';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openAuthenticator } from '../../src/auth/authenticator.ts';
import type { Logger } from '../../src/base/logger.ts';
import { type Connection, connect } from '../../src/rpc/client.ts';
import {
  Health,
  HealthCheckResponse_ServingStatus as Serving,
} from '../../src/rpc/gen/grpc/health/v1/health_pb.ts';
import { TokenService } from '../../src/rpc/gen/lockstep/v1/token_service_pb.ts';
import type { RpcServerOptions } from '../../src/rpc/options.ts';
import { type RpcServer, startRpcServer } from '../../src/rpc/server.ts';
import { startHarness } from './harness.ts';
import { ReversingEngine } from './reversing-engine.ts';

const events: string[] = [];
const logger: Logger = {
  info: (event) => void events.push(event),
  warn: (event) => void events.push(event),
  error: (event) => void events.push(event),
  flush: () => {},
};
const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
const good = { domain: 'ssn', values: ['ab'] };

describe('plaintext', () => {
  const options = (
    address: string,
    plaintext: 'loopback-only' | 'insecure-plaintext-anywhere',
  ) => ({
    engine: new ReversingEngine(),
    authenticator: openAuthenticator({ callers: [], development: true }),
    address,
    transport: { plaintext },
    logger,
  });

  test.each(['0.0.0.0:0', '[::]:0', '10.0.0.1:0', 'example.org:0', '0:0', '127.evil.org:0'])(
    'is refused on %s',
    async (address) => {
      const starting = startRpcServer(options(address, 'loopback-only'));
      await expect(starting).rejects.toThrow('plaintext is for loopback');
    },
  );

  test('is served elsewhere under its honest name, without development callers there', async () => {
    const server = await startRpcServer(options('0.0.0.0:0', 'insecure-plaintext-anywhere'));
    expect(server.port).toBeGreaterThan(0);
    await server.drain(0);
  });
});

describe('a drain', () => {
  test('finishes calls under way, tells health, and ends when nothing is left', async () => {
    const harness = await startHarness({ lameDuckMs: 150 });
    harness.engine.before = () => sleep(400);
    const health = harness.client.stub(Health);
    expect((await health.check({})).status).toBe(Serving.SERVING);
    const call = harness.client.stub(TokenService).tokenize(good);
    await expect.poll(() => harness.server.active()).toBe(1);
    const started = Date.now();
    const drained = harness.server.drain(20_000);
    await sleep(20);
    const service = 'lockstep.v1.TokenService';
    expect((await health.check({ service })).status).toBe(Serving.NOT_SERVING);
    expect((await call).tokens).toEqual(['ba']);
    await drained;
    expect(Date.now() - started).toBeLessThan(10_000);
    await expect(harness.client.stub(TokenService).tokenize(good)).rejects.toMatchObject({
      code: 14,
    });
    harness.client.close();
  });

  test('cuts what is left after the grace', async () => {
    const harness = await startHarness();
    harness.engine.before = () => sleep(60_000);
    const call = harness.client.stub(TokenService).tokenize(good);
    const ended = expect(call).rejects.toMatchObject({ reason: '' });
    await expect.poll(() => harness.server.active()).toBe(1);
    await harness.server.drain(200);
    await ended;
    harness.client.close();
  });

  test('does not wait for a client that only sits on its connection', async () => {
    const harness = await startHarness();
    const socket = connectTcp(Number(harness.address.split(':')[1]), '127.0.0.1');
    socket.on('error', () => {});
    await new Promise((resolve) => socket.once('connect', resolve));
    const started = Date.now();
    await harness.server.drain(20_000);
    expect(Date.now() - started).toBeLessThan(10_000);
    socket.destroy();
    harness.client.close();
  });
});

/** A certificate authority and what it signs, by the openssl command. */
class Authority {
  readonly folder = mkdtempSync(join(tmpdir(), 'lockstep-tls-'));

  constructor(name = 'ca') {
    this.#openssl(
      'req',
      '-x509',
      '-newkey',
      'ec',
      '-pkeyopt',
      'ec_paramgen_curve:P-256',
      '-nodes',
      '-days',
      '2',
      '-subj',
      `/CN=${name}`,
      '-keyout',
      'ca.key',
      '-out',
      'ca.pem',
    );
  }

  #openssl(...args: string[]): void {
    execFileSync('openssl', args, { cwd: this.folder, stdio: 'pipe' });
  }

  issue(name: string, san: string): void {
    writeFileSync(join(this.folder, `${name}.ext`), `subjectAltName=${san}\n`);
    this.#openssl(
      'req',
      '-newkey',
      'ec',
      '-pkeyopt',
      'ec_paramgen_curve:P-256',
      '-nodes',
      '-subj',
      `/CN=${name}`,
      '-keyout',
      `${name}.key`,
      '-out',
      `${name}.csr`,
    );
    this.#openssl(
      'x509',
      '-req',
      '-in',
      `${name}.csr`,
      '-CA',
      'ca.pem',
      '-CAkey',
      'ca.key',
      '-CAcreateserial',
      '-days',
      '1',
      '-extfile',
      `${name}.ext`,
      '-out',
      `${name}.pem`,
    );
  }

  file(name: string): string {
    return join(this.folder, name);
  }

  read(name: string): Buffer {
    return readFileSync(this.file(name));
  }
}

describe('mutual TLS', () => {
  const ours = new Authority();
  const theirs = new Authority('other');
  const engine = new ReversingEngine();
  let server: RpcServer;
  const clients: Connection[] = [];
  const tls = {
    certificate: ours.file('server.pem'),
    key: ours.file('server.key'),
    clientCa: ours.file('ca.pem'),
  };
  const options: RpcServerOptions = {
    engine,
    authenticator: openAuthenticator({
      callers: [{ id: 'spiffe://clinic.example/ehr', organisation: 'clinic' }],
      development: true,
    }),
    address: '127.0.0.1:0',
    transport: { tls },
    logger,
    limits: { lameDuckMs: 0, tlsRefreshMs: 100 },
  };

  beforeAll(async () => {
    ours.issue('server', 'DNS:localhost,IP:127.0.0.1');
    ours.issue('ehr', 'URI:spiffe://clinic.example/ehr');
    ours.issue('stranger', 'URI:spiffe://clinic.example/other');
    theirs.issue('ehr', 'URI:spiffe://clinic.example/ehr');
    server = await startRpcServer(options);
  });
  afterAll(async () => {
    for (const client of clients) client.close();
    await server.drain(500);
    rmSync(ours.folder, { recursive: true });
    rmSync(theirs.folder, { recursive: true });
  });

  const as = (authority: Authority, name: string, address = `localhost:${server.port}`) => {
    const client = connect({
      address,
      transport: {
        ca: ours.read('ca.pem'),
        certificate: authority.read(`${name}.pem`),
        key: authority.read(`${name}.key`),
      },
    });
    clients.push(client);
    return client.stub(TokenService);
  };

  test('the certificate names the caller, on every call of its connection', async () => {
    const ehr = as(ours, 'ehr');
    for (let i = 0; i < 3; i++) {
      expect((await ehr.tokenize(good)).tokens).toEqual(['ba']);
      expect(engine.calls.at(-1)).toMatchObject({ caller: { id: 'spiffe://clinic.example/ehr' } });
    }
  });

  test('one that nobody configured is UNAUTHENTICATED, on loopback too', async () => {
    await expect(as(ours, 'stranger').tokenize(good)).rejects.toMatchObject({
      code: 16,
      reason: 'IDENTITY_INVALID',
    });
  });

  test('one of another authority, and none at all, do not get in', async () => {
    await expect(as(theirs, 'ehr').tokenize(good, { deadlineMs: 2_000 })).rejects.toMatchObject({
      reason: '',
    });
    const plain = connect({ address: `127.0.0.1:${server.port}`, transport: 'plaintext' });
    clients.push(plain);
    const call = plain.stub(TokenService).tokenize(good, { deadlineMs: 2_000 });
    await expect(call).rejects.toMatchObject({ reason: '' });
  });

  test('a renewed certificate is shown without a restart, half a renewal is not', async () => {
    const shown = (): Promise<string> =>
      new Promise((resolve, reject) => {
        const socket = connectTls({
          port: server.port,
          host: '127.0.0.1',
          servername: 'localhost',
          ca: ours.read('ca.pem'),
          cert: ours.read('ehr.pem'),
          key: ours.read('ehr.key'),
          ALPNProtocols: ['h2'],
        });
        socket.once('error', reject);
        socket.once('secureConnect', () => {
          resolve(socket.getPeerCertificate().serialNumber);
          socket.destroy();
        });
      });
    const before = await shown();
    ours.issue('next', 'DNS:localhost,IP:127.0.0.1');
    copyFileSync(ours.file('next.pem'), tls.certificate);
    await expect.poll(() => events).toContain('tls-files-unusable');
    expect(await shown()).toBe(before);
    copyFileSync(ours.file('next.key'), tls.key);
    await expect.poll(() => events).toContain('tls-files-renewed');
    expect(await shown()).not.toBe(before);
    expect((await as(ours, 'ehr').tokenize(good)).tokens).toEqual(['ba']);
  });

  test.each([
    ['a missing file', { ...tls, key: '/nonexistent/key.pem' }],
    ['a key of another certificate', { ...tls, key: ours.file('ehr.key') }],
  ])('%s keeps the server from starting', async (_name, files) => {
    await expect(startRpcServer({ ...options, transport: { tls: files } })).rejects.toThrow();
  });
});
