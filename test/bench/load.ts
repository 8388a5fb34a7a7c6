import { accessSync, constants } from 'node:fs';
import { homedir } from 'node:os';
import { delimiter, join } from 'node:path';
import type { Payloads } from './payloads.ts';
import type { Scratch } from './processes.ts';

/** What to send, where to and how hard. */
export interface Shot {
  readonly address: string;
  readonly payloads: Payloads;
  /** Calls under way at once, spread over the connections. */
  readonly concurrency: number;
  readonly connections: number;
  readonly seconds: number;
  /** Ends after so many calls, instead of so many seconds. */
  readonly callsMax?: number;
}

/** What came back. */
export interface Volley {
  /** Answered OK. */
  readonly calls: number;
  readonly failed: number;
  readonly seconds: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
}

export interface Load {
  readonly name: string;
  fire(shot: Shot): Promise<Volley>;
}

export const callsPerSecond = ({ calls, seconds }: Volley): number => calls / seconds;

/** ghz where it is installed, else our own client. */
export function findLoad(scratch: Scratch, wanted: 'ghz' | 'own' | undefined): Load {
  const ghz = wanted === 'own' ? undefined : findProgram('ghz');
  if (wanted === 'ghz' && ghz === undefined) throw new Error('ghz is not installed');
  return ghz === undefined ? ownLoad(scratch) : ghzLoad(scratch, ghz);
}

/** On PATH, where `go install` puts programs, or in the project's cache. */
export function findProgram(name: string): string | undefined {
  const gopath = process.env['GOPATH'] ?? join(homedir(), 'go');
  const cache = process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache');
  const folders = [
    ...(process.env['PATH'] ?? '').split(delimiter),
    join(gopath, 'bin'),
    join(cache, 'lockstep', 'bin'),
    '/usr/local/go/bin',
  ];
  return folders.map((folder) => join(folder, name)).find(isExecutable);
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

export function ownLoad(scratch: Scratch): Load {
  const script = join(import.meta.dirname, 'load-client.ts');
  return {
    name: 'own client',
    async fire(shot) {
      const { values: _, ...payloads } = shot.payloads;
      const text = await scratch.run(process.execPath, [
        script,
        JSON.stringify({ ...shot, payloads }),
      ]);
      return checked(JSON.parse(text) as Volley, text);
    },
  };
}

/** The parts of ghz's JSON report that count; durations are in nanoseconds. */
interface GhzReport {
  readonly count: number;
  readonly total: number;
  readonly latencyDistribution: readonly { percentage: number; latency: number }[] | null;
  readonly statusCodeDistribution: Readonly<Record<string, number>> | null;
  readonly errorDistribution?: Readonly<Record<string, number>>;
}

const PROTOSET = join(import.meta.dirname, '../../src/rpc/gen/image.binpb');

function ghzLoad(scratch: Scratch, ghz: string): Load {
  return {
    name: 'ghz',
    async fire({ address, payloads, concurrency, connections, seconds, callsMax }) {
      const args = [
        ...['--insecure', '--protoset', PROTOSET, '--call', payloads.path],
        ...['--data-file', payloads.jsonFile],
        ...['--concurrency', String(concurrency), '--connections', String(connections)],
        ...(callsMax === undefined
          ? ['--duration', `${seconds}s`, '--duration-stop', 'wait']
          : ['--total', String(callsMax)]),
        ...['--format', 'json'],
        address,
      ];
      const text = await scratch.run(ghz, args);
      const report = JSON.parse(text) as GhzReport;
      const calls = report.statusCodeDistribution?.['OK'] ?? 0;
      const at = (percentage: number): number =>
        (report.latencyDistribution?.find((each) => each.percentage === percentage)?.latency ?? 0) /
        1e6;
      const volley = {
        calls,
        failed: report.count - calls,
        seconds: report.total / 1e9,
        p50Ms: at(50),
        p99Ms: at(99),
      };
      return checked(volley, JSON.stringify(report.errorDistribution ?? {}));
    },
  };
}

/** A figure over failing calls would be no figure. */
function checked(volley: Volley, report: string): Volley {
  if (volley.failed > 0 || volley.calls === 0) {
    throw new Error(`${volley.failed} of ${volley.calls + volley.failed} calls failed: ${report}`);
  }
  return volley;
}
