import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { stringify } from 'smol-toml';
import { CallError } from '../base/call-error.ts';
import type { DomainRequest, Engine } from '../engine/calls.ts';
import { initialiseRoots } from '../keys/roots.ts';
import { createSoftHsmToken } from '../keys/softhsm.ts';
import { devCallers } from '../policy/starter/callers.ts';
import { loadConfig } from './config.ts';
import type { Config } from './config-schema.ts';

/** What a development server is ready to tokenize: one domain of each use, all of `clinic`. */
export const DEV_DOMAINS: readonly DomainRequest[] = [
  { id: 'clinic/ssn', kind: 'static', format: 'ssn', displayName: 'Social security numbers' },
  { id: 'clinic/study7', kind: 'static', format: 'ssn', displayName: 'SSNs of study 7' },
  {
    id: 'clinic/mrn',
    kind: 'fpe',
    format: 'mrn:8',
    assigner: 'urn:oid:2.16.840.1.113883.19.5',
    displayName: 'Medical record numbers',
  },
  { id: 'clinic/npi', kind: 'fpe', format: 'npi', displayName: 'Provider identifiers' },
  { id: 'clinic/mbi', kind: 'fpe', format: 'mbi', displayName: 'Medicare beneficiaries' },
  { id: 'clinic/phone', kind: 'fpe', format: 'phone', displayName: 'Telephone numbers' },
  { id: 'clinic/account', kind: 'fpe', format: 'digits:9', displayName: 'Account numbers' },
  { id: 'clinic/visit', kind: 'dynamic', format: 'digits:9', displayName: 'A token a visit' },
  { id: 'clinic/note', kind: 'siv', format: 'text', displayName: 'Free text' },
  {
    id: 'clinic/name',
    kind: 'siv',
    format: 'name',
    displayName: 'Names',
    note: 'one token a name, so that records of a patient stay together in the demo',
  },
  {
    id: 'clinic/birth-date',
    kind: 'siv',
    format: 'date',
    displayName: 'Birth dates',
    note: 'one token a date, so that records of a patient stay together in the demo',
  },
  { id: 'clinic/pseudonym', kind: 'one-way', format: 'text', displayName: 'For good' },
];

export interface Development {
  readonly config: Config;
  /** Of the SoftHSM token: what SOFTHSM2_CONF names for pkcs11-tool. */
  readonly softHsmConf: string;
  /** True where the folder was made now. */
  readonly fresh: boolean;
}

/** A development installation in a folder: SoftHSM token, roots, configuration; made where they are
 *  missing and kept where they are there. The PIN lies beside the token, so this is for trying
 *  Lockstep out and for nothing else. Throws `ModuleError` or `ConfigError`. */
export function prepareDevelopment(
  folderName: string,
  library: string,
  addresses: { readonly server: string; readonly admin: string },
): Development {
  const folder = resolve(folderName);
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const token = createSoftHsmToken({
    library,
    folder: join(folder, 'softhsm'),
    label: 'lockstep-dev',
    pin: randomBytes(12).toString('hex'),
    soPin: randomBytes(12).toString('hex'),
  });
  initialiseRoots({ library, token: token.token, pinSource: token.pinSource }, { ifMissing: true });
  const file = join(folder, 'lockstep.toml');
  writeFileSync(file, configText(token, addresses), { mode: 0o600 });
  const fresh = !existsSync(join(folder, 'data', 'catalogue.json'));
  const { config } = loadConfig(file, {});
  return { config, softHsmConf: token.conf, fresh };
}

/** Makes those domains of a development installation that are not there, as its officer would: all
 *  of them where it is new, the rest where its first start was ended half-way. */
export async function makeDevDomains(engine: Engine): Promise<void> {
  const officer = { id: 'dev:officer', organisation: 'clinic' };
  for (const request of DEV_DOMAINS) {
    const there = await engine.getDomain(officer, request.id).catch(absentOnly);
    if (there === undefined) await engine.createDomain(officer, request);
  }
}

function absentOnly(error: unknown): undefined {
  if (!(error instanceof CallError && error.reason === 'RESOURCE_NOT_FOUND')) throw error;
}

const configText = (
  token: { readonly library: string; readonly token: string; readonly pinSource: string },
  addresses: { readonly server: string; readonly admin: string },
): string =>
  `# Written anew by each \`lockstep serve --dev\`; copy it before you change it.\n${stringify({
    server: { address: addresses.server, plaintext: 'loopback' },
    admin: { address: addresses.admin },
    module: { library: token.library, token: token.token, pin_source: token.pinSource },
    data: { folder: 'data' },
    log: { origin: 'localhost/lockstep-dev' },
    callers: devCallers.map((caller) => ({
      ...caller,
      grants: caller.grants.map((grant) => ({
        actions: [...grant.actions],
        domains: [...grant.domains],
        purposes: [...grant.purposes],
      })),
    })),
  })}`;
