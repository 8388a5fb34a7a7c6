import { randomUUID } from 'node:crypto';
import type { Command } from 'commander';
import type { Batch, BatchOutcome } from '../rpc/token-verbs.ts';
import type { Verbs } from '../rpc/verbs.ts';
import {
  addConnectionOptions,
  type ConnectionOptions,
  retrying,
  withOwnSignal,
  withServer,
} from './connection.ts';
import type { Frame } from './frame.ts';
import type { BatchAnswer, BatchCall, Item } from './pump.ts';
import { addValueOptions, runValues, type ValueOptions } from './value-command.ts';

/** What every verb on values and tokens is told. */
export interface VerbOptions extends ValueOptions, ConnectionOptions {
  readonly domain: string;
  readonly purpose?: string;
  readonly subject?: string;
  readonly context?: string;
}

export interface VerbCommand<Options extends VerbOptions> {
  readonly name: string;
  readonly description: string;
  /** What the items are. */
  readonly noun: 'value' | 'token';
  readonly purpose: 'required' | 'optional';
  readonly addOptions?: (command: Command) => Command;
  /** Most items of a call, where the options allow less than usual. Throws `UsageError`. */
  readonly itemsMax?: (options: Options) => number;
  readonly call: (
    verbs: Verbs,
    batch: Batch,
    options: Options,
    signal: AbortSignal,
  ) => Promise<VerbOutcome>;
}

export interface VerbOutcome extends Pick<BatchOutcome, 'outputs' | 'errors'> {
  /** As `BatchAnswer` has it. */
  readonly fields?: BatchAnswer['fields'];
}

/** Adds one of tokenize, tokenize-multiple, detokenize, exchange and inspect. */
export function addVerb<Options extends VerbOptions>(
  program: Command,
  frame: Frame,
  verb: VerbCommand<Options>,
): void {
  const command = program.command(verb.name).description(verb.description);
  command.requiredOption('--domain <domain>', 'organisation/name, or a name of your organisation');
  const purpose = 'v3 PurposeOfUse code, e.g. TREAT';
  if (verb.purpose === 'required') command.requiredOption('--purpose <code>', purpose);
  else command.option('--purpose <code>', purpose);
  command
    .option('--subject <text>', 'the patient that all items belong to')
    .option('--context <text>', 'the context of all items, at most 64 bytes');
  verb.addOptions?.(command);
  addValueOptions(command, verb.noun);
  addConnectionOptions(command).action(
    frame.action((items: readonly string[], options: Options) =>
      withServer(frame, options, (verbs) =>
        runValues(frame, items, options, batchCall(verb, verbs, options), verb.itemsMax?.(options)),
      ),
    ),
  );
}

function batchCall<Options extends VerbOptions>(
  verb: VerbCommand<Options>,
  verbs: Verbs,
  options: Options,
): BatchCall {
  return async (items, signal): Promise<BatchAnswer> => {
    // One id a batch, the same in each attempt: a batch that was done is not done twice.
    const batch = batchOf(items, options, randomUUID());
    const answer = await withOwnSignal(signal, (own) =>
      retrying(() => verb.call(verbs, batch, options, own), own),
    );
    const { outputs, errors: failures, fields } = answer;
    return { outputs, failures, ...(fields === undefined ? {} : { fields }) };
  };
}

function batchOf(items: readonly Item[], options: VerbOptions, requestId: string): Batch {
  const column = (
    name: string | undefined,
    one: string | undefined,
    get: (item: Item) => string | undefined,
  ) => (name === undefined ? (one ?? '') : items.map((item) => get(item) ?? ''));
  return {
    domain: options.domain,
    items: items.map((item) => item.value),
    purpose: options.purpose ?? '',
    requestId,
    subject: column(options.subjectColumn, options.subject, (item) => item.subject),
    context: column(options.contextColumn, options.context, (item) => item.context),
  };
}
