import type { Command } from 'commander';
import { moment, wholeNumber } from './arguments.ts';
import { addConnectionOptions, type ConnectionOptions, withServer } from './connection.ts';
import { EXIT, type Frame, printJson, write } from './frame.ts';

interface BulkOptions extends ConnectionOptions {
  readonly caller: string;
  readonly domain: string;
  readonly count: number;
  readonly until: number;
  readonly json?: boolean;
}

/** `lockstep grant bulk`: a quota raised for a while, itself a leaf of the log. */
export function addGrant(program: Command, frame: Frame): void {
  const group = program.command('grant').description('Rights for a while');
  const command = group
    .command('bulk')
    .description('Raises the quota of one caller in one domain, e.g. for a first load')
    .requiredOption(
      '--caller <id>',
      'as the certificate names it, e.g. spiffe://clinic.example/etl',
    )
    .requiredOption('--domain <domain>', 'organisation/name')
    .requiredOption('--count <items>', 'items beyond the quota', wholeNumber(1))
    .requiredOption('--until <time>', '2027-01-31T18:00:00Z, or 90m, 12h, 7d from now', moment)
    .option('--json', 'answer in JSON');
  addConnectionOptions(command).action(
    frame.action((options: BulkOptions) =>
      withServer(frame, options, async (verbs) => {
        const { caller, domain, count, until } = options;
        const grant = { caller, domain, count, untilMs: until };
        const leafIndex = await verbs.grantBulk(grant, { signal: frame.signal });
        const untilTime = new Date(until).toISOString();
        if (options.json === true) {
          await printJson(frame.io, { caller, domain, count, until: untilTime, leafIndex });
        } else {
          const right = `${caller} may use ${count} more items of ${domain} until ${untilTime}`;
          await write(frame.io.stdout, `${right}; leaf ${leafIndex}\n`);
        }
        return EXIT.ok;
      }),
    ),
  );
}
