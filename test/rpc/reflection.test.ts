import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { homedir } from 'node:os';
import { delimiter, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ServerReflection } from '../../src/rpc/gen/grpc/reflection/v1/reflection_pb.ts';
import { ServerReflection as Alpha } from '../../src/rpc/gen/grpc/reflection/v1alpha/reflection_pb.ts';
import { type Harness, startHarness } from './harness.ts';

let harness: Harness;
beforeAll(async () => {
  harness = await startHarness();
});
afterAll(() => harness.stop());

const SERVICES = [
  'lockstep.v1.TokenService',
  'lockstep.v1.DomainService',
  'lockstep.v1.AccessService',
  'lockstep.v1.VaultService',
  'lockstep.v1.JobService',
  'grpc.health.v1.Health',
  'grpc.reflection.v1.ServerReflection',
  'grpc.reflection.v1alpha.ServerReflection',
];

describe.each([
  ['v1', ServerReflection],
  ['v1alpha', Alpha as unknown as typeof ServerReflection],
])('reflection %s', (_name, service) => {
  type Ask = Parameters<
    ReturnType<ReturnType<typeof stub>['serverReflectionInfo']>['send']
  >[0]['messageRequest'];
  const stub = () => harness.client.stub(service);

  async function ask(messageRequest: Ask) {
    const stream = stub().serverReflectionInfo();
    await stream.send({ messageRequest } as Parameters<typeof stream.send>[0]);
    stream.end();
    for await (const answer of stream.answers) return answer.messageResponse;
    throw new Error('no answer');
  }

  test('lists every service', async () => {
    const answer = await ask({ case: 'listServices', value: '' });
    if (answer.case !== 'listServicesResponse') throw new Error('not a list');
    expect(answer.value.service.map(({ name }) => name)).toEqual(SERVICES);
  });

  test.each([...SERVICES, 'lockstep.v1.TokenService.Tokenize', 'lockstep.v1.Domain.kind'])(
    'has the file of %s and all that it imports',
    async (value) => {
      const answer = await ask({ case: 'fileContainingSymbol', value });
      if (answer.case !== 'fileDescriptorResponse') throw new Error('not a file');
      expect(answer.value.fileDescriptorProto.length).toBeGreaterThan(0);
    },
  );

  test('has files by name, and answers not found for what there is not', async () => {
    const file = await ask({ case: 'fileByFilename', value: 'lockstep/v1/common.proto' });
    expect(file.case).toBe('fileDescriptorResponse');
    const none = await ask({ case: 'fileByFilename', value: 'secret.proto' });
    expect(none).toMatchObject({ case: 'errorResponse', value: { errorCode: 5 } });
    const symbol = await ask({ case: 'fileContainingSymbol', value: 'lockstep.v2' });
    expect(symbol).toMatchObject({ case: 'errorResponse', value: { errorCode: 5 } });
  });
});

/** On the PATH, or where `go install` was told to put it. */
function findGrpcurl(): string | undefined {
  const folders = [
    ...(process.env['PATH'] ?? '').split(delimiter),
    join(homedir(), '.cache/lockstep'),
    join(homedir(), 'go/bin'),
  ];
  return folders.map((folder) => join(folder, 'grpcurl')).find((file) => existsSync(file));
}

const grpcurl = findGrpcurl();
if (grpcurl === undefined) {
  console.warn('grpcurl is missing: go install github.com/fullstorydev/grpcurl/cmd/grpcurl@v1.9.4');
}

describe.skipIf(grpcurl === undefined)('grpcurl, with reflection alone', () => {
  const run = (...args: string[]): Promise<string> => {
    return new Promise((resolve) => {
      execFile(grpcurl ?? '', ['-plaintext', ...args], (_error, stdout, stderr) =>
        resolve(stdout + stderr),
      );
    });
  };

  test('describes with comments', async () => {
    const text = await run(harness.address, 'describe', 'lockstep.v1.TokenService');
    expect(text).toContain('// Gets tokens and never creates one.');
    const health = await run(harness.address, 'describe', 'grpc.health.v1.Health');
    expect(health).toContain('rpc Check');
  });

  test('calls', async () => {
    const body = '{"domain":"ssn","values":["abc","bad"]}';
    const answer = await run('-d', body, harness.address, 'lockstep.v1.TokenService/Tokenize');
    expect(JSON.parse(answer)).toMatchObject({
      tokens: ['cba', ''],
      errors: [{ index: 1, code: 3, reason: 'VALUE_MALFORMED' }],
    });
    const check = await run(harness.address, 'grpc.health.v1.Health/Check');
    expect(JSON.parse(check)).toEqual({ status: 'SERVING' });
  });

  test('shows the details of an error', async () => {
    const text = await run('-d', '{}', harness.address, 'lockstep.v1.TokenService/Tokenize');
    expect(text).toContain('"reason": "FIELD_REQUIRED"');
    expect(text).toContain('"field": "domain"');
  });
});
