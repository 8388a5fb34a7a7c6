import type { Command } from 'commander';
import { CallError } from '../base/call-error.ts';
import type { FormatReport } from '../codec/explain.ts';
import { pair, wholeNumber } from './arguments.ts';
import { EXIT, type Frame, type Io, printJson, printTable, Refusal, write } from './frame.ts';

interface TestOptions {
  readonly option?: Readonly<Record<string, string>>;
  readonly quota?: number;
  readonly json?: boolean;
}

/** `lockstep format test`: what a format takes, and what its tokens are worth. Needs no server. */
export function addFormat(program: Command, frame: Frame): void {
  const group = program.command('format').description('Formats: which values a domain takes');
  group
    .command('test')
    .description('Size, safety and quota of a format, and a verdict on values')
    .argument('<format>', 'e.g. ssn, mrn, npi, digits:6-12')
    .argument('[values...]', "made-up ones: the shell's history keeps them")
    .option('--option <name=value>', 'a setting of the format; may stand again', pair)
    .option('--quota <items>', 'a quota a day other than the default', wholeNumber(1))
    .option('--json', 'answer in JSON')
    .action(
      frame.action((format: string, values: readonly string[], options: TestOptions) =>
        testFormat(frame.io, format, values, options),
      ),
    );
}

async function testFormat(
  io: Io,
  format: string,
  values: readonly string[],
  options: TestOptions,
): Promise<number> {
  const { explainFormat } = await import('../codec/explain.ts');
  let report: FormatReport;
  try {
    report = explainFormat(format, options.option ?? {}, values, options.quota);
  } catch (cause) {
    if (!(cause instanceof CallError)) throw cause;
    const places = cause.violations.map(({ field, text }) => `; ${field}: ${text}`).join('');
    throw new Refusal(`${cause.message}${places}`, { reason: cause.reason }, cause);
  }
  if (options.json === true) await printJson(io, jsonOf(report));
  else await printReport(io, report);
  return report.values.every(({ verdict }) => verdict === 'VALID') ? EXIT.ok : EXIT.failed;
}

/** Without what JSON cannot say: the size is a text, and null stands for without bound. */
function jsonOf(report: FormatReport): object {
  const { size, daysToEnumerate, ...rest } = report;
  return {
    ...rest,
    size: report.unbounded ? null : String(size),
    daysToEnumerate: Number.isFinite(daysToEnumerate) ? daysToEnumerate : null,
  };
}

async function printReport(io: Io, report: FormatReport): Promise<void> {
  const grouped = (count: bigint | number): string => count.toLocaleString('en-US');
  const size = report.unbounded
    ? 'without bound'
    : `${grouped(report.size)} (${report.sizeBits.toFixed(1)} bits)`;
  const guess = report.unbounded ? 'none' : `1 in ${grouped(report.size)}`;
  const enumerate = Number.isFinite(report.daysToEnumerate)
    ? `${grouped(report.daysToEnumerate)} days at ${grouped(report.quotaPerDay)} a day`
    : 'never';
  await printTable(io, [
    ['format', report.name],
    ['members', size],
    ['default safety', report.defaultSafety],
    ['one guess hits', guess],
    ['a caller tries all in', enumerate],
    ['example tokens', `${report.example.kind}, ${report.example.safety}`],
    ...(report.advice === '' ? [] : [['advice', report.advice]]),
  ]);
  if (report.values.length === 0) return;
  await write(io.stdout, '\n');
  await printTable(io, [
    ['#', 'verdict', 'normal form', 'masked', 'example token'],
    ...report.values.map((value, i) => [
      String(i + 1),
      value.verdict,
      value.normal,
      value.masked,
      value.exampleToken,
    ]),
  ]);
}
