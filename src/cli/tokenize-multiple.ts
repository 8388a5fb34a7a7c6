import type { Command } from 'commander';
import { LIMITS } from '../base/limits.ts';
import type { MultipleOutcome, RuledBatch } from '../rpc/token-verbs.ts';
import type { Verbs } from '../rpc/verbs.ts';
import { wholeNumber } from './arguments.ts';
import { type Frame, UsageError } from './frame.ts';
import { addRulesOptions, type RulesOptions, rulesOf } from './rules-options.ts';
import { addVerb, type VerbOptions, type VerbOutcome } from './verb-command.ts';

interface MultipleOptions extends VerbOptions, RulesOptions {
  readonly count: number;
}

const ITEMS_MAX = 1_000;

/** `lockstep tokenize-multiple`: several tokens a value, or all there are. */
export function addTokenizeMultiple(program: Command, frame: Frame): void {
  addVerb<MultipleOptions>(program, frame, {
    name: 'tokenize-multiple',
    description: 'Makes several tokens of each value of a dynamic domain, or lists those there are',
    noun: 'value',
    purpose: 'optional',
    addOptions: (command) =>
      addRulesOptions(
        command.option(
          '--count <count>',
          'new tokens a value; 0 lists. A line or cell holds them with tabs between',
          wholeNumber(0),
          1,
        ),
      ),
    itemsMax: ({ count }) => {
      if (count > LIMITS.itemsMax) throw new UsageError(`--count is at most ${LIMITS.itemsMax}`);
      return Math.min(ITEMS_MAX, Math.floor(LIMITS.itemsMax / Math.max(1, count)));
    },
    call: (verbs, batch, options, signal) =>
      multiply(verbs, { ...batch, ...rulesOf(options), count: options.count }, signal),
  });
}

type Asked = RuledBatch & { readonly count: number };

/** A listed item whose tokens do not fit beside the others' is asked for alone. */
async function multiply(verbs: Verbs, batch: Asked, signal: AbortSignal): Promise<VerbOutcome> {
  const answer = await verbs.tokenizeMultiple(batch, { signal });
  const tokens = [...answer.tokens];
  const errors: MultipleOutcome['errors'][number][] = [];
  for (const error of answer.errors) {
    const crowded = error.reason === 'ANSWER_TOO_LARGE' && batch.items.length > 1;
    if (!crowded) {
      errors.push(error);
      continue;
    }
    const alone = await verbs.tokenizeMultiple(onlyItem(batch, error.index), { signal });
    tokens[error.index] = alone.tokens[0] ?? [];
    errors.push(...alone.errors.map((one) => ({ ...one, index: error.index })));
  }
  return {
    outputs: tokens.map((list) => list.join('\t')),
    errors,
    fields: tokens.map((list) => ({ outputs: list })),
  };
}

function onlyItem(batch: Asked, index: number): Asked {
  const only = (column: string | readonly string[]) =>
    typeof column === 'string' ? column : [column[index] ?? ''];
  return {
    ...batch,
    items: [batch.items[index] ?? ''],
    subject: only(batch.subject),
    context: only(batch.context),
  };
}
