import { create } from '@bufbuild/protobuf';
import { timestampFromMs } from '@bufbuild/protobuf/wkt';
import { CallError } from '../base/call-error.ts';
import type { Engine } from '../engine/calls.ts';
import type { JobView } from '../engine/vault-calls.ts';
import type { Handlers } from './adapter.ts';
import type { CallContext } from './context.ts';
import {
  CancelJobResponseSchema,
  GetJobResponseSchema,
  type Job,
  JobSchema,
  type JobService,
  ListJobsResponseSchema,
  WatchJobResponseSchema,
} from './gen/lockstep/v1/job_service_pb.ts';
import { JOB_STATE_NUMBER } from './names.ts';
import { giveAll } from './outlets.ts';
import { pageEntries, readPageToken, writePageToken } from './page-token.ts';
import { wireErrorOf } from './status.ts';
import { invalid, required } from './validate.ts';

const JOB = /^[0-9A-Za-z]{1,64}$/;
const TARGET = /^[a-z0-9/-]{0,200}$/;

/** Work that outlives its call, seen from outside. */
export function jobHandlers(
  engine: Engine,
  stallMs: number,
): Handlers<(typeof JobService)['method'], Record<never, never>, CallContext> {
  return {
    async getJob({ job }, { caller }) {
      checkJob(job);
      return create(GetJobResponseSchema, { job: wireJob(await engine.getJob(caller, job)) });
    },
    async listJobs({ target, pageSize, pageToken }, { caller }) {
      if (!TARGET.test(target)) throw invalid({ field: 'target', text: 'is not a path' });
      const count = pageEntries(pageSize);
      const scope = [caller.id, 'ListJobs', target];
      const after = readPageToken(pageToken, scope);
      // One more than asked tells whether there is a next page.
      const found = await engine.listJobs(caller, target, after, count + 1);
      const page = found.slice(0, count);
      const last = page.at(-1);
      return create(ListJobsResponseSchema, {
        jobs: page.map(wireJob),
        nextPageToken:
          found.length > count && last !== undefined ? writePageToken(last.id, scope) : '',
      });
    },
    async watchJob({ job }, outlet, context) {
      checkJob(job);
      await giveAll(engine.watchJob(context.caller, job), outlet, context, stallMs, (view) =>
        create(WatchJobResponseSchema, { job: wireJob(view) }),
      );
    },
    async cancelJob({ job }, { caller }) {
      checkJob(job);
      return create(CancelJobResponseSchema, { job: wireJob(await engine.cancelJob(caller, job)) });
    },
  };
}

function checkJob(id: string): void {
  if (id === '') throw required('job');
  if (!JOB.test(id)) throw invalid({ field: 'job', text: 'is not the id of a job' });
}

export function wireJob(view: JobView): Job {
  const { id, kind, target, state, done, total, createdMs, endedMs, reason, result } = view;
  return create(JobSchema, {
    id,
    kind,
    target,
    state: JOB_STATE_NUMBER[state],
    done: BigInt(done),
    total: BigInt(total),
    createTime: timestampFromMs(createdMs),
    ...(endedMs === 0 ? {} : { endTime: timestampFromMs(endedMs) }),
    ...(reason === undefined ? {} : { error: wireErrorOf(new CallError(reason)) }),
    result: { ...result },
  });
}
