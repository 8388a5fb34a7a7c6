import type { Command } from 'commander';
import { wholeNumber } from './arguments.ts';
import { addConnectionOptions, type ConnectionOptions, withServer } from './connection.ts';
import { erasureGroup } from './erasure-group.ts';
import { EXIT, type Frame, printJson, write } from './frame.ts';
import { openOutput } from './sinks.ts';

interface ShowOptions extends ConnectionOptions {
  readonly out?: string;
  readonly force?: boolean;
  readonly json?: boolean;
}

/** `lockstep erasure show`: the certificate of an erasure as it stands. */
export function addErasure(program: Command, frame: Frame): void {
  const command = erasureGroup(program)
    .command('show')
    .description('The certificate of an erasure: its second stage once the files were compacted')
    .argument('<leaf>', 'leaf of the erasure, as `lockstep erase` told it', wholeNumber(0))
    .option('--out <file>', 'write it to a file, whole or not at all, instead of stdout')
    .option('--force', 'replace the file of --out')
    .option('--json', 'answer in JSON');
  addConnectionOptions(command).action(
    frame.action((leaf: number, options: ShowOptions) => show(frame, leaf, options)),
  );
}

async function show(frame: Frame, leafIndex: number, options: ShowOptions): Promise<number> {
  const { io, signal } = frame;
  const { certificate, compacted } = await withServer(frame, options, (verbs) =>
    verbs.erasureCertificate(leafIndex, { signal }),
  );
  if (options.out !== undefined) {
    const output = openOutput(io, options.out, options.force === true);
    try {
      await write(output.stream, certificate);
      await output.commit();
    } catch (cause) {
      await output.abandon();
      throw cause;
    }
  }
  const { out } = options;
  if (options.json === true) {
    const rest = out === undefined ? { certificate } : { file: out };
    await printJson(io, { leafIndex, compacted, ...rest });
    return EXIT.ok;
  }
  if (out === undefined) await write(io.stdout, certificate);
  const stage = compacted ? 'gone from the files' : 'unreadable; not compacted yet';
  await write(io.stderr, `leaf ${leafIndex}: ${stage}\n`);
  return EXIT.ok;
}
