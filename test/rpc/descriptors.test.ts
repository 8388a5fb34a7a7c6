import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { DescField, DescMessage } from '@bufbuild/protobuf';
import { expect, test } from 'vitest';
import { REASONS } from '../../src/base/reason.ts';
import { GRPC_CODE } from '../../src/rpc/codes.ts';
import { Code } from '../../src/rpc/gen/google/rpc/code_pb.ts';
import { loadDescriptors } from '../../src/rpc/reflection.ts';

const root = join(import.meta.dirname, '../..');
const { registry } = loadDescriptors();
const messages: DescMessage[] = [...registry].filter(
  (type): type is DescMessage =>
    type.kind === 'message' && type.typeName.startsWith('lockstep.v1.'),
);

/** Names of fields that hold what a patient is known by, wherever they stand. */
const PATIENT_DATA =
  /^(values?|contexts?|target_contexts?|subjects?|survivor|prior|records?|fhir)$/;

const fields = (): DescField[] => messages.flatMap((message) => message.fields);
const isRedacted = (field: DescField): boolean => field.proto.options?.debugRedact === true;

test('every field of patient data is marked debug_redact, and no other', () => {
  expect(fields().length).toBeGreaterThan(90);
  for (const field of fields()) {
    expect(isRedacted(field), field.toString()).toBe(PATIENT_DATA.test(field.name));
  }
});

test('codes are numbers of google.rpc.Code', () => {
  for (const [name, number] of Object.entries(GRPC_CODE)) {
    expect(Code[name as keyof typeof Code]).toBe(number);
  }
});

test('proto/README.md has every reason and its code', () => {
  const readme = readFileSync(join(root, 'proto/README.md'), 'utf8');
  for (const [reason, { code }] of Object.entries(REASONS)) {
    const row = readme.split('\n').find((line) => line.includes(`\`${reason}\``));
    expect(row, reason).toBeDefined();
    expect(row, reason).toContain(`${code}`);
  }
});

test('the contract passes buf lint, buf format, and buf breaking against the last release', () => {
  const buf = join(root, 'node_modules/.bin/buf');
  const run = (...args: string[]): void => {
    execFileSync(buf, args, { cwd: root, stdio: 'pipe' });
  };
  run('lint');
  run('format', '--diff', '--exit-code');
  run('breaking', '--against', 'proto/release.binpb');
});

test('the generated image is that of the protos beside it', () => {
  const image = execFileSync(
    join(root, 'node_modules/.bin/buf'),
    ['build', '--as-file-descriptor-set', '--exclude-imports', '-o', '-#format=json'],
    { cwd: root },
  );
  const parsed: { file: { name: string; messageType?: { name: string }[] }[] } = JSON.parse(
    image.toString('utf8'),
  );
  for (const file of parsed.file) {
    const known = registry.getFile(file.name);
    expect(known?.messages.map((it) => it.name) ?? [], file.name).toEqual(
      (file.messageType ?? []).map((it) => it.name),
    );
  }
});
