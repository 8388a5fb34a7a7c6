import type { Caller } from '../../src/base/caller.ts';
import type { Engine } from '../../src/engine/calls.ts';
import { DEV, domain, installation } from './harness.ts';

/* Two organisations with a domain of each kind that knows its patients. */

/** Has domains of its own, and no right on those of the clinic. */
export const LAB: Caller = { id: 'dev:lab', organisation: 'lab' };
export const V = '123456789';
export const W = '987654321';

export const mergeInstallation = () =>
  installation({
    callers: [
      {
        id: 'dev:lab',
        organisation: 'lab',
        grants: [
          {
            actions: ['CreateDomain', 'MergeSubjects', 'Tokenize'],
            domains: ['lab/*'],
            purposes: [],
          },
          { actions: ['RevealPlain'], domains: ['lab/*'], purposes: ['TREAT'] },
        ],
      },
    ],
  });

export async function makeMergeDomains(engine: Engine): Promise<void> {
  const bound = { subjectRequired: true };
  await engine.createDomain(DEV, domain('mrn', 'static', 'digits:9', bound));
  await engine.createDomain(DEV, domain('visit', 'dynamic', 'digits:9', bound));
  await engine.createDomain(DEV, domain('note', 'siv', 'text', bound));
  const opaque = { onInvalid: 'tokenize-opaque' } as const;
  await engine.createDomain(DEV, domain('mixed', 'static', 'digits:9', opaque));
  await engine.createDomain(LAB, domain('mrn', 'static', 'digits:9', bound));
}
