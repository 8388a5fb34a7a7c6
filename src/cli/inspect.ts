import type { Command } from 'commander';
import type { Frame } from './frame.ts';
import { addVerb } from './verb-command.ts';

/** `lockstep inspect`: what tokens are, without what they stand for. */
export function addInspect(program: Command, frame: Frame): void {
  addVerb(program, frame, {
    name: 'inspect',
    description: 'Says of tokens whether they are live, well-formed or unknown; reveals nothing',
    noun: 'token',
    purpose: 'optional',
    call: (verbs, batch, _options, signal) => verbs.inspect(batch, { signal }),
  });
}
