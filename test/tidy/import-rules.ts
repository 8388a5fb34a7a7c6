import { isBuiltin } from 'node:module';
import { posix } from 'node:path';
import {
  isCallExpression,
  isExportDeclaration,
  isImportDeclaration,
  isImportTypeNode,
  isLiteralTypeNode,
  isStringLiteral,
  type Node,
  SyntaxKind,
} from 'typescript/unstable/ast';
import { type Fault, faultAt, type Source } from './sources.ts';

/** A file of `src` imports strictly lower ranks, or its own folder. */
const RANKS: Readonly<Record<string, number>> = {
  base: 0,
  keys: 1,
  storage: 1,
  modes: 2,
  auth: 3,
  policy: 3,
  codec: 3,
  vault: 3,
  audit: 3,
  engine: 4,
  records: 5,
  rpc: 6,
  http: 6,
  mllp: 6,
  admin: 6,
  cli: 7,
};
/** `src/main.ts` starts what `src/cli` describes: one place. */
const MAIN = 'src/main.ts';

/** Each outside package has one home in `src`; one that is not listed has none. */
const HOMES: readonly (readonly [name: RegExp, home: RegExp])[] = [
  [/^(graphene-pk11|pkcs11js)$/, /^src\/keys\/pkcs11[\w-]*\.ts$/],
  [/^(level|classic-level|abstract-level)$/, /^src\/storage\/level-store\.ts$/],
  [/^@cedar-policy\//, /^src\/policy\//],
  [/^(@grpc\/|@bufbuild\/|grpc-health-check$)/, /^src\/rpc\//],
  [/^jose$/, /^src\/auth\//],
  [/^age-encryption$/, /^src\/engine\/backup\//],
  [/^@opentelemetry\/api$/, /^src\/base\/metrics\.ts$/],
  [/^@opentelemetry\/(sdk-metrics|exporter-prometheus)$/, /^src\/admin\//],
  [/^pino$/, /^src\/base\/logger\.ts$/],
  [/^(commander|cli-progress|csv-parse|smol-toml|zod)$/, /^src\/cli\//],
];
/** Code that protoc-gen-es wrote: the wire is the business of one folder. */
const GENERATED = /^src\/rpc\/gen\//;
const GENERATED_HOME = /^src\/rpc\//;

/** Rank 0 computes; it touches no file, socket or process. */
const NO_INPUT_OUTPUT =
  /^(node:)?(fs|net|http|https|http2|tls|dgram|child_process|worker_threads)\b/;

interface Import {
  readonly specifier: string;
  readonly position: number;
  /** Erased before it runs. */
  readonly typeOnly: boolean;
}

export function importFaults(sources: readonly Source[]): Fault[] {
  const graph = new Map<string, string[]>();
  const faults = sources.flatMap((source) => {
    const imports = importsOf(source.tree);
    graph.set(
      source.path,
      imports.filter((one) => !one.typeOnly).map((one) => targetOf(source.path, one.specifier)),
    );
    return imports.flatMap((one) =>
      ruleOf(source, one.specifier).map((rule) => faultAt(source, one.position, rule)),
    );
  });
  return [...faults, ...cycleFaults(graph)];
}

function importsOf(tree: Node): Import[] {
  const found: Import[] = [];
  const visit = (node: Node): void => {
    const typeOnly =
      (isImportDeclaration(node) && node.importClause?.phaseModifier === SyntaxKind.TypeKeyword) ||
      (isExportDeclaration(node) && node.isTypeOnly) ||
      isImportTypeNode(node);
    const literal = specifierOf(node);
    if (literal !== undefined && isStringLiteral(literal)) {
      found.push({ specifier: literal.text, position: node.getStart(), typeOnly });
    }
    node.forEachChild(visit);
  };
  visit(tree);
  return found;
}

function specifierOf(node: Node): Node | undefined {
  if (isImportDeclaration(node) || isExportDeclaration(node)) return node.moduleSpecifier;
  if (isImportTypeNode(node)) {
    return isLiteralTypeNode(node.argument) ? node.argument.literal : undefined;
  }
  if (isCallExpression(node) && node.expression.kind === SyntaxKind.ImportKeyword) {
    return node.arguments[0];
  }
  return undefined;
}

const isRelative = (specifier: string): boolean => /^\.\.?(\/|$)/.test(specifier);

const targetOf = (path: string, specifier: string): string =>
  isRelative(specifier) ? posix.join(posix.dirname(path), specifier) : specifier;

function ruleOf(source: Source, specifier: string): string[] {
  if (!isRelative(specifier))
    return source.path.startsWith('src/') ? homeRule(source, specifier) : [];
  const target = targetOf(source.path, specifier);
  const ending = /\.(ts|mts|mjs|json|wasm)$/.test(specifier)
    ? []
    : [`import ${specifier}: a relative import ends in .ts`];
  return [...ending, ...(source.path.startsWith('src/') ? rankRule(source.path, target) : [])];
}

function homeRule({ path }: Source, specifier: string): string[] {
  if (isBuiltin(specifier)) {
    const barred = path.startsWith('src/base/') && NO_INPUT_OUTPUT.test(specifier);
    if (barred) return [`import ${specifier}: src/base does no input or output`];
    return specifier.startsWith('node:') ? [] : [`import ${specifier}: write node:${specifier}`];
  }
  const name = /^(@[^/]+\/[^/]+|[^/]+)/.exec(specifier)?.[0] ?? specifier;
  const home = HOMES.find(([pattern]) => pattern.test(name));
  if (home === undefined) return [`import ${specifier}: the package has no home in src`];
  return home[1].test(path) ? [] : [`import ${specifier}: the home of ${name} is elsewhere`];
}

function rankRule(path: string, target: string): string[] {
  if (!target.startsWith('src/')) return [`import of ${target}: src stands on src alone`];
  if (GENERATED.test(target) && !GENERATED_HOME.test(path)) {
    return [`import of ${target}: generated code stays in src/rpc`];
  }
  const [from, to] = [folderOf(path), folderOf(target)];
  if (from === to) return [];
  const [rankFrom, rankTo] = [RANKS[from], RANKS[to]];
  if (rankFrom === undefined) return [`src/${from} has no rank`];
  if (rankTo === undefined) return [`import of ${target}: src/${to} has no rank`];
  if (rankTo < rankFrom) return [];
  return [`import of ${target}: rank ${rankFrom} imports lower ranks alone, this is ${rankTo}`];
}

const folderOf = (path: string): string => (path === MAIN ? 'cli' : (path.split('/')[1] ?? ''));

/** Each cycle once, at the file where the search met it. */
function cycleFaults(graph: ReadonlyMap<string, readonly string[]>): Fault[] {
  const faults: Fault[] = [];
  const done = new Set<string>();
  const trail: string[] = [];
  const visit = (path: string): void => {
    const met = trail.indexOf(path);
    if (met >= 0) {
      faults.push(`${path}:1: import cycle ${[...trail.slice(met), path].join(' → ')}`);
      return;
    }
    if (done.has(path)) return;
    trail.push(path);
    for (const target of graph.get(path) ?? []) visit(target);
    trail.pop();
    done.add(path);
  };
  for (const path of graph.keys()) visit(path);
  return faults;
}
