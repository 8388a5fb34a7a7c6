import type { Command } from 'commander';
import type { ShownDetails } from '../rpc/token-verbs.ts';
import { type Frame, UsageError } from './frame.ts';
import { addVerb, type VerbOptions } from './verb-command.ts';

interface InspectOptions extends VerbOptions {
  readonly details?: boolean;
}

/** `lockstep inspect`: what tokens are, without what they stand for. */
export function addInspect(program: Command, frame: Frame): void {
  addVerb<InspectOptions>(program, frame, {
    name: 'inspect',
    description: 'Says of tokens whether they are live, stopped, over or unknown; reveals nothing',
    noun: 'token',
    purpose: 'optional',
    addOptions: (command) =>
      command.option('--details', 'rules and labels too, with tabs between; not with --csv'),
    itemsMax: ({ details, csv }) => {
      if (details === true && csv !== undefined) {
        throw new UsageError('--details does not fit into a cell of a CSV; use --file or --json');
      }
      return ITEMS_MAX;
    },
    call: async (verbs, batch, { details: withDetails = false }, signal) => {
      const answer = await verbs.inspect({ ...batch, withDetails }, { signal });
      const { outputs, errors, details } = answer;
      if (!withDetails) return { outputs, errors };
      return {
        outputs: outputs.map((state, i) => [state, ...wordsOf(details[i])].join('\t')),
        errors,
        fields: outputs.map((output, i) => ({ output, details: jsonOf(details[i]) })),
      };
    },
  });
}

/** What a call with details may ask for. */
const ITEMS_MAX = 1_000;

const timeOf = (ms: number): string => new Date(ms).toISOString();

/** Only the rules that the token has. */
function wordsOf(details: ShownDetails | undefined): string[] {
  if (details === undefined) return [];
  const { createdMs, idleMs, expireMs, revealsMax, reveals, labels } = details;
  return [
    ...(createdMs === 0 ? [] : [`made ${timeOf(createdMs)}`]),
    ...(idleMs === 0 ? [] : [`idle at most ${idleMs / 1_000} s`]),
    ...(expireMs === 0 ? [] : [`ends ${timeOf(expireMs)}`]),
    ...(revealsMax === 0 ? [] : [`${reveals} of ${revealsMax} reveals`]),
    ...labels.map((label) => `label ${label}`),
  ];
}

function jsonOf(details: ShownDetails | undefined): Readonly<Record<string, unknown>> {
  if (details === undefined) return {};
  const { createdMs, idleMs, expireMs, revealsMax, reveals, labels } = details;
  return {
    ...(createdMs === 0 ? {} : { created: timeOf(createdMs) }),
    ...(idleMs === 0 ? {} : { idleTtlSeconds: idleMs / 1_000 }),
    ...(expireMs === 0 ? {} : { expires: timeOf(expireMs) }),
    ...(revealsMax === 0 ? {} : { revealsMax, reveals }),
    ...(labels.length === 0 ? {} : { labels }),
  };
}
