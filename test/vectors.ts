import { parseArgs } from 'node:util';
import { runVectors, type VectorSummary } from '../src/cli/vectors.ts';
import { insecureMemoryKey } from '../src/keys/insecure-memory.ts';
import { openVectorModule } from './keys/vector-module.ts';
import { NIST_FF1, officialFiles } from './modes/vector-data.ts';
import { softHsmLibrary } from './softhsm.ts';

const HELP = `npm run vectors -- [FILE…] [--json] [--keys memory|module|both]

Runs test vectors of FF1, AES-CMAC and AES-SIV through the modes: with keys in memory, and in a
SoftHSM token made for the run. FILE is any file shaped as NIST's samples, ACVP's or Wycheproof's;
without one: NIST's FF1 samples, and the official files of ../shared/data (LOCKSTEP_DATA).

  --json   one object on standard output
  --keys   where the keys are (both)
  --help   this text

Exit codes: 0 all as expected, 1 a mismatch or an unreadable file, 2 bad arguments.
`;

async function main(): Promise<number> {
  const options = readOptions();
  if (options === undefined) return 2;
  if (options.help) {
    process.stdout.write(HELP);
    return 0;
  }
  const files = options.files.length > 0 ? options.files : defaultFiles();
  const out = (line: string): void => {
    if (!options.json) process.stdout.write(`${line}\n`);
  };
  const runs: VectorSummary[] = [];
  if (options.keys !== 'module') {
    runs.push(await runVectors(files, 'memory', insecureMemoryKey, out));
  }
  const library = options.keys === 'memory' ? undefined : softHsmLibrary();
  if (library !== undefined) {
    const module = openVectorModule(library);
    try {
      runs.push(await runVectors(files, 'module', module.importVectorKey, out));
    } finally {
      module.close();
    }
  }
  if (options.json) process.stdout.write(`${JSON.stringify({ runs })}\n`);
  // Asked for the module alone, without one: nothing was shown.
  if (runs.length === 0) return 1;
  return runs.some(({ failures }) => failures > 0) ? 1 : 0;
}

function defaultFiles(): string[] {
  const official = officialFiles().filter(({ present }) => present);
  return [NIST_FF1, ...official.map(({ path }) => path)];
}

interface Options {
  readonly files: readonly string[];
  readonly json: boolean;
  readonly help: boolean;
  readonly keys: string;
}

function readOptions(): Options | undefined {
  try {
    const { values, positionals } = parseArgs({
      allowPositionals: true,
      options: {
        json: { type: 'boolean', default: false },
        help: { type: 'boolean', default: false },
        keys: { type: 'string', default: 'both' },
      },
    });
    if (['memory', 'module', 'both'].includes(values.keys))
      return { ...values, files: positionals };
  } catch {
    // Said below.
  }
  process.stderr.write(HELP);
  return undefined;
}

process.exitCode = await main();
