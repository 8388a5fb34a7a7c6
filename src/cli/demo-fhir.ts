import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Environment } from './config.ts';

/** Of a Patient resource, what has a format here; `identifier` is any number whose issuer's rules
 *  Lockstep does not know (MR of other hospitals, driver's licence, passport). */
export type FhirField = 'name' | 'birthDate' | 'ssn' | 'phone' | 'identifier';

export interface FhirValue {
  readonly field: FhirField;
  readonly value: string;
  /** At most 64 bytes. Equal numbers of two issuers are two people, so the issuer is the context
   *  of an identifier: its URI, hashed, since some are longer than a context may be. */
  readonly issuer: string;
}

export interface FhirPatients {
  readonly patients: number;
  /** Files that hold a Patient. */
  readonly files: number;
  readonly values: readonly FhirValue[];
}

/** The Patient resources, bundled and contained ones too, of the FHIR files beside the checkout, or
 *  below LOCKSTEP_DATA; undefined where there are none. Files that are no JSON are left out. */
export function readFhirPatients(env: Environment): FhirPatients | undefined {
  const data = env['LOCKSTEP_DATA'];
  const beside = fileURLToPath(new URL('../../../shared/data', import.meta.url));
  const folder = join(data === undefined || data === '' ? beside : data, 'fhir');
  let names: string[];
  try {
    names = readdirSync(folder).filter((name) => name.endsWith('.json'));
  } catch {
    return undefined;
  }
  let files = 0;
  const patients: Json[] = [];
  for (const name of names.sort()) {
    const before = patients.length;
    collect(parse(readFileSync(join(folder, name), 'utf8')), patients);
    if (patients.length > before) files++;
  }
  return { patients: patients.length, files, values: patients.flatMap(valuesOf) };
}

type Json = Readonly<Record<string, unknown>>;

function parse(text: string): unknown {
  try {
    return JSON.parse(text.replace(/^\uFEFF/, ''));
  } catch {
    return undefined;
  }
}

function collect(node: unknown, found: Json[]): void {
  if (Array.isArray(node)) for (const child of node) collect(child, found);
  else if (isObject(node)) {
    if (node['resourceType'] === 'Patient') found.push(node);
    for (const child of Object.values(node)) collect(child, found);
  }
}

const SSN_SYSTEM = 'http://hl7.org/fhir/sid/us-ssn';

function valuesOf(patient: Json): FhirValue[] {
  const values: FhirValue[] = [];
  const add = (field: FhirField, value: unknown, system: unknown): void => {
    if (typeof value !== 'string' || value === '') return;
    const issuer = createHash('sha256').update(String(system)).digest('base64url');
    values.push({ field, value, issuer });
  };
  for (const name of listOf(patient['name'])) add('name', fullName(name), 'name');
  add('birthDate', patient['birthDate'], 'birthDate');
  for (const { system, value } of listOf(patient['telecom'])) {
    if (system === 'phone') add('phone', value, 'phone');
  }
  for (const { system, value } of listOf(patient['identifier'])) {
    add(system === SSN_SYSTEM ? 'ssn' : 'identifier', value, system);
  }
  return values;
}

function fullName(name: Json): string {
  const given = Array.isArray(name['given']) ? name['given'] : [];
  return [...given, name['family']].filter((part) => typeof part === 'string').join(' ');
}

const listOf = (node: unknown): Json[] => (Array.isArray(node) ? node.filter(isObject) : []);

const isObject = (node: unknown): node is Json =>
  typeof node === 'object' && node !== null && !Array.isArray(node);
