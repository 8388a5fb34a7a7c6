import { type Command, Option } from 'commander';
import type { View } from '../base/domain.ts';
import type { Frame } from './frame.ts';
import { addVerb, type VerbOptions } from './verb-command.ts';

interface DetokenizeOptions extends VerbOptions {
  readonly view: View;
  readonly acceptLowerView?: boolean;
}

const VIEWS: readonly View[] = ['plain', 'masked', 'redacted'];

/** `lockstep detokenize`: tokens into values, in a view, for a purpose. */
export function addDetokenize(program: Command, frame: Frame): void {
  addVerb<DetokenizeOptions>(program, frame, {
    name: 'detokenize',
    description: 'Reveals values of tokens; each call is written to the log for ever',
    noun: 'token',
    purpose: 'required',
    addOptions: (command) =>
      command
        .addOption(
          // The least that is useful: whoever needs all of it says so.
          new Option('--view <view>', 'how much of a value is shown')
            .choices(VIEWS)
            .default('masked'),
        )
        .option('--accept-lower-view', 'rather a lower view than a refusal'),
    call: (verbs, batch, { view, acceptLowerView = false }, signal) =>
      verbs.detokenize({ ...batch, view, acceptLowerView }, { signal }),
  });
}
