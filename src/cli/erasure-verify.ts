import { readFileSync } from 'node:fs';
import type { Command } from 'commander';
import type { ErasureCertificate } from '../engine/certificate.ts';
import { erasureGroup } from './erasure-group.ts';
import { EXIT, type Frame, printJson, printTable, Refusal } from './frame.ts';

interface VerifyOptions {
  readonly verifier: string;
  readonly json?: boolean;
}

/** `lockstep erasure verify`: a certificate checked by the log's public key alone, offline. */
export function addErasureVerify(program: Command, frame: Frame): void {
  erasureGroup(program)
    .command('verify')
    .description('Checks a certificate by the public key of the log alone: no server, no log')
    .argument('<file>', 'certificate, as `lockstep erase` or `erasure show` gave it')
    .requiredOption('--verifier <key or file>', "the log's key, as `lockstep log key` prints it")
    .option('--json', 'answer in JSON')
    .action(frame.action((file: string, options: VerifyOptions) => verify(frame, file, options)));
}

async function verify(frame: Frame, file: string, options: VerifyOptions): Promise<number> {
  const [{ verifyCertificateBy }, { parseVerifierKey }] = await Promise.all([
    import('../engine/certificate.ts'),
    import('../audit/note.ts'),
  ]);
  const text = read(file);
  const key = options.verifier.includes('+') ? options.verifier : read(options.verifier).trim();
  let certificate: ErasureCertificate;
  try {
    certificate = verifyCertificateBy(text, parseVerifierKey(key));
  } catch (cause) {
    // Which of its bytes was touched is nothing that a reader could act on.
    throw new Refusal(`${file} is no certificate of this log`, { file }, cause);
  }
  await print(frame, certificate, options.json === true);
  return EXIT.ok;
}

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (cause) {
    const code = cause instanceof Error && 'code' in cause ? cause.code : 'failed';
    throw new Refusal(`${path} cannot be read: ${code}`, {}, cause);
  }
}

async function print({ io }: Frame, found: ErasureCertificate, json: boolean): Promise<void> {
  const { stage, origin, installation, timeMs, caller, purpose, mode } = found;
  const { domains, cannotErase, complete } = found;
  const leaves = found.leaves.map(({ index }) => index);
  const time = new Date(timeMs).toISOString();
  if (json) {
    await printJson(io, {
      stage,
      origin,
      installation,
      time,
      caller,
      purpose,
      mode,
      domains,
      cannotErase,
      leaves,
      complete,
      compacted: found.compacted?.index ?? null,
    });
    return;
  }
  await printTable(io, [
    ['verdict', stage === 'gone' ? 'gone from the files' : 'unreadable; not compacted yet'],
    ['log', origin],
    ['installation', installation],
    ['made', time],
    ['erased by', caller],
    ['for', purpose],
    ['mode', mode],
    ...domains.map(({ domain, tokens }) => ['domain', `${domain}: ${tokens} tokens`]),
    ...cannotErase.map(({ domain, kind }) => ['cannot be erased', `${domain} (${kind})`]),
    ['leaves', leaves.join(', ')],
    ...(complete ? [] : [['note', 'the call broke off: it has no last leaf']]),
  ]);
}
