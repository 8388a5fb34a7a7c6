import type { Command } from 'commander';
import type { Frame } from './frame.ts';
import {
  addTargetOptions,
  runTargets,
  type TargetOptions,
  type TargetVerb,
} from './target-command.ts';

interface RestrictOptions extends TargetOptions {
  readonly lift?: boolean;
}

const RESTRICT: TargetVerb<RestrictOptions> = {
  async begin() {},
  call: (verbs, targets, { lift = false }) => verbs.restrict({ ...targets, lift }),
  async done() {},
  past: ({ lift }) => (lift === true ? 'allowed again' : 'stopped'),
  summary: () => ({}),
};

/** `lockstep restrict`: stops every use of tokens, or allows it again. */
export function addRestrict(program: Command, frame: Frame): void {
  const command = program
    .command('restrict')
    .description('Stops every use of tokens, named by token, by value or by patient')
    .option('--lift', 'allow their use again');
  addTargetOptions(command).action(
    frame.action((options: RestrictOptions) => runTargets(frame, options, RESTRICT)),
  );
}
