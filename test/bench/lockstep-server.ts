import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { SERVER_FLAGS } from '../../src/cli/server-flags.ts';
import { type Connection, connect } from '../../src/rpc/client.ts';
import { type Verbs, verbsOf } from '../../src/rpc/verbs.ts';
import type { Running, Scratch } from './processes.ts';

/** The FPE domain of `digits:9` and the static one that a development server has. */
export const FPE_DOMAIN = 'clinic/account';
export const STATIC_DOMAIN = 'clinic/ssn';
/** Who loads it: the caller of a development client that names none. */
const CALLER = 'dev:dev';
/** More than any run uses in a day; the engine's own daily limits are far below. */
const GRANTED_ITEMS = 1e12;
const DAY_MS = 86_400_000;

const MAIN = join(import.meta.dirname, '../../src/main.ts');
const ECHO = join(import.meta.dirname, 'echo-server.ts');

/** A development server in a process of its own: SoftHSM keys, policy, quota and log on. */
export interface Lockstep {
  readonly address: string;
  readonly pid: number;
  /** Where `--cpu-prof` left its files, after `stop`. */
  readonly profiles: string;
  readonly verbs: Verbs;
  readonly connection: Connection;
  /** A line of the admin port's metrics by what it starts with, labels included. */
  metric(name: string): Promise<number>;
  /** Several out of one scrape. */
  metrics(names: readonly string[]): Promise<number[]>;
  stop(): Promise<void>;
}

export interface LockstepOptions {
  /** An installation made before, or a path where nothing is. */
  readonly folder: string;
  readonly profiled?: boolean;
}

/** Starts it and waits until it serves; new folders get the bulk grants of the load. */
export async function startLockstep(
  scratch: Scratch,
  { folder, profiled = false }: LockstepOptions,
): Promise<Lockstep> {
  const profiles = scratch.path('profiles');
  mkdirSync(profiles);
  const running = await scratch.start(process.execPath, [
    ...(profiled ? ['--cpu-prof', `--cpu-prof-dir=${profiles}`] : []),
    ...SERVER_FLAGS,
    MAIN,
    ...['serve', '--dev', '--json', '--folder', folder],
    ...['--address', '127.0.0.1:0', '--admin-address', '127.0.0.1:0'],
  ]);
  const { port, admin } = running.ready;
  const address = `127.0.0.1:${String(port)}`;
  const connection = connect({ address, transport: 'plaintext' });
  return {
    address,
    pid: running.pid,
    profiles,
    verbs: verbsOf(connection),
    connection,
    metric: async (name) => (await scrape(String(admin), [name]))[0]!,
    metrics: (names) => scrape(String(admin), names),
    async stop() {
      connection.close();
      await running.stop();
    },
  };
}

export async function scrape(admin: string, names: readonly string[]): Promise<number[]> {
  const text = await (await fetch(`http://${admin}/metrics`)).text();
  const lines = text.split('\n');
  return names.map((name) => {
    const line = lines.find((each) => each.startsWith(`${name} `) || each.startsWith(`${name}{`));
    return line === undefined ? Number.NaN : Number(line.slice(line.lastIndexOf(' ')));
  });
}

/** A hospital's first load: what raises the quota for the bench's caller. */
export async function grantBulk(server: Lockstep, domain: string): Promise<void> {
  const grant = { caller: CALLER, domain, count: GRANTED_ITEMS, untilMs: Date.now() + DAY_MS };
  await server.verbs.grantBulk(grant, { headers: { 'lockstep-dev-caller': 'officer' } });
}

export interface Echo extends Pick<Running, 'pid' | 'stop'> {
  readonly address: string;
}

export async function startEcho(scratch: Scratch): Promise<Echo> {
  const { pid, ready, stop } = await scratch.start(process.execPath, [ECHO]);
  return { address: `127.0.0.1:${String(ready['port'])}`, pid, stop };
}

/** `VmRSS` or `VmHWM` of a process in MiB, as Linux tells. */
export function memoryMib(pid: number, name: 'VmRSS' | 'VmHWM'): number {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  const kib = new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(status)?.[1];
  return kib === undefined ? Number.NaN : Number(kib) / 1024;
}
