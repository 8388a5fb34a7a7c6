import type { Command } from 'commander';
import type { Frame } from './frame.ts';
import { addVerb, type VerbOptions } from './verb-command.ts';

interface TokenizeOptions extends VerbOptions {
  readonly lookup?: boolean;
}

/** `lockstep tokenize`: values into tokens, made or got. */
export function addTokenize(program: Command, frame: Frame): void {
  addVerb<TokenizeOptions>(program, frame, {
    name: 'tokenize',
    description: 'Turns values into tokens: arguments, lines, or a column of a CSV',
    noun: 'value',
    purpose: 'optional',
    addOptions: (command) =>
      command.option('--lookup', 'get tokens that exist, make none (a right of its own)'),
    call: (verbs, batch, options, signal) =>
      options.lookup === true ? verbs.lookup(batch, { signal }) : verbs.tokenize(batch, { signal }),
  });
}
