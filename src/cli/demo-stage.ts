import type { Field, Patient } from './demo-patients.ts';
import type { Script } from './demo-script.ts';
import type { DemoServer } from './demo-server.ts';
import type { Frame } from './frame.ts';

/** What every part of the demo works with. */
export interface Stage {
  readonly frame: Frame;
  readonly script: Script;
  readonly server: DemoServer;
  readonly patients: readonly Patient[];
  /** The tokens of the patients, field by field, in their order. */
  readonly tokens: Map<Field, readonly string[]>;
}

export interface FieldPlan {
  readonly field: Field;
  readonly title: string;
  readonly domain: string;
  /** Columns of a table. */
  readonly width: number;
  /** The format whose validator must refuse every token. */
  readonly neverReal?: string;
}

/** Values of a patient and the development domains they belong to. */
export const FIELDS: readonly FieldPlan[] = [
  { field: 'name', title: 'name', domain: 'clinic/name', width: 17 },
  { field: 'birthDate', title: 'born', domain: 'clinic/birth-date', width: 10 },
  { field: 'ssn', title: 'SSN', domain: 'clinic/ssn', width: 11, neverReal: 'ssn' },
  { field: 'mrn', title: 'MRN', domain: 'clinic/mrn', width: 8 },
  { field: 'npi', title: "doctor's NPI", domain: 'clinic/npi', width: 12, neverReal: 'npi' },
  { field: 'mbi', title: 'MBI', domain: 'clinic/mbi', width: 13, neverReal: 'mbi' },
  { field: 'phone', title: 'phone', domain: 'clinic/phone', width: 12 },
];

/** Patients whose values and tokens are shown. */
export const SHOWN = 5;

export const valuesOf = (patients: readonly Patient[], field: Field): string[] =>
  patients.map((patient) => patient[field]);

export function tokensOf(stage: Stage, field: Field): readonly string[] {
  return stage.tokens.get(field) ?? [];
}
