import assert from 'node:assert';
import { bodyHash, decodeBody } from '../../audit/body.ts';
import { CallError } from '../../base/call-error.ts';
import { columnOf, rowBytes, rowCount } from '../../base/column.ts';
import { compileDomain } from '../../codec/domain.ts';
import { type BlockKey, ModuleError } from '../../keys/key.ts';
import { sivOpen } from '../../modes/siv.ts';
import { SubjectGroups } from '../../vault/subject-groups.ts';
import type { Job, JobFailure, JobResult, OpenBodyJob, OpenBodyResult, SealJob } from '../job.ts';
import type { KeyRing } from '../key-ring.ts';
import { groupsOf as mergedOf } from './aliased.ts';
import { BODY_LABEL, Bodies } from './bodies.ts';
import { bodySubjects, type OpenDomain, runDecode, runEncode, type Shared } from './derived.ts';
import { runReindex, runSubjects } from './reindex.ts';
import { AllSubjectFlags } from './subject-flags.ts';
import { indexSubjects } from './subjects.ts';
import { runLocate, runReveal } from './unvault.ts';
import { runIndex, runMint } from './vaulted.ts';

/** Runs the jobs of one message: those of one shape together, in lockstep; their log bodies all
 *  together at the end. A group that fails fails its own jobs and no others. */
export class JobRunner {
  readonly #ring: KeyRing;
  readonly #groups: SubjectGroups;
  readonly #domains = new Map<string, Omit<OpenDomain, 'groups'>>();

  /** `groups` may change while it runs, between two messages. */
  constructor(ring: KeyRing, groups = new SubjectGroups(), flags = new AllSubjectFlags()) {
    this.#ring = ring;
    this.#groups = groups;
    for (const spec of ring.domains) {
      this.#domains.set(spec.id, {
        compiled: compileDomain(spec),
        keys: ring.keysOf(spec),
        flags: flags.of(spec.id),
      });
    }
  }

  /** Answers in the order of the jobs. */
  run(jobs: readonly Job[]): (JobResult | JobFailure)[] {
    const results = new Array<JobResult | JobFailure>(jobs.length);
    const bodies = new Bodies();
    for (const places of groupsOf(jobs)) {
      const group = places.map((place) => jobs[place]!);
      try {
        const answers = this.#runGroup(bodies, group);
        for (const [i, place] of places.entries()) results[place] = answers[i]!;
      } catch (error) {
        for (const place of places) results[place] = failureOf(error);
      }
    }
    try {
      bodies.seal(this.#ring.own('body-mac'), this.#ring.own('body-ctr'));
    } catch (error) {
      // Nothing may leave without its leaf, so the whole message fails.
      return jobs.map(() => failureOf(error));
    }
    return results;
  }

  #runGroup(bodies: Bodies, jobs: readonly Job[]): JobResult[] {
    const first = jobs[0]!;
    if (first.op === 'open-body') return jobs.map((job) => this.#openBody(job as OpenBodyJob));
    if (first.op === 'seal') return seal(this.#ring.own('subject'), bodies, jobs as SealJob[]);
    if (first.op === 'subjects') {
      return runSubjects(this.#ring.own('subject'), this.#ring.own('idem'), jobs as never);
    }
    const named = this.#domains.get(first.domain);
    assert(named !== undefined, 'a job names a domain of the catalogue');
    const domain = { ...named, groups: mergedOf(this.#groups, first.domain) };
    const shared: Shared = {
      subjectKey: this.#ring.own('subject'),
      idemKey: this.#ring.own('idem'),
      bodies,
    };
    // A group holds jobs of one op alone: that is what groupsOf keeps together.
    switch (first.op) {
      case 'encode':
        return runEncode(shared, domain, jobs as never);
      case 'decode':
        return runDecode(shared, domain, jobs as never);
      case 'index':
        return runIndex(shared, domain, jobs as never);
      case 'mint':
        return runMint(shared, domain, jobs as never);
      case 'locate':
        return runLocate(shared, domain, jobs as never);
      case 'reveal':
        return runReveal(shared, domain, jobs as never);
      case 'reindex':
        return runReindex(domain, jobs as never);
    }
  }

  #openBody({ sealed }: OpenBodyJob): OpenBodyResult {
    const mac = this.#ring.own('body-mac');
    const ctr = this.#ring.own('body-ctr');
    const opened = sivOpen(mac, ctr, [BODY_LABEL], columnOf([sealed]));
    if (opened.ok[0] !== 1) throw new CallError('RECORD_CORRUPT');
    const plain = rowBytes(opened.plain, 0);
    const body = decodeBody(plain);
    const { tokens, targets, subjects, errors, created, notices, salt } = body;
    return { tokens, targets, subjects, errors, created, notices, salt, hash: bodyHash(plain) };
  }
}

function seal(subjectKey: BlockKey, bodies: Bodies, jobs: readonly SealJob[]): JobResult[] {
  const perJob = indexSubjects(
    subjectKey,
    jobs.map((job) => job.subject),
  );
  return jobs.map(({ tokens, targets, errors, subjectIndexes, created, notices }, i) => {
    const result = { sealed: NO_BYTES, hash: NO_BYTES, salt: NO_BYTES };
    const body = {
      tokens,
      subjects: subjectIndexes ?? bodySubjects(perJob[i]!, rowCount(tokens)),
      errors,
      created: created ?? NO_BYTES,
      notices: notices ?? [],
    };
    bodies.add(targets === undefined ? body : { ...body, targets }, (sealed) => {
      Object.assign(result, sealed);
    });
    return result;
  });
}

const NO_BYTES = new Uint8Array(0);

/** Places of the jobs that cross the module together: same op, domain and view. */
function groupsOf(jobs: readonly Job[]): number[][] {
  if (jobs.length === 1) return [[0]];
  const groups = new Map<string, number[]>();
  for (const [place, job] of jobs.entries()) {
    const domain = 'domain' in job ? job.domain : '';
    const view = 'view' in job ? job.view : '';
    const name = `${job.op} ${domain} ${view}`;
    const group = groups.get(name);
    if (group === undefined) groups.set(name, [place]);
    else group.push(place);
  }
  return [...groups.values()];
}

/** A broken invariant is not a failed job: it ends the worker, and with it the process. */
function failureOf(error: unknown): JobFailure {
  if (error instanceof assert.AssertionError) throw error;
  if (error instanceof ModuleError) return { failed: 'MODULE_UNAVAILABLE', detail: error.code };
  if (error instanceof CallError) return { failed: error.reason, detail: '' };
  // The name of a class holds no input, as a message might.
  return { failed: 'INTERNAL', detail: error instanceof Error ? error.name : 'unknown' };
}
