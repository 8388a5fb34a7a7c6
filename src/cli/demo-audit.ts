import { execFile } from 'node:child_process';
import { cpSync, existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { fsckLog, type LogReport } from '../audit/fsck.ts';
import { decodeBundle, partialFolder, TILE_WIDTH, tilePath } from '../audit/tiles.ts';
import type { DemoServer } from './demo-server.ts';
import type { Io } from './frame.ts';

const run = promisify(execFile);
const MAIN = fileURLToPath(new URL('../main.ts', import.meta.url));

/** One object in the token, as pkcs11-tool lists it. */
export interface ListedKey {
  readonly kind: string;
  readonly label: string;
  /** E.g. `sensitive, always sensitive, never extractable, local`. */
  readonly access: string;
}

/** The token's objects by a foreign program; undefined where pkcs11-tool is not installed. The PIN
 *  goes by the environment of that process, never on a command line that others can list. */
export async function listKeys(server: DemoServer, io: Io): Promise<ListedKey[] | undefined> {
  const { library, token, pin_source: pinSource } = server.config().module;
  const pin = readFileSync(pinSource, 'utf8').trim();
  const env = { ...io.env, SOFTHSM2_CONF: server.softHsmConf, LOCKSTEP_DEMO_PIN: pin };
  const login = ['--token-label', token, '--login', '--pin', 'env:LOCKSTEP_DEMO_PIN'];
  try {
    const args = ['--module', library, ...login, '--list-objects'];
    const { stdout } = await run('pkcs11-tool', args, { env, encoding: 'utf8' });
    return objectsOf(stdout);
  } catch (cause) {
    if (cause instanceof Error && 'code' in cause && cause.code === 'ENOENT') return undefined;
    throw cause;
  }
}

/** Objects begin at the margin; their attributes are indented below. */
function objectsOf(text: string): ListedKey[] {
  return text
    .split(/\n(?=\S)/)
    .filter((part) => / Object\b/.test(part))
    .map((part) => ({
      kind: /^[^;\n]*/.exec(part.trimStart())?.[0].replace(' Object', '') ?? '',
      label: /^ +label: +(.*)$/m.exec(part)?.[1]?.trim() ?? '',
      access: /^ +Access: +(.*)$/m.exec(part)?.[1]?.trim() ?? '',
    }));
}

/** The log's public key out of the module, as `lockstep log key` prints it. */
export async function logKey(server: DemoServer, io: Io): Promise<string> {
  const env = { ...io.env, SOFTHSM2_CONF: server.softHsmConf };
  const args = [MAIN, 'log', 'key', '--config', join(server.folder, 'lockstep.toml')];
  const { stdout } = await run(process.execPath, args, { env, encoding: 'utf8' });
  return stdout.trim();
}

/** Copies a log, writes another caller over that of one leaf, and verifies the copy. */
export async function verifyTampered(
  log: string,
  copy: string,
  verifier: string,
  change: { readonly leaf: number; readonly from: string; readonly to: string },
): Promise<LogReport> {
  cpSync(log, copy, { recursive: true });
  const tile = Math.floor(change.leaf / TILE_WIDTH);
  const file = bundleFile(copy, tile);
  const bundle = readFileSync(file);
  // Views of the bundle: what is written to an entry is written to it.
  const entry = decodeBundle(bundle)[change.leaf % TILE_WIDTH];
  const at = entry === undefined ? -1 : Buffer.from(entry).indexOf(change.from);
  if (entry === undefined || at < 0) throw new Error('the leaf is not where it should be');
  entry.set(Buffer.from(change.to), at);
  writeFileSync(file, bundle);
  return fsckLog(copy, verifier);
}

/** The full bundle of a place, or the widest partial one. */
function bundleFile(log: string, tile: number): string {
  const full = join(log, tilePath('entries', tile, TILE_WIDTH));
  if (existsSync(full)) return full;
  const widths = readdirSync(join(log, partialFolder('entries', tile))).map(Number);
  return join(log, tilePath('entries', tile, Math.max(...widths)));
}
