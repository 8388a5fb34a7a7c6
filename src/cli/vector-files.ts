import { readFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { z } from 'zod';

interface CaseBase {
  /** The file's own: `tcId`, `tgId/tcId`, or the sample's number. */
  readonly id: string;
  /** One AES key, or two of one size for SIV. */
  readonly key: Uint8Array;
  /** False where an implementation must refuse the case. */
  readonly valid: boolean;
}
export interface Ff1Case extends CaseBase {
  readonly mode: 'ff1';
  readonly radix: number;
  readonly tweak: Uint8Array;
  /** Numerals; a character outside the alphabet is the radix, so that the mode must refuse it. */
  readonly plain: Uint16Array;
  readonly cipher: Uint16Array;
}
export interface CmacCase extends CaseBase {
  readonly mode: 'cmac';
  readonly message: Uint8Array;
  /** May be cut short. */
  readonly tag: Uint8Array;
}
export interface SivCase extends CaseBase {
  readonly mode: 'siv';
  readonly associated: readonly Uint8Array[];
  readonly plain: Uint8Array;
  /** V ‖ C. */
  readonly sealed: Uint8Array;
}
export type VectorCase = Ff1Case | CmacCase | SivCase;

export interface VectorFile {
  readonly algorithm: string;
  readonly cases: readonly VectorCase[];
  /** Cases of the file that no mode here computes, all for one reason. */
  readonly notApplicable: { readonly count: number; readonly reason: string };
}

/** Reads a file of NIST samples, of ACVP (prompt.json with expectedResults.json beside it, or
 *  either by its name) or of Wycheproof. Throws where the file has none of these shapes. */
export async function readVectorFile(path: string): Promise<VectorFile> {
  const pair = ACVP_PAIR.includes(basename(path));
  const content: unknown = JSON.parse(
    await readFile(pair ? join(dirname(path), 'prompt.json') : path, 'utf8'),
  );
  if (NIST.safeParse(content).success) return readNist(NIST.parse(content));
  const { algorithm } = HEADER.parse(content);
  switch (algorithm) {
    case 'AES-FF1':
      return applicable(algorithm, ff1Cases(WYCHEPROOF_FF1.parse(content)));
    case 'AES-CMAC':
      return applicable(algorithm, cmacCases(WYCHEPROOF_CMAC.parse(content)));
    case 'AES-SIV-CMAC':
      return applicable(algorithm, sivCases(WYCHEPROOF_SIV.parse(content)));
    case 'ACVP-AES-FF1':
      return applicable(algorithm, acvpFf1Cases(ACVP_FF1.parse(content), await answerOf(path)));
    case 'CMAC-AES':
      return applicable(algorithm, acvpCmacCases(ACVP_CMAC.parse(content), await answerOf(path)));
    default:
      return {
        algorithm,
        cases: [],
        notApplicable: { count: countTests(content), reason: `${algorithm} is no mode here` },
      };
  }
}

async function answerOf(path: string): Promise<Expected> {
  const answer = await readFile(join(dirname(path), 'expectedResults.json'), 'utf8');
  return EXPECTED.parse(JSON.parse(answer));
}

const ACVP_PAIR = ['prompt.json', 'expectedResults.json'];

const applicable = (algorithm: string, cases: readonly VectorCase[]): VectorFile => ({
  algorithm,
  cases,
  notApplicable: { count: 0, reason: '' },
});

const bytes = z.string().transform((text, context) => {
  if (text.length % 2 === 0 && /^[0-9a-fA-F]*$/.test(text)) {
    return Uint8Array.from(Buffer.from(text, 'hex'));
  }
  context.addIssue({ code: 'custom', message: 'not hex' });
  return z.NEVER;
});
const result = z.enum(['valid', 'invalid', 'acceptable']);
const numerals = z.union([z.string(), z.array(z.number())]);
const HEADER = z.object({ algorithm: z.string() });

const NIST = z.object({
  samples: z.array(
    z.object({
      sample: z.number(),
      key: bytes,
      radix: z.number(),
      tweak: bytes,
      pt: numerals,
      ct: numerals,
      alphabet: z.string().optional(),
    }),
  ),
});
const groupsOf = <Group extends z.ZodType>(group: Group) =>
  z.object({ testGroups: z.array(group) });

const WYCHEPROOF_FF1 = groupsOf(
  z.object({
    radix: z.number(),
    alphabet: z.string().optional(),
    tests: z.array(
      z.object({ tcId: z.number(), key: bytes, tweak: bytes, msg: numerals, ct: numerals, result }),
    ),
  }),
);
const WYCHEPROOF_CMAC = groupsOf(
  z.object({
    tests: z.array(z.object({ tcId: z.number(), key: bytes, msg: bytes, tag: bytes, result })),
  }),
);
const WYCHEPROOF_SIV = groupsOf(
  z.object({
    tests: z.array(
      z.object({ tcId: z.number(), key: bytes, aad: bytes, msg: bytes, ct: bytes, result }),
    ),
  }),
);
const ACVP_FF1 = groupsOf(
  z.object({
    tgId: z.number(),
    radix: z.number(),
    alphabet: z.string(),
    tests: z.array(
      z.object({
        tcId: z.number(),
        key: bytes,
        tweak: bytes,
        pt: z.string().optional(),
        ct: z.string().optional(),
      }),
    ),
  }),
);
const ACVP_CMAC = groupsOf(
  z.object({
    tgId: z.number(),
    tests: z.array(
      z.object({ tcId: z.number(), key: bytes, message: bytes, mac: bytes.optional() }),
    ),
  }),
);
const EXPECTED = groupsOf(
  z.object({
    tgId: z.number(),
    tests: z.array(
      z.object({
        tcId: z.number(),
        pt: z.string().optional(),
        ct: z.string().optional(),
        mac: bytes.optional(),
        testPassed: z.boolean().optional(),
      }),
    ),
  }),
);

function readNist(file: z.infer<typeof NIST>): VectorFile {
  const cases = file.samples.map(({ sample, key, radix, tweak, pt, ct, alphabet }): Ff1Case => {
    const read = numeralReader(alphabet ?? DIGITS, radix);
    return {
      mode: 'ff1',
      id: String(sample),
      key,
      valid: true,
      radix,
      tweak,
      plain: read(pt),
      cipher: read(ct),
    };
  });
  return applicable('FF1 (NIST samples)', cases);
}

const DIGITS = '0123456789abcdefghijklmnopqrstuvwxyz';

function ff1Cases(file: z.infer<typeof WYCHEPROOF_FF1>): Ff1Case[] {
  return file.testGroups.flatMap(({ radix, alphabet, tests }) => {
    const read = numeralReader(alphabet ?? '', radix);
    return tests.map(
      (each): Ff1Case => ({
        mode: 'ff1',
        id: String(each.tcId),
        key: each.key,
        valid: each.result !== 'invalid',
        radix,
        tweak: each.tweak,
        plain: read(each.msg),
        cipher: read(each.ct),
      }),
    );
  });
}

function cmacCases(file: z.infer<typeof WYCHEPROOF_CMAC>): CmacCase[] {
  return file.testGroups.flatMap(({ tests }) =>
    tests.map(
      (each): CmacCase => ({
        mode: 'cmac',
        id: String(each.tcId),
        key: each.key,
        valid: each.result !== 'invalid',
        message: each.msg,
        tag: each.tag,
      }),
    ),
  );
}

function sivCases(file: z.infer<typeof WYCHEPROOF_SIV>): SivCase[] {
  return file.testGroups.flatMap(({ tests }) =>
    tests.map(
      (each): SivCase => ({
        mode: 'siv',
        id: String(each.tcId),
        key: each.key,
        valid: each.result !== 'invalid',
        associated: [each.aad],
        plain: each.msg,
        sealed: each.ct,
      }),
    ),
  );
}

type Expected = z.infer<typeof EXPECTED>;
type Answer = Expected['testGroups'][number]['tests'][number];

function answersOf(expected: Expected): Map<string, Answer> {
  const answers = new Map<string, Answer>();
  for (const { tgId, tests } of expected.testGroups) {
    for (const each of tests) answers.set(`${tgId}/${each.tcId}`, each);
  }
  return answers;
}

/** The question has one of `pt` and `ct`, the answer the other. */
function acvpFf1Cases(prompt: z.infer<typeof ACVP_FF1>, expected: Expected): Ff1Case[] {
  const answers = answersOf(expected);
  return prompt.testGroups.flatMap(({ tgId, radix, alphabet, tests }) => {
    const read = numeralReader(alphabet, radix);
    return tests.map((each): Ff1Case => {
      const id = `${tgId}/${each.tcId}`;
      const answer = answers.get(id);
      const plain = each.pt ?? answer?.pt;
      const cipher = each.ct ?? answer?.ct;
      if (plain === undefined || cipher === undefined) throw new Error(`case ${id} has no answer`);
      return {
        mode: 'ff1',
        id,
        key: each.key,
        valid: true,
        radix,
        tweak: each.tweak,
        plain: read(plain),
        cipher: read(cipher),
      };
    });
  });
}

/** `gen` answers with the tag, `ver` with whether the one in the question is right. */
function acvpCmacCases(prompt: z.infer<typeof ACVP_CMAC>, expected: Expected): CmacCase[] {
  const answers = answersOf(expected);
  return prompt.testGroups.flatMap(({ tgId, tests }) =>
    tests.map((each): CmacCase => {
      const id = `${tgId}/${each.tcId}`;
      const answer = answers.get(id);
      const tag = each.mac ?? answer?.mac;
      if (tag === undefined) throw new Error(`case ${id} has no answer`);
      const valid = answer?.testPassed ?? true;
      return { mode: 'cmac', id, key: each.key, valid, message: each.message, tag };
    }),
  );
}

/** Characters of an alphabet, or numerals as they are, to numerals. */
function numeralReader(
  alphabet: string,
  radix: number,
): (text: string | readonly number[]) => Uint16Array {
  const places = new Map([...alphabet].map((character, i) => [character, i]));
  return (text) => {
    const found =
      typeof text === 'string'
        ? [...text].map((character) => places.get(character) ?? radix)
        : text.map((numeral) => (numeral >= 0 && numeral < radix ? numeral : radix));
    return Uint16Array.from(found);
  };
}

function countTests(content: unknown): number {
  const shape = groupsOf(z.object({ tests: z.array(z.unknown()) })).safeParse(content);
  if (!shape.success) return 0;
  return shape.data.testGroups.reduce((count, group) => count + group.tests.length, 0);
}
