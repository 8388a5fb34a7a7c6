import assert from 'node:assert';
import { cpSync, existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const ROOT = join(import.meta.dirname, '../..');

/** A change of one source line. `find` must stand in the file exactly once. */
export interface Patch {
  /** Relative to `src`. */
  readonly file: string;
  readonly find: string;
  readonly put: string;
}

/** A copy of the sources with changes: a build for tests alone, so that the product carries no
 *  switch that turns a promise off. Returns its main file. */
export function testBuild(folder: string, patches: readonly Patch[]): string {
  if (!existsSync(folder)) {
    mkdirSync(folder, { recursive: true });
    for (const name of ['src', 'package.json', 'keys']) {
      cpSync(join(ROOT, name), join(folder, name), { recursive: true });
    }
    symlinkSync(join(ROOT, 'node_modules'), join(folder, 'node_modules'));
  }
  for (const { file, find, put } of patches) {
    const path = join(folder, 'src', file);
    const text = readFileSync(path, 'utf8');
    assert.equal(text.split(find).length, 2, `${file} has exactly one: ${find}`);
    writeFileSync(
      path,
      text.replace(find, () => put),
    );
  }
  return join(folder, 'src', 'main.ts');
}

/** Makes a build in which each of `points` can be hit: `FAILPOINT=name:crash:3` kills the process
 *  at its third pass, `FAILPOINT=name:sleep:3` holds it up for two seconds there. */
export function failpointBuild(folder: string, points: readonly Failpoint[]): string {
  const patches = points.map(({ name, file, before }) => ({
    file,
    find: before,
    put: `await (await import('node:process')).default.failpoint(${JSON.stringify(name)});\n${before}`,
  }));
  const main = testBuild(folder, patches);
  writeFileSync(join(folder, 'src', 'failpoint.ts'), HOOK);
  const text = readFileSync(main, 'utf8');
  const [shebang, ...rest] = text.split('\n');
  writeFileSync(main, [shebang, "import './failpoint.ts';", ...rest].join('\n'));
  return main;
}

/** A named place in the way of a call, in an async function of the main thread. */
export interface Failpoint {
  readonly name: string;
  /** Relative to `src`. */
  readonly file: string;
  /** The line that it stands before, exactly once in the file. */
  readonly before: string;
}

const HOOK = `const [name, what, pass] = (process.env['FAILPOINT'] ?? '').split(':');
let passes = 0;
Object.assign(process, {
  async failpoint(here) {
    if (here !== name || ++passes !== Number(pass)) return;
    if (what === 'crash') process.kill(process.pid, 'SIGKILL');
    await new Promise((resolve) => setTimeout(resolve, 2_000));
  },
});
`;
