import { columnOf } from '../base/column.ts';
import { parseFormat } from '../codec/format/catalogue.ts';
import { readMembers } from '../codec/format/ranked.ts';
import { tokenizeLimit } from '../policy/quota-limits.ts';
import { batchOf, refusalOf, sendColumn } from './demo-calls.ts';
import { grouped } from './demo-script.ts';
import { FIELDS, SHOWN, type Stage, tokensOf, valuesOf } from './demo-stage.ts';

export interface DomainFigure {
  readonly domain: string;
  readonly values: number;
  readonly seconds: number;
  readonly perSecond: number;
}

const HOUR_MS = 3_600_000;
const BATCH = 1_000;

/** A hundredth of all birth dates a day is what one caller may tokenize, since asking for every
 *  date would build the table back. The officer raises that for the load, and for its check. */
export async function grantBulk(stage: Stage): Promise<{ refused: string; leaf: number }> {
  const { script, server, patients } = stage;
  const limit = tokenizeLimit(Number(parseFormat('date', {}).size));
  const dates = valuesOf(patients.slice(0, BATCH), 'birthDate');
  const batch = batchOf({ domain: 'clinic/birth-date', purpose: 'TREAT' }, dates);
  let refused = '';
  // The records system asks for more dates than it may have; fewer would go through.
  if (new Set(dates).size > limit) {
    refused = await refusalOf(server.as('ehr').tokenize(batch));
    script.expect(refused === 'BUDGET_EXHAUSTED', 'the quota held nobody back');
    const asked = grouped(dates.length);
    script.say(`ehr asks for ${asked} birth dates: ${refused}, ${limit} a day are allowed`);
  }
  const officer = server.as('officer');
  const untilMs = Date.now() + HOUR_MS;
  const dated = { caller: 'dev:ehr', domain: 'clinic/birth-date', count: patients.length, untilMs };
  const leaf = await officer.grantBulk(dated);
  for (const { domain } of FIELDS) {
    await officer.grantBulk({ ...dated, caller: 'dev:clinician', domain });
  }
  const more = grouped(patients.length);
  script.say(`officer grants ehr ${more} more for an hour (leaf ${leaf} of the log),`);
  script.say(`and the clinician ${more} reveals a domain, for the check below`);
  return { refused, leaf };
}

export async function tokenizeAll(stage: Stage): Promise<DomainFigure[]> {
  const { script, server, patients, frame } = stage;
  const ehr = server.as('ehr');
  const figures: DomainFigure[] = [];
  const rows = [['domain', 'values', 'a second', 'for example']];
  for (const { field, domain, neverReal } of FIELDS) {
    const values = valuesOf(patients, field);
    const to = { domain, purpose: 'TREAT' };
    const { outputs, failures, seconds } = await sendColumn(
      (batch, options) => ehr.tokenize(batch, options),
      to,
      values,
      [],
      frame.signal,
    );
    script.expect(failures.size === 0, `${domain} refused values`);
    script.expect(isOneToOne(values, outputs), `${domain} is not one token a value`);
    if (neverReal !== undefined) {
      script.expect(areNeverReal(neverReal, outputs), `${domain} made a valid number`);
    }
    stage.tokens.set(field, outputs);
    const perSecond = values.length / seconds;
    figures.push({ domain, values: values.length, seconds, perSecond });
    const count = grouped(values.length).padStart(7);
    rows.push([domain, count, grouped(perSecond).padStart(8), outputs[0] ?? '']);
  }
  script.table([18, 7, 8, script.width - 43], rows);
  const seconds = figures.reduce((sum, one) => sum + one.seconds, 0);
  const all = figures.length * patients.length;
  script.say(
    `in all: ${grouped(all / seconds)} values a second, each call logged before its answer`,
  );
  script.say('equal values have equal tokens, different values different ones;');
  script.say('no token of an SSN, NPI or MBI is a valid SSN, NPI or MBI');
  return figures;
}

/** Equal values, equal tokens; different values, different tokens; no token is the value. */
function isOneToOne(values: readonly string[], tokens: readonly string[]): boolean {
  const tokenOf = new Map<string, string>();
  for (const [i, value] of values.entries()) {
    const token = tokens[i] ?? '';
    if (token === '' || token === value || (tokenOf.get(value) ?? token) !== token) return false;
    tokenOf.set(value, token);
  }
  return tokens.length === values.length && new Set(tokenOf.values()).size === tokenOf.size;
}

/** By the format's own validator: none of the tokens passes. */
function areNeverReal(name: string, tokens: readonly string[]): boolean {
  const format = parseFormat(name, {});
  return format.family === 'ranked' && readMembers(format, columnOf(tokens)).good?.length === 0;
}

/** The same few patients as values and as tokens. */
export async function showTable(stage: Stage): Promise<void> {
  const { script, patients } = stage;
  // A narrow terminal goes without one column.
  const shown = FIELDS.filter(({ field }) => field !== 'npi' || script.width > 94);
  const widths = shown.map(({ width }) => width);
  const some = patients.slice(0, SHOWN);
  script.table(widths, [
    shown.map(({ title }) => title),
    ...some.map((patient) => shown.map(({ field }) => patient[field])),
    [],
    ...some.map((_, i) =>
      shown.map(({ field, width }) => tailOf(tokensOf(stage, field)[i] ?? '', width)),
    ),
  ]);
}

/** Long tokens of a domain begin alike, so their ends are shown. */
const tailOf = (token: string, width: number): string =>
  token.length <= width ? token : `tk_…${token.slice(4 - width)}`;

/** Every value comes back as it was. */
export async function revealAll(stage: Stage): Promise<DomainFigure> {
  const { script, server, patients, frame } = stage;
  const clinician = server.as('clinician');
  const startMs = performance.now();
  let values = 0;
  for (const { field, domain } of FIELDS) {
    const { outputs, failures } = await sendColumn(
      (batch, options) =>
        clinician.detokenize({ ...batch, view: 'plain', acceptLowerView: false }, options),
      { domain, purpose: 'TREAT' },
      tokensOf(stage, field),
      [],
      frame.signal,
    );
    const same = patients.every((patient, i) => patient[field] === outputs[i]);
    script.expect(failures.size === 0 && same, `${domain} revealed something else`);
    values += outputs.length;
  }
  const seconds = (performance.now() - startMs) / 1_000;
  script.say(
    `${grouped(values)} of ${grouped(values)} equal; ${grouped(values / seconds)} a second`,
  );
  return { domain: '', values, seconds, perSecond: values / seconds };
}
