import { judge, type OpenKey } from './vector-case.ts';
import { readVectorFile, type VectorFile } from './vector-files.ts';

/** Where the keys of a run are: in this process, or in a PKCS#11 module. */
export type VectorKeys = 'memory' | 'module';

export interface VectorCounts {
  readonly file: string;
  readonly keys: VectorKeys;
  readonly algorithm: string;
  readonly cases: number;
  /** Valid cases that came out right both ways. */
  readonly matched: number;
  /** Invalid cases that were refused. */
  readonly refused: number;
  /** Valid FF1 cases refused for a domain below 1,000,000. */
  readonly tooSmall: number;
  readonly notApplicable: number;
  /** Why, once each. */
  readonly notApplicableReasons: readonly string[];
  /** Ids of cases that came out wrong. */
  readonly mismatches: readonly string[];
}

export interface VectorSummary {
  readonly keys: VectorKeys;
  readonly files: readonly VectorCounts[];
  /** Mismatches and files that could not be read; 0 is success. */
  readonly failures: number;
}

const IDS_SHOWN = 10;

/** Runs files of test vectors through the modes, with keys that `open` makes of their bytes, and
 *  prints a line a file. Every case is run, also after a mismatch. */
export async function runVectors(
  files: readonly string[],
  keys: VectorKeys,
  open: OpenKey,
  out: (line: string) => void,
): Promise<VectorSummary> {
  const counted: VectorCounts[] = [];
  let failures = 0;
  for (const path of files) {
    let file: VectorFile;
    try {
      file = await readVectorFile(path);
    } catch {
      out(`${path} (${keys}): not a file of NIST, ACVP or Wycheproof vectors`);
      failures++;
      continue;
    }
    const counts = count(path, keys, file, open);
    counted.push(counts);
    failures += counts.mismatches.length;
    out(describe(counts));
  }
  return { keys, files: counted, failures };
}

function count(path: string, keys: VectorKeys, file: VectorFile, open: OpenKey): VectorCounts {
  const counts = { matched: 0, refused: 0, tooSmall: 0, notApplicable: file.notApplicable.count };
  const reasons = new Set<string>();
  if (file.notApplicable.count > 0) reasons.add(file.notApplicable.reason);
  const mismatches: string[] = [];
  for (const each of file.cases) {
    const verdict = judge(each, open);
    if (verdict.is === 'not-applicable') {
      counts.notApplicable++;
      reasons.add(verdict.reason);
    } else if (verdict.is === 'matched') counts.matched++;
    else if (verdict.is === 'refused') counts.refused++;
    else if (verdict.is === 'too-small') counts.tooSmall++;
    else mismatches.push(each.id);
  }
  return {
    file: path,
    keys,
    algorithm: file.algorithm,
    cases: file.cases.length + file.notApplicable.count,
    ...counts,
    notApplicableReasons: [...reasons],
    mismatches,
  };
}

function describe(counts: VectorCounts): string {
  const parts = [`${counts.matched} matched`];
  if (counts.refused > 0) parts.push(`${counts.refused} invalid, refused`);
  if (counts.tooSmall > 0) parts.push(`${counts.tooSmall} refused: domain < 10^6`);
  if (counts.notApplicable > 0) {
    const why = counts.notApplicableReasons.join('; ');
    parts.push(`${counts.notApplicable} not applicable (${why})`);
  }
  const wrong = counts.mismatches.length;
  if (wrong > 0) {
    const more = wrong > IDS_SHOWN ? ', …' : '';
    parts.push(`${wrong} MISMATCHED: ${counts.mismatches.slice(0, IDS_SHOWN).join(', ')}${more}`);
  }
  return `${counts.file} (${counts.keys}): ${counts.cases} cases, ${parts.join(', ')}`;
}
