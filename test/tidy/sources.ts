import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative, sep } from 'node:path';
import type { SourceFile } from 'typescript/unstable/ast';
import { API } from 'typescript/unstable/sync';

/** A TypeScript file of the tree, parsed. */
export interface Source {
  /** From the root, with slashes: `src/base/column.ts`. */
  readonly path: string;
  readonly lines: readonly string[];
  readonly tree: SourceFile;
  /** Line of a position, from 1. */
  readonly lineAt: (position: number) => number;
}

/** What `tidy` found: `path:line: rule`. */
export type Fault = string;

export const faultAt = (source: Source, position: number, rule: string): Fault =>
  `${source.path}:${source.lineAt(position)}: ${rule}`;

/** Written by protoc-gen-es, not by people. */
const GENERATED = /^src\/rpc\/gen\//;

/** Parses every `.ts` file under `src` and `test` of `root`, generated code left out, with the
 *  compiler's own parser, and hands them to `use`; the trees die with the call. */
export function withSources<T>(root: string, use: (sources: readonly Source[]) => T): T {
  const files = ['src', 'test'].flatMap((folder) => typescriptFiles(join(root, folder)));
  const paths = files.filter((file) => !GENERATED.test(slashed(relative(root, file))));
  const folder = mkdtempSync(join(tmpdir(), 'tidy-'));
  const project = join(folder, 'tsconfig.json');
  const api = new API({ cwd: folder });
  try {
    // Parsed one by one: what they import and the libraries are of no interest here.
    const compilerOptions = { noLib: true, noResolve: true, types: [] };
    writeFileSync(project, JSON.stringify({ compilerOptions, files: paths }));
    const [only] = api.updateSnapshot({ openProjects: [project] }).getProjects();
    return use(
      paths.map((file) => {
        const tree = only?.program.getSourceFile(file);
        if (tree === undefined) throw new Error(`${file} was not parsed`);
        return sourceOf(root, file, tree);
      }),
    );
  } finally {
    api.close();
    rmSync(folder, { recursive: true });
  }
}

function sourceOf(root: string, file: string, tree: SourceFile): Source {
  const lines = tree.text.replace(/\n$/, '').split('\n');
  const lineAt = (position: number): number =>
    tree.getLineAndCharacterOfPosition(position).line + 1;
  return { path: slashed(relative(root, file)), lines, tree, lineAt };
}

function typescriptFiles(folder: string): string[] {
  const entries = readdirSync(folder, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isFile() && entry.name.endsWith('.ts'))
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();
}

const slashed = (path: string): string => path.split(sep).join('/');
