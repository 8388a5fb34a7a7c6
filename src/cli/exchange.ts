import type { Command } from 'commander';
import type { Frame } from './frame.ts';
import { addRulesOptions, type RulesOptions, rulesOf } from './rules-options.ts';
import { addVerb, type VerbOptions } from './verb-command.ts';

interface ExchangeOptions extends VerbOptions, RulesOptions {
  readonly targetDomain: string;
  readonly targetContext?: string;
}

/** `lockstep exchange`: tokens of one domain into those of another. */
export function addExchange(program: Command, frame: Frame): void {
  addVerb<ExchangeOptions>(program, frame, {
    name: 'exchange',
    description: 'Turns tokens of one domain into those of another; no value leaves the engine',
    noun: 'token',
    purpose: 'required',
    addOptions: (command) =>
      addRulesOptions(
        command
          .requiredOption('--target-domain <domain>', 'where the new tokens belong')
          .option('--target-context <text>', 'the context of all new tokens'),
      ),
    call: (verbs, batch, { targetDomain, targetContext = '', ...options }, signal) =>
      verbs.exchange({ ...batch, ...rulesOf(options), targetDomain, targetContext }, { signal }),
  });
}
