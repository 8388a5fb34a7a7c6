import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Caller } from '../../src/base/caller.ts';
import { type Clock, systemClock } from '../../src/base/clock.ts';
import { type Column, columnOf, stringsOf } from '../../src/base/column.ts';
import { openLogger } from '../../src/base/logger.ts';
import { openMetrics } from '../../src/base/metrics.ts';
import { Plain } from '../../src/base/plain.ts';
import type {
  DetokenizeCall,
  DomainRequest,
  Engine,
  ExchangeCall,
  TokenizeCall,
} from '../../src/engine/calls.ts';
import { NONE } from '../../src/engine/calls.ts';
import type { WorkerStart } from '../../src/engine/job.ts';
import { openEngine } from '../../src/engine/open.ts';
import { CHECKPOINT_LABEL, ROOT_LABEL } from '../../src/keys/roots.ts';
import { openPolicy } from '../../src/policy/cedar.ts';
import { devCallers } from '../../src/policy/starter/callers.ts';
import { starterPolicies, starterSchema } from '../../src/policy/starter/starter.ts';

/** Everything at home; the other callers are `dev:ehr`, `dev:clinician`, … of the starter set. */
export const DEV: Caller = { id: 'dev:dev', organisation: 'clinic' };
export const callerOf = (name: string): Caller => ({ id: `dev:${name}`, organisation: 'clinic' });

const SEED = new Uint8Array(32).fill(7);

export interface Installation {
  readonly folder: string;
  open(): Promise<Engine>;
  remove(): void;
}

/** A new installation in a temporary folder; the same module again at every open. */
export function installation(
  options: { module?: WorkerStart['module']; clock?: Clock } = {},
): Installation {
  const folder = join(mkdtempSync(join(tmpdir(), 'lockstep-engine-')), 'data');
  const { module = { kind: 'insecure-memory', seed: SEED }, clock = systemClock } = options;
  let create = true;
  return {
    folder,
    async open() {
      const engine = await openEngine({
        folder,
        module,
        root: ROOT_LABEL,
        checkpointKey: CHECKPOINT_LABEL,
        origin: 'test.example/lockstep',
        policy: openPolicy({
          policies: starterPolicies(),
          schema: starterSchema(),
          callers: devCallers,
        }),
        clock,
        logger: openLogger({ level: 'silent' }),
        metrics: openMetrics(),
        create,
        onFatal: (why) => {
          throw new Error(why);
        },
      });
      create = false;
      return engine;
    },
    remove: () => rmSync(join(folder, '..'), { recursive: true, force: true }),
  };
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

export const textOf = (column: Column | Plain): string[] =>
  stringsOf(column instanceof Plain ? column.reveal() : column);
