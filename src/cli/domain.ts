import { type Command, Option } from 'commander';
import type { Kind, OnInvalid, Safety } from '../base/domain.ts';
import type { ShownDomain } from '../rpc/domain-verbs.ts';
import { pair, wholeNumber } from './arguments.ts';
import { addConnectionOptions, type ConnectionOptions, withServer } from './connection.ts';
import { EXIT, type Frame, type Io, printJson, printTable, write } from './frame.ts';

interface CommonOptions extends ConnectionOptions {
  readonly json?: boolean;
}

interface CreateOptions extends CommonOptions {
  readonly kind: Kind;
  readonly format: string;
  readonly formatOption?: Readonly<Record<string, string>>;
  readonly safety?: Safety;
  readonly assigner?: string;
  readonly displayName?: string;
  readonly onInvalid?: OnInvalid;
  readonly subjectRequired?: boolean;
  readonly subjectsShared?: boolean;
  readonly listable: boolean;
  readonly population?: number;
  readonly note?: string;
}

const KINDS: readonly Kind[] = ['fpe', 'siv', 'static', 'dynamic', 'one-way', 'transform'];
const SAFETIES: readonly Safety[] = ['never-real', 'valid'];
const ON_INVALID: readonly OnInvalid[] = ['reject', 'tokenize-opaque', 'pass'];

/** `lockstep domain create|list|show|disable`. */
export function addDomain(program: Command, frame: Frame): void {
  const group = program
    .command('domain')
    .description('Domains: one format, one kind of token, one set of keys each');
  addCreate(group, frame);
  const add = (name: string, description: string) =>
    addConnectionOptions(
      group.command(name).description(description).option('--json', 'answer in JSON'),
    );
  add('list', 'The domains that you may see').action(
    frame.action((options: CommonOptions) => list(frame, options)),
  );
  add('show', 'One domain, with its fill')
    .argument('<domain>')
    .action(frame.action((id: string, options: CommonOptions) => show(frame, id, options)));
  add('disable', 'Stops every use of a domain; its keys and records stay')
    .argument('<domain>')
    .option('--undo', 'allow its use again')
    .action(
      frame.action((id: string, options: CommonOptions & { readonly undo?: boolean }) =>
        withServer(frame, options, async (verbs) => {
          const signal = { signal: frame.signal };
          const domain = await verbs.getDomain(id, signal);
          const changed = await verbs.setDisabled(domain, options.undo !== true, signal);
          return printDomain(frame.io, changed, options);
        }),
      ),
    );
}

function addCreate(group: Command, frame: Frame): void {
  const command = group
    .command('create')
    .description('Makes a domain with keys of its own; kind, format and safety never change')
    .argument('<domain>', 'organisation/name, each of a-z 0-9 -')
    .addOption(new Option('--kind <kind>').choices(KINDS).makeOptionMandatory())
    .requiredOption('--format <format>', 'e.g. ssn, mrn, digits:9; `lockstep format test` explains')
    .option('--format-option <name=value>', 'a setting of the format; may stand again', pair)
    .addOption(new Option('--safety <safety>', "default: the format's own").choices(SAFETIES))
    .option('--assigner <uri>', 'who issues the values, e.g. of an MRN')
    .option('--display-name <text>')
    .addOption(
      new Option('--on-invalid <rule>', 'what becomes of a value outside the format').choices(
        ON_INVALID,
      ),
    )
    .option('--subject-required', 'every item names its patient and is bound to it')
    .option('--subjects-shared', 'static: a record is shared by all patients it was made for')
    .option('--no-listable', 'dynamic: the tokens of a value cannot be listed')
    .option('--population <count>', 'how many values the domain will hold', wholeNumber(1))
    .option('--note <text>', 'why, where the choice needs a recorded reason; no patient data')
    .option('--json', 'answer in JSON');
  addConnectionOptions(command).action(
    frame.action((id: string, options: CreateOptions) => create(frame, id, options)),
  );
}

function create(frame: Frame, id: string, options: CreateOptions): Promise<number> {
  const { kind, format, formatOption, safety, assigner, displayName } = options;
  const { onInvalid, subjectRequired, subjectsShared, population, note } = options;
  const wanted = {
    id,
    kind,
    format,
    ...(formatOption === undefined ? {} : { formatOptions: formatOption }),
    ...(safety === undefined ? {} : { safety }),
    ...(assigner === undefined ? {} : { assigner }),
    ...(displayName === undefined ? {} : { displayName }),
    ...(onInvalid === undefined ? {} : { onInvalid }),
    ...(subjectRequired === undefined ? {} : { subjectRequired }),
    ...(subjectsShared === undefined ? {} : { subjectsShared }),
    ...(options.listable ? {} : { listable: false }),
    ...(population === undefined ? {} : { population }),
    ...(note === undefined ? {} : { note }),
  };
  return withServer(frame, options, async (verbs) =>
    printDomain(frame.io, await verbs.createDomain(wanted, { signal: frame.signal }), options),
  );
}

function list(frame: Frame, options: CommonOptions): Promise<number> {
  return withServer(frame, options, async (verbs) => {
    const domains: ShownDomain[] = [];
    for await (const page of verbs.listDomains({ signal: frame.signal })) domains.push(...page);
    if (options.json === true) await printJson(frame.io, { domains });
    else await printTable(frame.io, [HEAD, ...domains.map(row)]);
    return EXIT.ok;
  });
}

const HEAD = ['domain', 'kind', 'format', 'safety', 'live tokens', 'fill', 'state'];
const row = (domain: ShownDomain): string[] => [
  domain.id,
  domain.kind,
  domain.format,
  domain.safety,
  String(domain.liveTokens),
  percentOf(domain.fill),
  domain.disabled ? 'disabled' : 'enabled',
];

function show(frame: Frame, id: string, options: CommonOptions): Promise<number> {
  return withServer(frame, options, async (verbs) =>
    printDomain(frame.io, await verbs.getDomain(id, { signal: frame.signal }), options),
  );
}

async function printDomain(io: Io, domain: ShownDomain, options: CommonOptions): Promise<number> {
  if (options.json === true) {
    await printJson(io, domain);
    return EXIT.ok;
  }
  const shown = { ...domain, fill: percentOf(domain.fill) };
  const rows = Object.entries(shown).map(([name, value]) => [
    name.replaceAll(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`),
    typeof value === 'object' ? JSON.stringify(value) : String(value),
  ]);
  await printTable(io, rows);
  if (domain.fill >= FILL_WARNING) await write(io.stderr, fillWarning(domain));
  return EXIT.ok;
}

/** Early enough to make another domain and move before minting stops. */
const FILL_WARNING = 0.8;

/** Rounded down: a domain that is not full never reads as 100 %. */
const percentOf = (fill: number): string => `${(Math.floor(fill * 1_000) / 10).toFixed(1)} %`;

const fillWarning = ({ id, fill }: ShownDomain): string =>
  `lockstep: ${id} is ${percentOf(fill)} full, and given-out tokens are never free again: ` +
  'small formats stop minting at 90 %, others at 100 %\n';
