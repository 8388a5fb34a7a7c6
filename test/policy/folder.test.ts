import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { openPolicy, PolicyError } from '../../src/policy/cedar.ts';
import { readPolicyFolder } from '../../src/policy/folder.ts';
import { starterPolicies, starterSchema } from '../../src/policy/starter/starter.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'lockstep-policy-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

const write = (name: string, text: string): void => writeFileSync(join(folder, name), text);
const rule = (id: string): string => `@id("${id}") permit (principal, action, resource);\n`;

test('without a folder, the starter policy', () => {
  expect(readPolicyFolder()).toEqual({ policies: starterPolicies(), schema: starterSchema() });
});

test('all Cedar files of a folder, and the schema of the starter', () => {
  write('b.cedar', rule('two'));
  write('a.cedar', rule('one').trim());
  write('notes.txt', 'no policy');
  const read = readPolicyFolder(folder);
  expect(Object.keys(read.policies).toSorted()).toEqual(['one', 'two']);
  expect(read.schema).toBe(starterSchema());
  expect(openPolicy({ ...read, callers: [] }).policyHash).toMatch(/^[0-9a-f]{64}$/);
});

test('a schema of its own', () => {
  write('a.cedar', rule('one'));
  write('schema.cedarschema', `${starterSchema()}// Ours.`);
  expect(readPolicyFolder(folder).schema).toMatch(/Ours\.$/);
});

test('a folder that would say nothing, or two things under one id, is refused', () => {
  expect(() => readPolicyFolder(folder)).toThrow(PolicyError);
  expect(() => readPolicyFolder(join(folder, 'absent'))).toThrow(/ENOENT/);
  write('a.cedar', rule('one'));
  write('b.cedar', rule('one'));
  expect(() => readPolicyFolder(folder)).toThrow(PolicyError);
  write('b.cedar', 'permit');
  expect(() => readPolicyFolder(folder)).toThrow(PolicyError);
});
