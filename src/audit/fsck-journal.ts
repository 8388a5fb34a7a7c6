import { AuditError } from './audit-error.ts';
import type { Disk } from './disk.ts';
import { openSegment } from './journal.ts';
import { scanGroups } from './scan.ts';
import { readSegmentHead, type SegmentHead } from './segment.ts';

const SCAN_BYTES = 1024 * 1024;

/** What a walk over the journal meets, in order. */
export type JournalStep =
  | { readonly kind: 'record'; readonly index: number; readonly leaf: Uint8Array }
  | { readonly kind: 'bad'; readonly index: number; readonly what: string }
  | { readonly kind: 'torn'; readonly index: number; readonly bytes: number };

/** Every segment's head, or why it has none. */
export async function readHeads(
  disk: Disk,
  segments: readonly number[],
): Promise<readonly (SegmentHead | AuditError)[]> {
  const heads: (SegmentHead | AuditError)[] = [];
  for (const first of segments) {
    const file = await openSegment(disk, first, SCAN_BYTES);
    try {
      if (file === undefined) throw new AuditError('missing', 'a journal segment', first);
      heads.push(await readSegmentHead(file, first));
    } catch (error) {
      if (!(error instanceof AuditError)) throw error;
      heads.push(error);
    } finally {
      await file?.close();
    }
  }
  return heads;
}

/** Walks all segments. After damage it goes on with the next segment, so indexes may leave a gap
 *  but never fall. */
export async function* walkJournal(
  disk: Disk,
  segments: readonly number[],
  heads: readonly (SegmentHead | AuditError)[],
): AsyncGenerator<JournalStep> {
  let next = segments[0] ?? 0;
  for (const [i, first] of segments.entries()) {
    // Names only rise, and a segment that begins too early repeats entries.
    if (first !== next) {
      yield { kind: 'bad', index: Math.min(first, next), what: 'the journal segments do not join' };
    }
    const head = heads[i]!;
    if (head instanceof AuditError) {
      yield { kind: 'bad', index: first, what: 'the head of a journal segment' };
      next = segments[i + 1] ?? first;
      continue;
    }
    const file = await openSegment(disk, first, SCAN_BYTES);
    if (file === undefined) continue;
    try {
      const steps = scanGroups(file, first, head.bytes);
      let step = await steps.next();
      for (; step.done !== true; step = await steps.next()) {
        let index = step.value.group.firstIndex;
        for (const { leaf } of step.value.records) yield { kind: 'record', index: index++, leaf };
      }
      const { kind, index, offset } = step.value;
      const last = i === segments.length - 1;
      if (kind === 'torn' && last) yield { kind: 'torn', index, bytes: file.length - offset };
      else if (kind !== 'clean') yield { kind: 'bad', index, what: 'the journal' };
      next = kind === 'clean' || last ? index : segments[i + 1]!;
    } finally {
      await file.close();
    }
  }
}
