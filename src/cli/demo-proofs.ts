import { join } from 'node:path';
import { fsckLog } from '../audit/fsck.ts';
import { type ListedKey, listKeys, logKey, verifyTampered } from './demo-audit.ts';
import { grouped } from './demo-script.ts';
import { type SearchReport, searchPlain } from './demo-search.ts';
import { SHOWN, type Stage } from './demo-stage.ts';

/** The keys as a foreign program sees them: two private ones, and neither can leave. */
export async function showKeys({ script, server, frame }: Stage): Promise<ListedKey[] | null> {
  const keys = await listKeys(server, frame.io);
  if (keys === undefined) {
    script.say('left out: pkcs11-tool is not installed (Debian: apt-get install opensc)');
    return null;
  }
  const secret = keys.filter(({ kind }) => kind !== 'Public Key');
  for (const { kind, label, access } of secret) {
    script.say(`${label}, ${kind.toLowerCase()}:`);
    script.say(`  ${access}`);
  }
  script.expect(secret.length === 2, 'the token does not hold two roots');
  for (const { label, access } of secret) {
    const safe = /\balways sensitive, never extractable, local\b/.test(access);
    script.expect(safe, `${label} may leave the module`);
  }
  script.say('the keys of the domains are stored wrapped by the root alone');
  return keys;
}

export interface LogFigures {
  /** Leaves, all under the last checkpoint. */
  readonly leaves: number;
  readonly tampered: { readonly leaf: number; readonly firstBadIndex: number | null };
}

/** The server is down: now the log must speak for itself. `leaf` is the one to be falsified. */
export async function verifyLog(stage: Stage, leaf: number): Promise<LogFigures> {
  const { script, server, frame } = stage;
  const verifier = await logKey(server, frame.io);
  const log = join(server.config().data.folder, 'log');
  const report = await fsckLog(log, verifier);
  script.expect(report.ok, 'the log is in doubt');
  script.expect(report.size === report.entries, 'the last checkpoint does not cover every leaf');
  script.say(`${grouped(report.size)} leaves, one a call, every hash and checkpoint as it must be`);
  const change = { leaf, from: 'dev:billing', to: 'dev:nobody1' };
  const copy = join(server.folder, 'log-falsified');
  const { ok, firstBadIndex } = await verifyTampered(log, copy, verifier, change);
  const found = !ok && firstBadIndex === leaf;
  script.expect(found, 'a falsified leaf was not found');
  script.say(
    `a copy whose leaf ${leaf} names another caller: refused from leaf ${firstBadIndex} on`,
  );
  return { leaves: report.size, tampered: { leaf, firstBadIndex: firstBadIndex ?? null } };
}

/** Nothing that the server wrote holds a plain value of those shown, or of the FHIR patients. */
export async function searchFiles(stage: Stage, also: readonly string[]): Promise<SearchReport> {
  const { script, server, patients } = stage;
  const { folder } = server.config().data;
  const values = patients.slice(0, SHOWN).flatMap((patient) => Object.values(patient));
  // The id of a domain stands in the catalogue and in every leaf.
  const report = searchPlain([folder, server.logFile], [...values, ...also], 'clinic/ssn');
  const mib = (report.bytes / 2 ** 20).toFixed(1);
  script.expect(report.control, 'the search does not find what is there');
  script.expect(report.hits === 0, 'a plain value lies in a file');
  const looked = `${report.needles} spellings of ${values.length + also.length} values`;
  script.say(`${looked} in ${report.files} files, ${mib} MiB: 0 hits`);
  return report;
}
