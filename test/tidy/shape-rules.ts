import {
  type CallExpression,
  type FunctionLikeDeclaration,
  isBlock,
  isCallExpression,
  isClassDeclaration,
  isEnumDeclaration,
  isExportAssignment,
  isExportDeclaration,
  isExpressionStatement,
  isFunctionLikeDeclaration,
  isIdentifier,
  isModuleDeclaration,
  isPropertyAccessExpression,
  type Node,
  SyntaxKind,
} from 'typescript/unstable/ast';
import { type Fault, faultAt, type Source } from './sources.ts';

const FILE_LINES_MAX = 400;
const FUNCTION_LINES_MAX = 70;
const LINE_LENGTH_MAX = 100;
/** A vector or a link that cannot be broken may run over. */
const UNBREAKABLE = /\S{60,}/;
/** So may a line of a test that is one text, as in a list of wanted messages. */
const TEXT_ALONE = /^\s*['"`]/;

export const shapeFaults = (sources: readonly Source[]): Fault[] =>
  sources.flatMap((source) => [
    ...nameFaults(source),
    ...lengthFaults(source),
    ...commentFaults(source),
    ...treeFaults(source),
  ]);

function nameFaults(source: Source): Fault[] {
  const name = source.path.split('/').at(-1) ?? '';
  const stem = name.replace(/(\.(test|property\.test|bench))?\.ts$/, '');
  const faults: Fault[] = [];
  if (stem === 'index') faults.push(faultAt(source, 0, 'no barrels: import the defining file'));
  if (['utils', 'util', 'helpers', 'helper', 'types', 'common', 'misc'].includes(stem)) {
    faults.push(faultAt(source, 0, `no file is called ${stem}: name what it holds`));
  }
  if (!/^[a-z0-9]+(-[a-z0-9]+)*$/.test(stem)) {
    faults.push(faultAt(source, 0, 'file names are one word or kebab-case'));
  }
  return faults;
}

function lengthFaults(source: Source): Fault[] {
  const faults: Fault[] = [];
  if (source.lines.length > FILE_LINES_MAX) {
    faults.push(`${source.path}:1: ${source.lines.length} lines, at most ${FILE_LINES_MAX}`);
  }
  for (const [i, line] of source.lines.entries()) {
    // Characters, as an editor counts them, not UTF-16 units.
    if (line.length <= LINE_LENGTH_MAX || [...line].length <= LINE_LENGTH_MAX) continue;
    if (UNBREAKABLE.test(line) || (inTest(source) && TEXT_ALONE.test(line))) continue;
    faults.push(`${source.path}:${i + 1}: over ${LINE_LENGTH_MAX} columns`);
  }
  return faults;
}

// Put together here, so that this file does not find itself.
const FIX = new RegExp(`\\b${['FIX', 'ME'].join('')}\\b`);
const LATER = new RegExp(`\\b${['TO', 'DO'].join('')}\\b(?!\\(#\\d+\\))`);
const SUPPRESSION = new RegExp(`@ts-${'(ignore|nocheck|expect-error)'}`);

function commentFaults(source: Source): Fault[] {
  return source.lines.flatMap((line, i) => {
    const faults: string[] = [];
    if (FIX.test(line)) faults.push('a fault is fixed or has an issue');
    if (LATER.test(line)) faults.push('what is left to do names its issue, as in (#12)');
    if (SUPPRESSION.test(line)) faults.push('the compiler is not silenced');
    return faults.map((rule) => `${source.path}:${i + 1}: ${rule}`);
  });
}

function treeFaults(source: Source): Fault[] {
  const faults: Fault[] = [];
  const visit = (node: Node): void => {
    const rule = banOf(node, source) ?? longFunctionOf(node, source);
    if (rule !== undefined) faults.push(faultAt(source, node.getStart(), rule));
    node.forEachChild(visit);
  };
  visit(source.tree);
  return faults;
}

function banOf(node: Node, { path }: Source): string | undefined {
  if (isEnumDeclaration(node)) return 'no enum: Node strips types, it does not translate';
  if (isModuleDeclaration(node) && node.keyword === SyntaxKind.NamespaceKeyword) {
    return 'no namespace: Node strips types, it does not translate';
  }
  if (node.kind === SyntaxKind.AnyKeyword) return 'no any: say unknown and narrow it';
  if (isExportDeclaration(node) && node.moduleSpecifier !== undefined) {
    return 'no barrels: import the defining file';
  }
  // `export default` of a function or class is a modifier of it; configurations of tools stand
  // outside src and test.
  if (isExportAssignment(node) || isDefaultModifier(node)) return 'no default exports';
  const console = isPropertyAccessExpression(node) && isIdentifier(node.expression);
  if (console && node.expression.text === 'console' && !mayPrint(path)) {
    return 'no console in src: logs go through the logger';
  }
  return undefined;
}

const isDefaultModifier = (node: Node): boolean =>
  node.kind === SyntaxKind.DefaultKeyword &&
  (isFunctionLikeDeclaration(node.parent) || isClassDeclaration(node.parent));

const mayPrint = (path: string): boolean => !path.startsWith('src/') || path.startsWith('src/cli/');

const inTest = ({ path }: Source): boolean => path.startsWith('test/');

function longFunctionOf(node: Node, source: Source): string | undefined {
  if (!isFunctionLikeDeclaration(node) || (inTest(source) && isSuite(node))) return undefined;
  const count = source.lineAt(node.end) - source.lineAt(node.getStart()) + 1;
  if (count <= FUNCTION_LINES_MAX) return undefined;
  return `a function of ${count} lines, at most ${FUNCTION_LINES_MAX}`;
}

/** A chapter of tests is not a function that someone has to follow: the body of a `describe`, and
 *  a contract suite, which declares tests. */
function isSuite(node: FunctionLikeDeclaration): boolean {
  if (isCallExpression(node.parent) && calleeOf(node.parent) === 'describe') return true;
  if (node.body === undefined || !isBlock(node.body)) return false;
  return node.body.statements.some((statement) => {
    const call = isExpressionStatement(statement) ? statement.expression : undefined;
    if (call === undefined || !isCallExpression(call)) return false;
    return ['describe', 'test', 'beforeAll'].includes(calleeOf(call));
  });
}

/** `describe` of `describe.each(table)(…)`. */
function calleeOf(call: CallExpression): string {
  let callee: Node = call.expression;
  while (isPropertyAccessExpression(callee) || isCallExpression(callee)) callee = callee.expression;
  return isIdentifier(callee) ? callee.text : '';
}
