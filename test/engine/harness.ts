import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { afterAll } from 'vitest';
import { type Body, decodeBody } from '../../src/audit/body.ts';
import { decodeEntry, type Entry } from '../../src/audit/entry.ts';
import { openLog } from '../../src/audit/log.ts';
import type { Caller } from '../../src/base/caller.ts';
import { type Clock, systemClock } from '../../src/base/clock.ts';
import { type Column, columnOf, rowBytes, stringsOf } from '../../src/base/column.ts';
import { openLogger } from '../../src/base/logger.ts';
import { openMetrics } from '../../src/base/metrics.ts';
import { Plain } from '../../src/base/plain.ts';
import type {
  DetokenizeCall,
  DomainRequest,
  Engine,
  ExchangeCall,
  InspectCall,
  LookupCall,
  PerCall,
  TokenizeCall,
} from '../../src/engine/calls.ts';
import { NONE } from '../../src/engine/calls.ts';
import type { WorkerStart } from '../../src/engine/job.ts';
import { BODY_LABEL } from '../../src/engine/jobs/bodies.ts';
import { KeyRing } from '../../src/engine/key-ring.ts';
import { type EngineOptions, openEngine } from '../../src/engine/open.ts';
import { insecureMemoryModule } from '../../src/keys/insecure-memory.ts';
import { CHECKPOINT_LABEL, ROOT_LABEL } from '../../src/keys/roots.ts';
import { sivOpen } from '../../src/modes/siv.ts';
import { openPolicy } from '../../src/policy/cedar.ts';
import type { CallerGrants } from '../../src/policy/grants.ts';
import { devCallers } from '../../src/policy/starter/callers.ts';
import { starterPolicies, starterSchema } from '../../src/policy/starter/starter.ts';

/** Everything at home; the other callers are `dev:ehr`, `dev:clinician`, … of the starter set. */
export const DEV: Caller = { id: 'dev:dev', organisation: 'clinic' };
export const callerOf = (name: string): Caller => ({ id: `dev:${name}`, organisation: 'clinic' });

export const SEED = new Uint8Array(32).fill(7);
export const ORIGIN = 'test.example/lockstep';

export interface Installation {
  readonly folder: string;
  /** What the engine told whoever runs the process. */
  readonly fatal: string[];
  open(): Promise<Engine>;
  remove(): void;
}

export interface InstallationOptions {
  readonly module?: WorkerStart['module'];
  readonly clock?: Clock;
  readonly limits?: EngineOptions['limits'];
  readonly moduleDelayMs?: number;
  readonly checkpointKey?: string;
  /** Beside those of the starter set. */
  readonly callers?: readonly CallerGrants[];
  /** One that is there already, e.g. a copy. */
  readonly folder?: string;
  /** Where the vault is said to lie: the same for a copy, which stands for a crash; undefined for
   *  where it lies indeed. */
  readonly place?: string | undefined;
  readonly accept?: EngineOptions['accept'];
  readonly checkpoint?: string;
}

/** A new installation in a temporary folder; the same module again at every open. */
export function installation(options: InstallationOptions = {}): Installation {
  const folder = options.folder ?? join(mkdtempSync(join(tmpdir(), 'lockstep-engine-')), 'data');
  const { module = { kind: 'insecure-memory', seed: SEED }, clock = systemClock } = options;
  const { limits = {}, moduleDelayMs = 0, callers = [] } = options;
  const { checkpointKey = CHECKPOINT_LABEL, accept, checkpoint } = options;
  const place = 'place' in options ? options.place : 'tests';
  const fatal: string[] = [];
  return {
    folder,
    fatal,
    open: () =>
      openEngine({
        folder,
        module,
        root: ROOT_LABEL,
        checkpointKey,
        origin: ORIGIN,
        policy: openPolicy({
          policies: starterPolicies(),
          schema: starterSchema(),
          callers: [...devCallers, ...callers],
        }),
        clock,
        logger: openLogger({ level: 'silent' }),
        metrics: openMetrics(),
        create: !existsSync(folder),
        // Without a reserve: sixteen MiB an installation would be most of what tests write.
        limits: { ballastBytes: 0, ...limits },
        moduleDelayMs,
        ...(place === undefined ? {} : { place }),
        ...(accept === undefined ? {} : { accept }),
        ...(checkpoint === undefined ? {} : { checkpoint }),
        onFatal: (why) => fatal.push(why),
      }),
    remove: () => rmSync(join(folder, '..'), { recursive: true, force: true }),
  };
}

const copies: string[] = [];

afterAll(() => {
  for (const copy of copies.splice(0)) rmSync(copy, { recursive: true, force: true });
});

/** As a crash leaves it: the files as they are now. LOCK is left out, since opening and closing it
 *  here would drop LevelDB's lock (facts.md F6). */
export function copyOf(folder: string): string {
  const home = mkdtempSync(join(tmpdir(), 'lockstep-engine-copy-'));
  copies.push(home);
  const copy = join(home, 'data');
  cpSync(folder, copy, { recursive: true, filter: (path) => basename(path) !== 'LOCK' });
  return copy;
}

/** A clock that stands still until it is moved. */
export function heldClock(startMs: number): Clock & { ms: number } {
  return {
    ms: startMs,
    nowMs() {
      return this.ms;
    },
  };
}

export interface LoggedCall {
  readonly entry: Entry;
  readonly bytes: Uint8Array;
  /** Opened; undefined where the verb has none. */
  readonly body: Body | undefined;
  /** As hashed. */
  readonly bodyBytes: Uint8Array | undefined;
}

/** The log of a closed installation, or of a copy, with its bodies opened. */
export async function readLog(folder: string): Promise<LoggedCall[]> {
  const module = insecureMemoryModule({ seed: SEED });
  const ring = KeyRing.open(module, ROOT_LABEL, readFileSync(join(folder, 'catalogue.json')));
  const log = await openLog({
    folder: join(folder, 'log'),
    origin: ORIGIN,
    sign: async (message) => module.sign(CHECKPOINT_LABEL, message),
    publicKey: module.publicKey(CHECKPOINT_LABEL),
    clock: systemClock,
    create: false,
  });
  const calls: LoggedCall[] = [];
  for await (const { index, entry } of log.entriesFrom(0)) {
    const sealed = (await log.body(index)) ?? new Uint8Array(0);
    const bodyBytes = sealed.length === 0 ? undefined : openBody(ring, sealed);
    const body = bodyBytes && decodeBody(bodyBytes);
    calls.push({ entry: decodeEntry(entry), bytes: entry, body, bodyBytes });
  }
  await log.close();
  return calls;
}

function openBody(ring: KeyRing, sealed: Uint8Array): Uint8Array {
  const { plain, ok } = sivOpen(
    ring.own('body-mac'),
    ring.own('body-ctr'),
    [BODY_LABEL],
    columnOf([sealed]),
  );
  if (ok[0] !== 1) throw new Error('a log body does not open');
  return rowBytes(plain, 0);
}

export const domain = (id: string, kind: DomainRequest['kind'], format: string, more = {}) => ({
  id,
  kind,
  format,
  ...more,
});

const base = (domainId: string, purpose: string) => ({
  caller: DEV,
  domain: domainId,
  purpose,
  deadlineMs: Date.now() + 30_000,
  cancelled: () => false,
  delivery: 'best-effort' as const,
  context: NONE,
  subject: NONE,
  requestId: '',
});

export const tokenizeCall = (
  domainId: string,
  values: readonly string[],
  more: Partial<TokenizeCall> = {},
): TokenizeCall => ({
  ...base(domainId, ''),
  values: new Plain(columnOf(values)),
  waitForProof: false,
  ...more,
});

export const detokenizeCall = (
  domainId: string,
  tokens: readonly string[] | Column,
  more: Partial<DetokenizeCall> = {},
): DetokenizeCall => ({
  ...base(domainId, 'TREAT'),
  tokens: 'bytes' in tokens ? tokens : columnOf(tokens),
  view: 'plain',
  acceptLowerView: false,
  waitForProof: false,
  ...more,
});

export const exchangeCall = (
  from: string,
  into: string,
  tokens: readonly string[],
  more: Partial<ExchangeCall> = {},
): ExchangeCall => ({
  ...base(from, 'TREAT'),
  tokens: columnOf(tokens),
  targetDomain: into,
  targetContext: NONE,
  waitForProof: false,
  ...more,
});

export const lookupCall = (
  domainId: string,
  values: readonly string[],
  more: Partial<LookupCall> = {},
): LookupCall => ({ ...base(domainId, ''), values: new Plain(columnOf(values)), ...more });

export const inspectCall = (
  domainId: string,
  tokens: readonly string[],
  more: Partial<InspectCall> = {},
): InspectCall => ({
  ...base(domainId, ''),
  tokens: columnOf(tokens),
  withDetails: false,
  ...more,
});

export const one = (value: string): PerCall => ({ kind: 'one', value: Buffer.from(value) });
export const each = (...values: readonly string[]): PerCall => ({
  kind: 'each',
  values: columnOf(values),
});

export const textOf = (column: Column | Plain): string[] =>
  stringsOf(column instanceof Plain ? column.reveal() : column);
