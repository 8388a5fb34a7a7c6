import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { describe, expect, test } from 'vitest';
import { importFaults } from './tidy/import-rules.ts';
import { shapeFaults } from './tidy/shape-rules.ts';
import { type Fault, withSources } from './tidy/sources.ts';

/** Every breach of the design's layout and of the style's lengths and bans under `root`. */
const tidy = (root: string): Fault[] =>
  withSources(root, (sources) => [...importFaults(sources), ...shapeFaults(sources)]).sort();

test('src and test keep the rules', () => {
  expect(tidy(resolve(import.meta.dirname, '..'))).toEqual([]);
});

/** The faults of a tree that holds these files and nothing else. */
function faultsOf(files: Readonly<Record<string, string>>): Fault[] {
  const root = mkdtempSync(join(tmpdir(), 'tidy-test-'));
  try {
    for (const [path, text] of Object.entries({ 'src/main.ts': '', 'test/a.ts': '', ...files })) {
      mkdirSync(dirname(join(root, path)), { recursive: true });
      writeFileSync(join(root, path), text);
    }
    return tidy(root);
  } finally {
    rmSync(root, { recursive: true });
  }
}

const body = (count: number): string => '  f();\n'.repeat(count);
const TASK = ['TO', 'DO'].join('');
const FLAW = ['FIX', 'ME'].join('');

describe('a planted breach is found', () => {
  test.each<[string, Record<string, string>, Fault[]]>([
    [
      'a higher rank',
      { 'src/base/a.ts': "import { b } from '../engine/b.ts';\n" },
      ['src/base/a.ts:1: import of src/engine/b.ts: rank 0 imports lower ranks alone, this is 4'],
    ],
    [
      'the same rank, another folder, types alone',
      { 'src/codec/format/a.ts': "\nimport type { b } from '../../vault/b.ts';\n" },
      [
        'src/codec/format/a.ts:2: import of src/vault/b.ts: rank 3 imports lower ranks alone, this is 3',
      ],
    ],
    [
      'admin in rpc, both of rank 6, when it runs',
      { 'src/rpc/a.ts': "export const b = await import('../admin/b.ts');\n" },
      ['src/rpc/a.ts:1: import of src/admin/b.ts: rank 6 imports lower ranks alone, this is 6'],
    ],
    [
      'a type written as an import',
      { 'src/modes/a.ts': "export type A = import('../rpc/a.ts').B;\n" },
      ['src/modes/a.ts:1: import of src/rpc/a.ts: rank 2 imports lower ranks alone, this is 6'],
    ],
    [
      'a folder without a rank',
      {
        'src/base/a.ts': "import '../extra/b.ts';\n",
        'src/extra/b.ts': "import '../base/c.ts';\n",
      },
      [
        'src/base/a.ts:1: import of src/extra/b.ts: src/extra has no rank',
        'src/extra/b.ts:1: src/extra has no rank',
      ],
    ],
    [
      'test code in src',
      { 'src/base/a.ts': "import '../../test/b.ts';\n" },
      ['src/base/a.ts:1: import of test/b.ts: src stands on src alone'],
    ],
    [
      'generated code outside src/rpc',
      { 'src/cli/a.ts': "import { b } from '../rpc/gen/b.ts';\n" },
      ['src/cli/a.ts:1: import of src/rpc/gen/b.ts: generated code stays in src/rpc'],
    ],
    [
      'a package away from its home',
      {
        'src/engine/a.ts': "import { pino } from 'pino';\n",
        'src/keys/b.ts': "import { C } from 'pkcs11js';\n",
        'src/keys/pkcs11-x.ts': "import { C } from 'pkcs11js';\n",
        'src/cli/c.ts': "import { z } from 'zod/mini';\nimport '@bufbuild/protobuf/wkt';\n",
      },
      [
        'src/cli/c.ts:2: import @bufbuild/protobuf/wkt: the home of @bufbuild/protobuf is elsewhere',
        'src/engine/a.ts:1: import pino: the home of pino is elsewhere',
        'src/keys/b.ts:1: import pkcs11js: the home of pkcs11js is elsewhere',
      ],
    ],
    [
      'a package without a home, and a built-in without its prefix',
      { 'src/modes/a.ts': "import '@noble/ciphers/ff1.js';\nimport 'crypto';\n" },
      [
        'src/modes/a.ts:1: import @noble/ciphers/ff1.js: the package has no home in src',
        'src/modes/a.ts:2: import crypto: write node:crypto',
      ],
    ],
    [
      'input and output in base',
      { 'src/base/a.ts': "import 'node:fs/promises';\nimport 'node:perf_hooks';\n" },
      ['src/base/a.ts:1: import node:fs/promises: src/base does no input or output'],
    ],
    [
      'a relative import without its ending',
      { 'test/b.ts': "import './a';\nimport './a.js';\nimport './a.json';\nimport './a.ts';\n" },
      [
        'test/b.ts:1: import ./a: a relative import ends in .ts',
        'test/b.ts:2: import ./a.js: a relative import ends in .ts',
      ],
    ],
    [
      'a cycle, but not one of types',
      {
        'src/base/a.ts': "import './b.ts';\n",
        'src/base/b.ts': "import './c.ts';\n",
        'src/base/c.ts': "import './a.ts';\nimport type { D } from './d.ts';\n",
        'src/base/d.ts': "import './c.ts';\n",
      },
      [
        'src/base/a.ts:1: import cycle src/base/a.ts → src/base/b.ts → src/base/c.ts → src/base/a.ts',
      ],
    ],
    [
      'long files, functions and lines',
      {
        'src/base/a.ts': `${'f();\n'.repeat(401)}`,
        'src/base/b.ts': `function b() {\n${body(69)}}\nconst c = () => {\n${body(68)}};\n`,
        'src/base/c.ts': `export class C {\n  m() {\n${body(70)}  }\n}\n`,
        'src/base/d.ts': `// ${'word '.repeat(20)}\n// ${'x'.repeat(200)}\n// ${'é '.repeat(45)}\n`,
      },
      [
        'src/base/a.ts:1: 401 lines, at most 400',
        'src/base/b.ts:1: a function of 71 lines, at most 70',
        'src/base/c.ts:2: a function of 72 lines, at most 70',
        'src/base/d.ts:1: over 100 columns',
      ],
    ],
    [
      'a long test, but not the suite around it',
      {
        'test/c.test.ts': `describe('s', () => {\n  test('t', () => {\n${body(69)}  });\n});\n`,
        'test/contract/s.ts': `export const suite = () => {\n  test('t', f);\n${body(90)}};\n`,
        'test/d.test.ts': `describe.skipIf(f())('s', () => {\n${body(90)}});\n`,
      },
      ['test/c.test.ts:2: a function of 71 lines, at most 70'],
    ],
    [
      'what Node cannot strip, and what hides types',
      {
        'src/base/a.ts': 'export enum A {\n  B,\n}\nnamespace C {\n  f();\n}\n',
        'src/base/b.ts': 'export const any = (x: any): unknown => x as any;\n// any\n',
        'src/base/c.ts': `// ${'@ts-'}ignore\nf();\n`,
      },
      [
        'src/base/a.ts:1: no enum: Node strips types, it does not translate',
        'src/base/a.ts:4: no namespace: Node strips types, it does not translate',
        'src/base/b.ts:1: no any: say unknown and narrow it',
        'src/base/b.ts:1: no any: say unknown and narrow it',
        'src/base/c.ts:1: the compiler is not silenced',
      ],
    ],
    [
      'barrels and default exports',
      {
        'src/base/index.ts': 'export const a = 1;\n',
        'src/base/b.ts': "export { a } from './a.ts';\nexport * from './c.ts';\n",
        'src/base/d.ts': 'export default 1;\n',
        'src/base/e.ts': 'export default function e(): void {}\n',
        'src/base/f.ts': 'export default class F {}\n',
        'src/base/g.ts':
          'export const g = (a: number): void => {\n  switch (a) {\n    default:\n  }\n};\n',
      },
      [
        'src/base/b.ts:1: no barrels: import the defining file',
        'src/base/b.ts:2: no barrels: import the defining file',
        'src/base/d.ts:1: no default exports',
        'src/base/e.ts:1: no default exports',
        'src/base/f.ts:1: no default exports',
        'src/base/index.ts:1: no barrels: import the defining file',
      ],
    ],
    [
      'names',
      { 'src/base/utils.ts': '', 'src/base/twoWords.ts': '', 'test/types.test.ts': '' },
      [
        'src/base/twoWords.ts:1: file names are one word or kebab-case',
        'src/base/utils.ts:1: no file is called utils: name what it holds',
        'test/types.test.ts:1: no file is called types: name what it holds',
      ],
    ],
    [
      'what is left to do without an issue',
      { 'src/base/a.ts': `// ${TASK}: x\n// ${TASK}(#12): y\n// ${FLAW}\n` },
      [
        'src/base/a.ts:1: what is left to do names its issue, as in (#12)',
        'src/base/a.ts:3: a fault is fixed or has an issue',
      ],
    ],
    [
      'a console in src, outside the command line',
      {
        'src/engine/a.ts': "console.log('x');\n",
        'src/cli/a.ts': "console.error('x');\n",
        'test/e.ts': "console.warn('x');\n",
      },
      ['src/engine/a.ts:1: no console in src: logs go through the logger'],
    ],
  ])('%s', (_, files, wanted) => {
    expect(faultsOf(files)).toEqual(wanted);
  });

  test('but none where all is well, nor in generated code', () => {
    const files = {
      'src/main.ts': "import { run } from './cli/run.ts';\nimport 'node:process';\nrun();\n",
      'src/cli/run.ts': "import '../rpc/a.ts';\nimport '../base/b.ts';\nimport 'commander';\n",
      'src/rpc/gen/x_pb.ts': `export enum A {}\n${'f();\n'.repeat(500)}`,
      'src/rpc/a.ts': "import './gen/x_pb.ts';\nimport '@grpc/grpc-js';\n",
    };
    expect(faultsOf(files)).toEqual([]);
  });
});
