import { accessSync, constants, existsSync, readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { delimiter, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { softHsmLibrary } from '../softhsm.ts';
import {
  cleanEnv,
  type Ended,
  runProgram,
  type ServerProcess,
  startDevServer,
  type TemporaryFolder,
  temporaryFolder,
} from './processes.ts';

const ROOT = join(import.meta.dirname, '../..');
/** Another file can be tried before it is in the README. */
const README = process.env['LOCKSTEP_ONE_LINERS'] ?? join(ROOT, 'README.md');
const ADDRESS = /\blocalhost:50051\b/g;
const CLI = /npm run -s lockstep --/g;

/** Where Go and our own set-up put programs. */
const FOLDERS = [
  ...(process.env['PATH'] ?? '').split(delimiter),
  join(process.env['GOPATH'] ?? join(homedir(), 'go'), 'bin'),
  join(homedir(), '.cache/lockstep/bin'),
];

const isProgram = (path: string): boolean => {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
};

/** The programs that a command needs and that are not on this machine. */
const lacking = (script: string): string[] =>
  ['grpcurl', 'ghz'].filter(
    (name) => script.includes(`${name} `) && !FOLDERS.some((each) => isProgram(join(each, name))),
  );

/** What each kind of command answers, by a text that it alone has. */
const ANSWERS: readonly (readonly [name: string, mark: RegExp, check: (ended: Ended) => void])[] = [
  [
    'the services',
    / list$/m,
    ({ code, stdout }) => {
      expect(code).toBe(0);
      expect(stdout.split('\n')).toEqual(
        expect.arrayContaining([
          'grpc.health.v1.Health',
          'lockstep.v1.AccessService',
          'lockstep.v1.DomainService',
          'lockstep.v1.TokenService',
        ]),
      );
    },
  ],
  [
    'a description, with its comments',
    / describe /,
    ({ code, stdout }) => {
      expect(code).toBe(0);
      expect(stdout).toMatch(/rpc Tokenize \(/);
      expect(stdout).toMatch(/^\s*\/\/ \S/m);
    },
  ],
  [
    'a denial',
    /clinician/,
    ({ code, stderr }) => {
      expect(code).toBe(64 + 7);
      expect(stderr).toContain('"reason": "ACCESS_DENIED"');
    },
  ],
  [
    'a masked value',
    /VIEW_MASKED/,
    ({ code, stdout }) => {
      expect(code).toBe(0);
      expect(JSON.parse(stdout)).toMatchObject({ values: ['***-**-0047'], view: 'VIEW_MASKED' });
    },
  ],
  [
    'no purpose',
    /VIEW_PLAIN/,
    ({ code, stdout, stderr }) => {
      expect([code, stdout]).toEqual([64 + 3, '']);
      expect(stderr).toContain('"reason": "PURPOSE_REQUIRED"');
    },
  ],
  ['load: streams', /ghz .*TokenizeStream/, allOk(200)],
  ['load: Exchange', /ghz .*Exchange/, allOk(2_000)],
  ['load: Tokenize', /ghz .*Tokenize/, allOk(2_000)],
  [
    'a token of the study',
    /Exchange/,
    ({ code, stdout }) => {
      expect(code).toBe(0);
      expect(JSON.parse(stdout)).toMatchObject({ tokens: [SSN_TOKEN], keyVersion: 1 });
    },
  ],
  [
    'a bulk grant',
    /grant bulk/,
    ({ code, stdout }) => {
      expect(code).toBe(0);
      expect(stdout).toMatch(/^dev:dev may use 1000000 more items of clinic\/ssn until /);
    },
  ],
  [
    'a batch',
    /Tokenize/,
    ({ code, stdout }) => {
      expect(code).toBe(0);
      const answer = JSON.parse(stdout) as { tokens: string[]; errors: unknown };
      expect(answer.tokens).toEqual([SSN_TOKEN, '', SSN_TOKEN]);
      expect(answer.errors).toEqual([{ index: 1, code: 3, reason: 'VALUE_PLACEHOLDER' }]);
    },
  ],
];

const SSN_TOKEN = expect.stringMatching(/^9\d\d-\d\d-\d{4}$/) as string;

function allOk(count: number): (ended: Ended) => void {
  return ({ code, stdout }) => {
    expect(code).toBe(0);
    expect(stdout).toMatch(new RegExp(`^ *\\[OK\\] +${count} responses`, 'm'));
    expect(stdout).not.toContain('Error distribution');
  };
}

function oneLiners(): string[] {
  const text = existsSync(README) ? readFileSync(README, 'utf8') : '';
  const part = /<!-- one-liners -->(.*)<!-- \/one-liners -->/s.exec(text)?.[1] ?? '';
  const blocks = [...part.matchAll(/^```sh\n(.*?)^```/gms)].map(([, block = '']) => block.trim());
  if (blocks.length === 0) console.warn(`${README} has no one-liners: their test is skipped`);
  return blocks;
}

const blocks = softHsmLibrary() === undefined ? [] : oneLiners();
const run = blocks.length === 0 ? describe.skip : describe;
let server: ServerProcess;
let folder: TemporaryFolder;

run('the one-liners of the README', () => {
  beforeAll(async () => {
    folder = temporaryFolder();
    server = await startDevServer(folder.path);
  });
  afterAll(async () => {
    expect(await server.stop()).toBe(0);
    folder.remove();
  });

  for (const block of blocks) {
    const [name, , check] = ANSWERS.find(([, mark]) => mark.test(block)) ?? [];
    const missing = lacking(block);
    if (missing.length > 0) console.warn(`${missing} not found, skipped: ${name}`);
    const one = missing.length > 0 ? test.skip : test;
    one(`${name}: ${block.split('\n').at(-1)?.slice(0, 60)}`, async () => {
      expect(check, 'nobody said what this one answers').toBeDefined();
      const main = `${process.execPath} ${join(ROOT, 'src/main.ts')}`;
      const script = block.replaceAll(ADDRESS, server.address).replaceAll(CLI, main);
      const env = cleanEnv({ PATH: FOLDERS.join(delimiter), LOCKSTEP_ADDRESS: server.address });
      check?.(await runProgram('sh', ['-euc', script], { env }));
    });
  }

  test('each kind of answer is shown', () => {
    for (const [name, mark] of ANSWERS) {
      expect(
        blocks.some((block) => mark.test(block)),
        name,
      ).toBe(true);
    }
  });
});
