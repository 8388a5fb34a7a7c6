import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

/** `npm test`, and `npm run check`: everything that must hold before a commit, cheapest first, to
 *  the end even where something fails. Arguments name test files, and then only those run. */
const ROOT = resolve(import.meta.dirname, '..');
const IMAGE = 'proto/release.binpb';

const steps: readonly (readonly [name: string, command: string, ...args: string[]])[] = [
  ['format and lint', 'biome', 'ci', '--error-on-warnings', '.'],
  ['types', 'tsc'],
  ['proto lint', 'buf', 'lint'],
  ['proto format', 'buf', 'format', '--diff', '--exit-code', 'proto'],
  ['proto breaking', 'buf', 'breaking', 'proto', '--against', IMAGE, '--limit-to-input-files'],
];

function main(files: readonly string[]): number {
  const failed: string[] = [];
  for (const [name, command, ...args] of files.length === 0 ? steps : []) {
    const started = performance.now();
    const ok = run(command, args);
    const seconds = ((performance.now() - started) / 1_000).toFixed(1);
    console.log(`${ok ? '✓' : '✗'} ${name} (${seconds} s)`);
    if (!ok) failed.push(name);
  }
  const counts = runTests(files);
  for (const name of failed) console.log(`failed: ${name}`);
  const { passed, skipped } = counts;
  const failures = counts.failed + failed.length;
  console.log(
    `${passed + steps.length - failed.length} passed, ${failures} failed, ${skipped} skipped`,
  );
  return failures === 0 && passed > 0 ? 0 : 1;
}

function run(command: string, args: readonly string[]): boolean {
  const { status, stdout, stderr } = spawnSync(command, args, { cwd: ROOT, encoding: 'utf8' });
  if (status !== 0) process.stdout.write(`${stdout ?? ''}${stderr ?? ''}`);
  return status === 0;
}

interface Counts {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
}

/** Vitest's own output goes to the terminal; its counts come from its JSON report. */
function runTests(files: readonly string[]): Counts {
  const folder = mkdtempSync(join(tmpdir(), 'lockstep-check-'));
  try {
    const report = join(folder, 'report.json');
    const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${report}`];
    const { status } = spawnSync('vitest', ['run', ...reporters, ...files], {
      cwd: ROOT,
      stdio: 'inherit',
    });
    const counts = JSON.parse(readFileSync(report, 'utf8')) as Record<string, number>;
    const broken = status === 0 ? 0 : 1;
    return {
      passed: counts['numPassedTests'] ?? 0,
      // A file that does not load fails the run without a failed test.
      failed: Math.max(counts['numFailedTests'] ?? 0, broken),
      skipped: (counts['numPendingTests'] ?? 0) + (counts['numTodoTests'] ?? 0),
    };
  } catch {
    return { passed: 0, failed: 1, skipped: 0 };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

process.exitCode = main(process.argv.slice(2));
