import { join } from 'node:path';
import { expect } from 'vitest';
import type { Engine } from '../../src/engine/calls.ts';
import type { JobView } from '../../src/engine/vault-calls.ts';
import { DEV } from './harness.ts';

/** The job once it has ended. */
export async function ended(engine: Engine, id: string): Promise<JobView> {
  let last: JobView | undefined;
  for await (const view of engine.watchJob(DEV, id)) last = view;
  return last!;
}

/** Makes a backup; its path. */
export async function backUp(
  engine: Engine,
  folder: string,
  file: string,
  recipients: readonly string[],
  classic = false,
): Promise<string> {
  const request = { file, recipients, classic, requestId: '' };
  const { job } = await engine.backUpVault(DEV, request);
  expect(await ended(engine, job.id)).toMatchObject({ state: 'done' });
  return join(folder, 'backups', file);
}
