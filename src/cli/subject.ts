import { randomUUID } from 'node:crypto';
import type { Command } from 'commander';
import {
  addConnectionOptions,
  type ConnectionOptions,
  retrying,
  withServer,
} from './connection.ts';
import { csvLine } from './csv.ts';
import { EXIT, type Frame, printJson, UsageError, write } from './frame.ts';
import { fromLines, openText } from './sources.ts';

interface CommonOptions extends ConnectionOptions {
  readonly json?: boolean;
}

interface TokensOptions extends CommonOptions {
  readonly domain?: string;
  readonly purpose: string;
}

interface MergeOptions extends CommonOptions {
  readonly note?: string;
}

/** `lockstep subject tokens|merge|unmerge`: patients across domains. */
export function addSubject(program: Command, frame: Frame): void {
  const group = program.command('subject').description('Patients, across domains');
  const add = (name: string, description: string) =>
    addConnectionOptions(
      group.command(name).description(description).option('--json', 'answer in JSON'),
    );
  add('tokens', 'The tokens of a patient, as domain, token and state')
    .argument('<subject>', 'the id of the patient; - reads it from stdin, unseen by ps')
    .option('--domain <domain>', 'only those of one domain')
    .requiredOption('--purpose <code>', 'v3 PurposeOfUse code, e.g. TREAT')
    .action(
      frame.action((subject: string, options: TokensOptions) => tokens(frame, subject, options)),
    );
  add('merge', 'Makes two ids of one patient one (HL7 v2 A40)')
    .argument('<survivor>', 'the id that stays; - reads both from stdin, a line each')
    .argument('[prior]', 'the id folded into it')
    .option('--note <text>', 'why; no patient data')
    .action(
      frame.action((survivor: string, prior: string | undefined, options: MergeOptions) =>
        merge(frame, survivor, prior, options),
      ),
    );
  add('unmerge', 'Takes a merge back')
    .argument('<merge>', 'the id that `subject merge` gave')
    .option('--note <text>', 'why; no patient data')
    .action(frame.action((id: string, options: MergeOptions) => unmerge(frame, id, options)));
}

async function tokens(frame: Frame, named: string, options: TokensOptions): Promise<number> {
  const subject = named === '-' ? (await linesOfStdin(frame, 1))[0]! : named;
  const { domain = '', purpose } = options;
  return withServer(frame, options, async (verbs) => {
    const query = { subject, domain, purpose };
    for await (const page of verbs.listSubjectTokens(query, { signal: frame.signal })) {
      const lines = page.map((row) =>
        options.json === true
          ? `${JSON.stringify(row)}\n`
          : csvLine([row.domain, row.token, row.state], '\t', '\n'),
      );
      await write(frame.io.stdout, lines.join(''));
    }
    frame.signal.throwIfAborted();
    return EXIT.ok;
  });
}

async function merge(
  frame: Frame,
  first: string,
  second: string | undefined,
  options: MergeOptions,
): Promise<number> {
  if ((first === '-') !== (second === undefined)) {
    throw new UsageError('a survivor and a prior are wanted, or - for both from stdin');
  }
  const [survivor, prior] =
    second === undefined ? await linesOfStdin(frame, 2) : ([first, second] as const);
  const asked = { survivor: survivor!, prior: prior!, note: options.note ?? '' };
  const requestId = randomUUID();
  return withServer(frame, options, async (verbs) => {
    const { signal } = frame;
    const answer = await retrying(
      () => verbs.mergeSubjects({ ...asked, requestId }, { signal }),
      signal,
    );
    if (options.json === true) await printJson(frame.io, answer);
    else {
      const { merge: id, moved, leafIndex } = answer;
      const text = `merge ${id}: the survivor reaches ${moved} tokens more; leaf ${leafIndex}\n`;
      await write(frame.io.stdout, text);
    }
    return EXIT.ok;
  });
}

function unmerge(frame: Frame, id: string, options: MergeOptions): Promise<number> {
  const requestId = randomUUID();
  return withServer(frame, options, async (verbs) => {
    const { signal } = frame;
    const asked = { merge: id, note: options.note ?? '', requestId };
    const answer = await retrying(() => verbs.unmergeSubjects(asked, { signal }), signal);
    if (options.json === true) await printJson(frame.io, answer);
    else {
      const { moved, leafIndex } = answer;
      const text = `merge ${id} taken back: ${moved} tokens are the prior's alone again`;
      await write(frame.io.stdout, `${text}; leaf ${leafIndex}\n`);
    }
    return EXIT.ok;
  });
}

/** Exactly so many lines; their texts are patient data, so a fault quotes none. */
async function linesOfStdin(frame: Frame, count: number): Promise<string[]> {
  const lines: string[] = [];
  const source = fromLines(openText('-', frame.io.stdin, frame.signal));
  for await (const items of source.chunks) lines.push(...items.map(({ value }) => value));
  if (lines.length !== count || lines.includes('')) {
    throw new UsageError(`stdin has to hold ${count === 1 ? 'one line' : `${count} lines`}`);
  }
  return lines;
}
