import type { Command } from 'commander';
import type { ShownJob } from '../rpc/vault-verbs.ts';
import { wholeNumber } from './arguments.ts';
import { addConnectionOptions, type ConnectionOptions, withServer } from './connection.ts';
import { doneOf, exitOf, followJob, jsonOf, printJob } from './follow-job.ts';
import { EXIT, type Frame, printJson, printTable } from './frame.ts';

interface CommonOptions extends ConnectionOptions {
  readonly json?: boolean;
}

interface ListOptions extends CommonOptions {
  readonly target?: string;
  readonly limit?: number;
}

/** `lockstep job list|show|watch|cancel`. */
export function addJob(program: Command, frame: Frame): void {
  const group = program.command('job').description('Work that outlives its call: checks, backups');
  const add = (name: string, description: string) =>
    addConnectionOptions(
      group.command(name).description(description).option('--json', 'answer in JSON'),
    );
  add('list', 'Jobs under way, and those of the last 30 days, newest first')
    .option('--target <path>', 'only those that concern it, e.g. vault')
    .option('--limit <count>', 'at most so many', wholeNumber(1))
    .action(frame.action((options: ListOptions) => list(frame, options)));
  add('show', 'One job')
    .argument('<job>')
    .action(
      frame.action((id: string, options: CommonOptions) =>
        withServer(frame, options, async (verbs) => {
          const job = await verbs.getJob(id, { signal: frame.signal });
          await printJob(frame.io, job, options);
          return exitOf(job);
        }),
      ),
    );
  add('watch', 'Follows a job to its end; Ctrl-C ends the watching alone')
    .argument('<job>')
    .action(
      frame.action((id: string, options: CommonOptions) =>
        withServer(frame, options, async (verbs) =>
          followJob(frame, verbs, await verbs.getJob(id, { signal: frame.signal }), options),
        ),
      ),
    );
  add('cancel', 'Stops a job; what is done stays done')
    .argument('<job>')
    .action(
      frame.action((id: string, options: CommonOptions) =>
        withServer(frame, options, async (verbs) => {
          await printJob(frame.io, await verbs.cancelJob(id, { signal: frame.signal }), options);
          return EXIT.ok;
        }),
      ),
    );
}

function list(frame: Frame, options: ListOptions): Promise<number> {
  return withServer(frame, options, async (verbs) => {
    const jobs: ShownJob[] = [];
    const limit = options.limit ?? Number.POSITIVE_INFINITY;
    for await (const page of verbs.listJobs(options.target ?? '', { signal: frame.signal })) {
      jobs.push(...page.slice(0, limit - jobs.length));
      if (jobs.length >= limit) break;
    }
    if (options.json === true) await printJson(frame.io, { jobs: jobs.map(jsonOf) });
    else await printTable(frame.io, [HEAD, ...jobs.map(rowOf)]);
    return EXIT.ok;
  });
}

const HEAD = ['job', 'kind', 'state', 'done', 'begun'];
const rowOf = (job: ShownJob): string[] => [
  job.id,
  job.kind,
  job.reason === '' ? job.state : `${job.state}: ${job.reason}`,
  doneOf(job),
  new Date(job.createdMs).toISOString(),
];
