import type { Command } from 'commander';
import type { CallRules } from '../engine/calls.ts';
import { again, moment, span, wholeNumber } from './arguments.ts';

/** Rules of the records that a verb makes, as the command line has them. */
export interface RulesOptions {
  readonly idleTtl?: number;
  readonly expire?: number;
  readonly revealsMax?: number;
  readonly label?: readonly string[];
}

export function addRulesOptions(command: Command): Command {
  return command
    .option('--idle-ttl <span>', 'new tokens end so long after their last use: 12h, 30d', span)
    .option('--expire <time>', 'new tokens end then: 2027-01-31T18:00:00Z, or 12h, 30d', moment)
    .option('--reveals-max <count>', 'new tokens end after so many reveals', wholeNumber(1))
    .option(
      '--label <text>',
      'a security label of new tokens, no patient data; may stand again',
      again,
    );
}

/** As the verbs want them; nothing where no option names a rule. */
export function rulesOf(options: RulesOptions): { readonly rules?: CallRules } {
  const { idleTtl, expire, revealsMax, label } = options;
  if ([idleTtl, expire, revealsMax, label].every((rule) => rule === undefined)) return {};
  return {
    rules: {
      idleMs: idleTtl ?? 0,
      expireMs: expire ?? 0,
      revealsMax: revealsMax ?? 0,
      labels: label ?? [],
    },
  };
}
