import { readdirSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import type { ThreadProfile } from './figure.ts';

const FUNCTIONS_SHOWN = 15;
/** What V8 calls the samples in which the thread waited. */
const IDLE = '(idle)';
/** What it calls native code outside any function: HTTP/2, sockets, the module, the garbage that
 *  helpers collect. */
const PROGRAM = '(program)';

/** What `node --cpu-prof` writes (Chrome DevTools protocol, Profiler.Profile). */
interface CpuProfile {
  readonly nodes: readonly {
    readonly id: number;
    readonly callFrame: {
      readonly functionName: string;
      readonly url: string;
      readonly lineNumber: number;
    };
  }[];
  /** Microseconds of the monotonic clock. */
  readonly startTime: number;
  readonly samples: readonly number[];
  readonly timeDeltas: readonly number[];
}

/** From and to, of the machine's monotonic clock: `process.hrtime` of any process. */
export interface Window {
  readonly fromMicros: number;
  readonly toMicros: number;
}

export const monotonicMicros = (): number => Number(process.hrtime.bigint() / 1_000n);

/** The profiles of a server's threads within the time of its load, the main one first. */
export function readProfiles(folder: string, window: Window): ThreadProfile[] {
  return readdirSync(folder)
    .filter((name) => name.endsWith('.cpuprofile'))
    .map((name) => ({ name, thread: Number(name.split('.').at(-3)) }))
    .sort((a, b) => a.thread - b.thread)
    .map(({ name, thread }) => {
      const profile = JSON.parse(readFileSync(join(folder, name), 'utf8')) as CpuProfile;
      return summaryOf(profile, window, thread === 0 ? 'main thread' : 'key worker');
    });
}

/** Self time by function. */
function summaryOf(profile: CpuProfile, window: Window, thread: string): ThreadProfile {
  const { nodes, samples, timeDeltas } = profile;
  const frames = new Map(nodes.map((node) => [node.id, node.callFrame]));
  const selfOf = new Map<string, { name: string; place: string; micros: number }>();
  let total = 0;
  let busy = 0;
  let now = profile.startTime;
  for (const [i, id] of samples.entries()) {
    const before = now;
    now += timeDeltas[i] ?? 0;
    // A delta is the time since the sample before, so it belongs to that one's function.
    const frame = frames.get(samples[i - 1] ?? id);
    const micros = now - before;
    if (before < window.fromMicros || now > window.toMicros || micros < 0) continue;
    total += micros;
    if (frame === undefined || frame.functionName === IDLE) continue;
    busy += micros;
    const place = frame.functionName === PROGRAM ? '' : placeOf(frame.url, frame.lineNumber + 1);
    const name = frame.functionName === '' ? '(anonymous)' : frame.functionName;
    const key = `${name} ${place}`;
    const entry = selfOf.get(key) ?? { name, place, micros: 0 };
    entry.micros += micros;
    selfOf.set(key, entry);
  }
  const functions = [...selfOf.values()]
    .sort((a, b) => b.micros - a.micros)
    .slice(0, FUNCTIONS_SHOWN)
    .map(({ name, place, micros }) => ({ name, place, share: micros / busy }));
  return { thread, busy: busy / total, functions };
}

function placeOf(url: string, line: number): string {
  if (url === '') return 'native';
  const path = url.replace(/^file:\/\//, '');
  const module = /node_modules\/((?:@[^/]+\/)?[^/]+)\/(.*)$/.exec(path);
  if (module !== null) return `${module[1]}/${basename(module[2] ?? '')}:${line}`;
  const own = /\/(src|test)\/.*$/.exec(path);
  return `${own === null ? path : own[0].slice(1)}:${line}`;
}
