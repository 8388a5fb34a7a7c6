import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { PolicyError, splitPolicies } from './cedar.ts';

const STARTER = fileURLToPath(new URL('./starter', import.meta.url));
const SCHEMA = 'schema.cedarschema';

/** Rules and schema of a folder, as `openPolicy` takes them: every `*.cedar` file, each policy
 *  with an `@id` of its own across all files, and `schema.cedarschema`, or the starter's where the
 *  folder has none. Without a folder, the starter policy. Throws `PolicyError`, also for a folder
 *  that cannot be read or holds no policy: that would deny everything. */
export function readPolicyFolder(folder: string = STARTER): {
  policies: Record<string, string>;
  schema: string;
} {
  const names = inFolder(() => readdirSync(folder)).toSorted();
  const files = names.filter((name) => name.endsWith('.cedar'));
  const text = files.map((name) => inFolder(() => readFileSync(join(folder, name), 'utf8')));
  const policies = splitPolicies(text.join('\n'));
  if (Object.keys(policies).length === 0) throw new PolicyError(['the folder has no policy']);
  const home = names.includes(SCHEMA) ? folder : STARTER;
  return { policies, schema: inFolder(() => readFileSync(join(home, SCHEMA), 'utf8')) };
}

function inFolder<T>(read: () => T): T {
  try {
    return read();
  } catch (cause) {
    const code = cause instanceof Error && 'code' in cause ? String(cause.code) : 'unknown';
    throw new PolicyError([`a file of the policy folder cannot be read (${code})`]);
  }
}
