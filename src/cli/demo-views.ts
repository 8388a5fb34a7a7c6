import type { View } from '../base/domain.ts';
import { batchOf, refusalOf, sendColumn } from './demo-calls.ts';
import type { FhirField, FhirPatients, FhirValue } from './demo-fhir.ts';
import { grouped } from './demo-script.ts';
import { SHOWN, type Stage, tokensOf } from './demo-stage.ts';

interface ViewCase {
  readonly caller: string;
  readonly purpose: string;
  readonly view: View;
  /** '' where the call must be answered. */
  readonly refusal: string;
}

const CASES: readonly ViewCase[] = [
  { caller: 'clinician', purpose: 'TREAT', view: 'plain', refusal: '' },
  { caller: 'billing', purpose: 'HPAYMT', view: 'masked', refusal: '' },
  { caller: 'researcher', purpose: 'HRESCH', view: 'redacted', refusal: '' },
  { caller: 'ehr', purpose: 'TREAT', view: 'plain', refusal: 'VIEW_DENIED' },
  { caller: 'billing', purpose: 'HRESCH', view: 'masked', refusal: 'ACCESS_DENIED' },
];

export interface ViewFigures {
  readonly views: readonly string[];
  readonly denied: readonly { caller: string; purpose: string; view: View; reason: string }[];
  /** Of billing's reveal, for whoever wants to wipe out its trace. */
  readonly leaf: number;
}

/** One patient's tokens, the same for all; what comes back depends on who asks, and what for. */
export async function revealInViews(stage: Stage): Promise<ViewFigures> {
  const { script, patients } = stage;
  const patient = patients[0]!;
  const denied: { caller: string; purpose: string; view: View; reason: string }[] = [];
  const rows = [['caller', 'for', 'asks', 'name', 'SSN', 'phone']];
  let leaf = 0;
  for (const { caller, purpose, view, refusal } of CASES) {
    const name = await reveal(stage, caller, purpose, view, 'name');
    const ssn = await reveal(stage, caller, purpose, view, 'ssn');
    const phone = await reveal(stage, caller, purpose, view, 'phone');
    if (refusal !== '') {
      script.expect(
        [name, ssn, phone].every(({ text }) => text === refusal),
        `${caller} was let through`,
      );
      denied.push({ caller, purpose, view, reason: refusal });
    } else {
      const wanted = {
        plain: patient.ssn,
        masked: `***-**-${patient.ssn.slice(-4)}`,
        redacted: '[redacted]',
      }[view];
      script.expect(ssn.text === wanted, `the ${view} view shows something else`);
      if (caller === 'billing') leaf = ssn.leaf;
    }
    const shown = refusal === '' ? [name.text, ssn.text, phone.text] : [refusal];
    rows.push([caller, purpose, view, ...shown]);
  }
  script.table([10, 6, 8, 17, 11, 12], rows);
  const views = CASES.filter(({ refusal }) => refusal === '').map(({ view }) => view);
  return { views, denied, leaf };
}

async function reveal(
  stage: Stage,
  caller: string,
  purpose: string,
  view: View,
  field: 'name' | 'ssn' | 'phone',
): Promise<{ text: string; leaf: number }> {
  const token = tokensOf(stage, field)[0] ?? '';
  const batch = batchOf({ domain: `clinic/${field}`, purpose }, [token]);
  const verbs = stage.server.as(caller);
  let answer = { text: '', leaf: 0 };
  const call = async (): Promise<void> => {
    const { outputs, errors, leafIndex } = await verbs.detokenize({
      ...batch,
      view,
      acceptLowerView: false,
    });
    answer = { text: errors[0]?.reason ?? outputs[0] ?? '', leaf: leafIndex };
  };
  const refused = await refusalOf(call());
  return refused === '' ? answer : { text: refused, leaf: 0 };
}

const EXCHANGED_MAX = 1_000;

/** The researcher carries patients into a study, and cannot follow the new tokens back. */
export async function exchangeIntoStudy(stage: Stage): Promise<number> {
  const { script, server, patients, frame } = stage;
  const tokens = tokensOf(stage, 'ssn').slice(0, EXCHANGED_MAX);
  const researcher = server.as('researcher');
  const exchanged = await sendColumn(
    (batch, options) =>
      researcher.exchange({ ...batch, targetDomain: 'clinic/study7', targetContext: '' }, options),
    { domain: 'clinic/ssn', purpose: 'HRESCH' },
    tokens,
    [],
    frame.signal,
  );
  const { outputs, failures } = exchanged;
  const before = new Set(tokens);
  const disjoint = outputs.every((token) => !before.has(token));
  script.expect(failures.size === 0 && disjoint, 'the study has tokens of the clinic');
  script.expect(new Set(outputs).size === tokens.length, 'two patients share a study token');
  const some = outputs.slice(0, SHOWN);
  const plain = { view: 'plain', acceptLowerView: false } as const;
  const study = { domain: 'clinic/study7' };
  const refused = await refusalOf(
    researcher.detokenize({ ...batchOf({ ...study, purpose: 'HRESCH' }, some), ...plain }),
  );
  script.expect(refused === 'VIEW_DENIED', 'the researcher can follow study tokens back');
  const back = await server
    .as('clinician')
    .detokenize({ ...batchOf({ ...study, purpose: 'TREAT' }, some), ...plain });
  const same = back.outputs.every((value, i) => value === patients[i]?.ssn);
  script.expect(same, 'a study token belongs to somebody else');
  script.say(
    `${grouped(outputs.length)} new tokens, e.g. ${tokens[0]} became ${outputs[0]}; no SSN`,
  );
  script.say(`left the engine. The researcher asks for a plain one: ${refused}`);
  return outputs.length;
}

export interface FhirFigures {
  readonly files: number;
  readonly patients: number;
  readonly values: number;
  /** Values that a strict format took, and those it refused, by field and reason. */
  readonly taken: Readonly<Record<string, number>>;
  readonly refused: Readonly<Record<string, Readonly<Record<string, number>>>>;
}

const STRICT: Readonly<Partial<Record<FhirField, { domain: string; title: string }>>> = {
  name: { domain: 'clinic/name', title: 'names' },
  birthDate: { domain: 'clinic/birth-date', title: 'birth dates' },
  ssn: { domain: 'clinic/ssn', title: 'SSNs' },
  phone: { domain: 'clinic/phone', title: 'phones' },
};

/** Real files do not keep to the rules: strict formats count what they refuse, and a domain of free
 *  text, with the issuer as context, takes the rest. */
export async function tokenizeFhir(stage: Stage, fhir: FhirPatients): Promise<FhirFigures> {
  const { script, server } = stage;
  const taken: Record<string, number> = {};
  const refused: Record<string, Record<string, number>> = {};
  const rest = fhir.values.filter(({ field }) => field === 'identifier');
  for (const [field, strict] of Object.entries(STRICT)) {
    const values = fhir.values.filter((each) => each.field === field);
    const { tokens, failures } = await tokenizeFhirValues(stage, strict.domain, values, false);
    rest.push(...values.filter((_, i) => tokens[i] === ''));
    taken[field] = tokens.filter((token) => token !== '').length;
    refused[field] = Object.fromEntries(failures);
    const reasons = [...failures]
      .map(([reason, count]) => `, ${count} refused: ${reason}`)
      .join('');
    script.say(`${strict.title}: ${taken[field]} of ${values.length} taken${reasons}`);
  }
  await server.as('officer').createDomain({
    id: 'clinic/identifier',
    kind: 'static',
    format: 'text',
    displayName: 'Identifiers of other issuers, and what no strict format takes',
  });
  const { failures } = await tokenizeFhirValues(stage, 'clinic/identifier', rest, true);
  script.expect(failures.size === 0, 'free text was refused');
  script.say(`those and ${countOf(rest, 'identifier')} other identifiers (MRN, licence, passport)`);
  script.say(
    `as free text, their issuer as context: ${rest.length} tokens, all revealed and equal`,
  );
  const { files, patients, values } = fhir;
  return { files, patients, values: values.length, taken, refused };
}

const countOf = (values: readonly FhirValue[], field: FhirField): number =>
  values.filter((each) => each.field === field).length;

/** Tokenizes as ehr, reveals as the clinician, and compares what was not refused. */
async function tokenizeFhirValues(
  { script, server, frame }: Stage,
  domain: string,
  values: readonly FhirValue[],
  byIssuer: boolean,
): Promise<{ tokens: readonly string[]; failures: ReadonlyMap<string, number> }> {
  const ehr = server.as('ehr');
  const clinician = server.as('clinician');
  const to = { domain, purpose: 'TREAT' };
  const contexts = byIssuer ? values.map(({ issuer }) => issuer) : [];
  const made = await sendColumn(
    (batch, options) => ehr.tokenize(batch, options),
    to,
    values.map(({ value }) => value),
    contexts,
    frame.signal,
  );
  const tokens = made.outputs;
  const kept = values.filter((_, i) => tokens[i] !== '');
  const shown = await sendColumn(
    (batch, options) =>
      clinician.detokenize({ ...batch, view: 'plain', acceptLowerView: false }, options),
    to,
    tokens.filter((token) => token !== ''),
    byIssuer ? kept.map(({ issuer }) => issuer) : [],
    frame.signal,
  );
  const same = kept.every(({ value }, i) => value === shown.outputs[i]);
  script.expect(same, `${domain} revealed something else`);
  return { tokens, failures: made.failures };
}
