import type { Command } from 'commander';
import { type Frame, UsageError } from './frame.ts';
import { addRulesOptions, type RulesOptions, rulesOf } from './rules-options.ts';
import { addVerb, type VerbOptions } from './verb-command.ts';

interface TokenizeOptions extends VerbOptions, RulesOptions {
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
      addRulesOptions(
        command.option('--lookup', 'get tokens that exist, make none (a right of its own)'),
      ),
    call: (verbs, batch, options, signal) => {
      const rules = rulesOf(options);
      if (options.lookup !== true) return verbs.tokenize({ ...batch, ...rules }, { signal });
      if (rules.rules !== undefined) {
        throw new UsageError('--lookup makes no token, so it takes no rules');
      }
      return verbs.lookup(batch, { signal });
    },
  });
}
