import { type Command, InvalidArgumentError } from 'commander';
import { RpcError } from '../rpc/rpc-error.ts';
import { wholeNumber } from './arguments.ts';
import { Script } from './demo-script.ts';
import { DemoServer } from './demo-server.ts';
import { type DemoSummary, playDemo } from './demo-steps.ts';
import { EXIT, type Frame, printJson, Refusal } from './frame.ts';

interface DemoOptions {
  readonly patients: number;
  readonly keep?: boolean;
  readonly json?: boolean;
}

const PATIENTS = 10_000;
const PATIENTS_MAX = 1_000_000;

const HELP = `
It makes a SoftHSM token in a temporary folder, starts a server of its own there, tokenizes and
reveals made-up patients over gRPC, checks every answer, and removes all of it again. Exit code 0
means that everything held. SoftHSM is found by LOCKSTEP_PKCS11_MODULE or where distributions put
it; FHIR samples are read from ../shared/data/fhir, or $LOCKSTEP_DATA/fhir, where they are there.`;

/** `lockstep demo`: the whole engine seen at work, in under a minute. */
export function addDemo(program: Command, frame: Frame): void {
  program
    .command('demo')
    .description('Shows everything once, on made-up patients, and checks that it holds')
    .option('--patients <count>', 'how many patients to make up', patientCount, PATIENTS)
    .option('--keep', 'keep the folder with token, vault and log, and print its path')
    .option('--json', 'print one object with all figures instead')
    .addHelpText('after', HELP)
    .action(frame.action((options: DemoOptions) => demo(frame, options)));
}

function patientCount(text: string): number {
  const count = wholeNumber(10)(text);
  if (count > PATIENTS_MAX) {
    throw new InvalidArgumentError(`At most ${PATIENTS_MAX} are made up.`);
  }
  return count;
}

async function demo(frame: Frame, options: DemoOptions): Promise<number> {
  const keep = options.keep === true;
  const json = options.json === true;
  const startMs = performance.now();
  const script = new Script(frame.io, frame.signal, json);
  const server = new DemoServer(frame, keep);
  let summary: DemoSummary;
  try {
    summary = await playDemo(frame, script, server, options.patients);
  } catch (cause) {
    if (!(cause instanceof RpcError) || frame.signal.aborted) throw cause;
    const reason = cause.reason === '' ? 'the connection broke' : cause.reason;
    throw new Refusal(`step ${script.steps.length + 1}: a call failed: ${reason}`, {}, cause);
  } finally {
    await server.close();
    if (keep) await script.print(`\nKept: ${server.folder}\n`);
  }
  const seconds = (performance.now() - startMs) / 1_000;
  const kept = keep ? { folder: server.folder } : {};
  if (json) await printJson(frame.io, { ...summary, seconds, ...kept });
  else await script.print(`\nEverything held. ${seconds.toFixed(1)} s in all.\n`);
  return EXIT.ok;
}
