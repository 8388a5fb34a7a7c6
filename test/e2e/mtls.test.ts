import { readFileSync } from 'node:fs';
import { ChannelCredentials, Client } from '@grpc/grpc-js';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Connection, connect } from '../../src/rpc/client.ts';
import { DomainKind, DomainService } from '../../src/rpc/gen/lockstep/v1/domain_service_pb.ts';
import { TokenService } from '../../src/rpc/gen/lockstep/v1/token_service_pb.ts';
import { softHsmLibrary } from '../softhsm.ts';
import { Authority, type LeafOptions, type PemFiles, selfSigned } from './certificates.ts';
import { Installation } from './installation.ts';
import {
  type Ended,
  metric,
  type ServerProcess,
  type TemporaryFolder,
  temporaryFolder,
} from './processes.ts';

const library = softHsmLibrary();
const run = library === undefined ? describe.skip : describe;

const EHR = 'spiffe://hospital-a.example/ehr';
const uri = (value: string) => ['uri', value] as const;
const dns = (value: string) => ['dns', value] as const;

const CALLERS = `
[[callers]]
id = "${EHR}"
organisation = "hospital-a"
[[callers.grants]]
actions = ["Tokenize", "ReadDomain"]
domains = ["hospital-a/*"]

[[callers]]
id = "dns:officer.hospital-a.example"
organisation = "hospital-a"
[[callers.grants]]
actions = ["CreateDomain", "ReadDomain"]
domains = ["hospital-a/*"]

[[callers]]
id = "dev:dev"
organisation = "hospital-a"
[[callers.grants]]
actions = ["Tokenize", "ReadDomain", "CreateDomain"]
domains = ["hospital-a/*"]
`;

let files: TemporaryFolder;
let authority: Authority;
let other: Authority;
let installation: Installation;
let server: ServerProcess;
let officer: PemFiles;

/** By name, since TLS has no server name that is an IP address (RFC 6066 §3). */
const address = (): string => `localhost:${server.port}`;
const options = ({ cert, key }: PemFiles, ca = authority.file): string[] => [
  ...['--address', address(), '--ca', ca, '--cert', cert, '--key', key],
];
const tokenize = (client: PemFiles, ca?: string): Promise<Ended> =>
  installation.run(['tokenize', '--domain', 'mrn', '40817263', ...options(client, ca)]);

/** The same without a process of its own. */
function tokens(client: PemFiles): Promise<unknown> {
  const connection = connectAs(client);
  const answer = connection.stub(TokenService).tokenize({ domain: 'mrn', values: ['40817263'] });
  return answer.finally(() => connection.close());
}

const connectAs = ({ cert, key }: PemFiles, headers: Record<string, string> = {}): Connection =>
  connect({
    address: address(),
    transport: {
      ca: readFileSync(authority.file),
      certificate: readFileSync(cert),
      key: readFileSync(key),
    },
    headers,
  });

async function startTls(): Promise<void> {
  files = temporaryFolder();
  authority = new Authority(files.path, 'clients-and-servers');
  other = new Authority(files.path, 'other');
  const names = [['ip', '127.0.0.1'], dns('localhost')] as const;
  const own = authority.issue('server', { names, usage: 'server' });
  installation = new Installation(library!, {
    callers: CALLERS,
    server: [
      `cert = ${JSON.stringify(own.cert)}`,
      `key = ${JSON.stringify(own.key)}`,
      `client_ca = ${JSON.stringify(authority.file)}`,
    ],
  });
  await installation.make();
  server = await installation.serve();
}

run('mutual TLS, as in production', () => {
  beforeAll(async () => {
    await startTls();
    officer = authority.issue('officer', { names: [dns('officer.hospital-a.example')] });
    const made = await installation.run([
      ...['domain', 'create', 'hospital-a/mrn', '--kind', 'fpe', '--format', 'mrn:8'],
      ...['--assigner', 'urn:oid:2.16.840.1.113883.19.5', ...options(officer)],
    ]);
    expect(made).toMatchObject({ code: 0, stderr: '' });
  });
  afterAll(async () => {
    expect(await server.stop()).toBe(0);
    installation.remove();
    files.remove();
  });

  test('the right SPIFFE id tokenizes', async () => {
    const client = authority.issue('ehr', { names: [uri(EHR)] });
    const { code, stdout, stderr } = await tokenize(client);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout).toMatch(/^\d{8}\n$/);
  });

  test('who may make domains may not tokenize', async () => {
    const { code, stderr } = await tokenize(officer);
    expect(code).toBe(1);
    expect(stderr).toMatch(/ACCESS_DENIED/);
  });

  describe('TLS itself refuses', () => {
    const names = [uri(EHR)];
    const bad: readonly [name: string, make: () => PemFiles][] = [
      ['a certificate of itself', () => selfSigned(files.path, 'self', { names })],
      ['one of another authority', () => other.issue('of-other', { names })],
      ['an expired one', () => authority.issue('expired', { names, days: [-3, -1] })],
      ['one of the future', () => authority.issue('future', { names, days: [1, 3] })],
      ['one for servers', () => authority.issue('for-servers', { names, usage: 'server' })],
    ];
    test.each(bad)('%s', async (_name, make) => {
      const leaves = await metric(server, 'lockstep_log_leaves');
      await expect(tokens(make())).rejects.toMatchObject({ code: 14, reason: '' });
      expect(await metric(server, 'lockstep_log_leaves')).toBe(leaves);
    });

    test('a client without any', async () => {
      const ca = readFileSync(authority.file);
      const client = new Client(address(), ChannelCredentials.createSsl(ca));
      await expect(callOnce(client)).rejects.toMatchObject({ code: 14 });
      client.close();
    });

    test('a client without TLS', async () => {
      const client = new Client(address(), ChannelCredentials.createInsecure());
      await expect(callOnce(client)).rejects.toMatchObject({ code: 14 });
      client.close();
    });
  });

  describe('IDENTITY_INVALID, which tells nothing of the certificate', () => {
    const bad: readonly [name: string, names: LeafOptions['names']][] = [
      ['two SPIFFE ids', [uri(EHR), uri('spiffe://hospital-a.example/other')]],
      ['the same one twice', [uri(EHR), uri(EHR)]],
      ['an id that nobody configured', [uri('spiffe://hospital-b.example/ehr')]],
      ['a path below a known one', [uri(`${EHR}/x`)]],
      ['upper case', [uri('spiffe://hospital-a.example/EHR')]],
      ['an unknown DNS name', [dns('ehr.hospital-a.example')]],
      [
        'a known DNS name beside an unknown id',
        [uri('https://x.example/'), dns('officer.hospital-a.example')],
      ],
      ['a name in the text of another', [dns('x.example, URI:spiffe://hospital-a.example/ehr')]],
      ['a development caller as URI', [uri('dev:dev')]],
      ['no name but the subject', []],
    ];
    test.each(bad)('%s', async (name, names) => {
      const client = authority.issue(name.replaceAll(/\W+/g, '-'), { names });
      const text = 'the caller could not be identified';
      const wanted = { code: 16, reason: 'IDENTITY_INVALID', message: text, metadata: {} };
      await expect(tokens(client)).rejects.toMatchObject(wanted);
    });
  });

  test('the command line says so too', async () => {
    const names = [uri('spiffe://hospital-b.example/ehr')];
    const { code, stdout, stderr } = await tokenize(authority.issue('stranger', { names }));
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
    expect(stderr).toBe('lockstep: IDENTITY_INVALID: the caller could not be identified\n');
  });

  test('the header of development callers does nothing', async () => {
    const client = authority.issue('header', { names: [uri(EHR)] });
    const connection = connectAs(client, { 'lockstep-dev-caller': 'dev' });
    const spec = { id: 'hospital-a/other', kind: DomainKind.FPE, format: 'digits:9' };
    const made = connection.stub(DomainService).createDomain({ spec });
    await expect(made).rejects.toMatchObject({ reason: 'ACCESS_DENIED' });
    connection.close();
  });

  test('a server of another authority is not believed', async () => {
    const client = authority.issue('careful', { names: [uri(EHR)] });
    const { code, stderr } = await tokenize(client, other.file);
    expect(code).toBe(1);
    expect(stderr).toMatch(/^lockstep: UNAVAILABLE: /);
  });

  test('nothing that was refused is in its output', () => {
    expect(server.output()).not.toMatch(/hospital-b|\n\s+at |BEGIN|\.ts:/);
  });
});

run('plaintext', () => {
  let plain: Installation;
  beforeAll(async () => {
    plain = new Installation(library!, { callers: CALLERS });
    await plain.make();
  });
  afterAll(() => plain.remove());

  const identify = async (address: string): Promise<unknown> => {
    const headers = { 'lockstep-dev-caller': 'dev' };
    const connection = connect({ address, transport: 'plaintext', headers });
    const listed = connection.stub(DomainService).listDomains({});
    return listed.finally(() => connection.close());
  };
  const invalid = { code: 16, reason: 'IDENTITY_INVALID' };

  test('on loopback outside development nobody is anybody', async () => {
    const loopback = await plain.serve();
    await expect(identify(loopback.address)).rejects.toMatchObject(invalid);
    await loopback.kill();
  });

  test('off loopback is refused', async () => {
    const env = plain.env({ LOCKSTEP_SERVER_ADDRESS: '0.0.0.0:0' });
    const { code, stdout, stderr } = await plain.run(['serve'], { env });
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
    expect(stderr).toMatch(/server\.address: a loopback address is wanted/);
  });

  test('off loopback by its honest name: still nobody is anybody', async () => {
    const open = await plain.serve({
      LOCKSTEP_SERVER_ADDRESS: '0.0.0.0:0',
      LOCKSTEP_SERVER_PLAINTEXT: 'insecure-anywhere',
    });
    await expect(identify(open.address)).rejects.toMatchObject(invalid);
    await open.kill();
  });
});

function callOnce(client: Client): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const bytes = (buffer: Buffer): Buffer => buffer;
    const deadline = { deadline: Date.now() + 10_000 };
    const path = '/lockstep.v1.DomainService/ListDomains';
    client.makeUnaryRequest(path, bytes, bytes, Buffer.alloc(0), deadline, (error, answer) => {
      if (error === null) resolve(answer);
      else reject(error);
    });
  });
}
