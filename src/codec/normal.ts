import { type Column, ColumnWriter, rowStart } from '../base/column.ts';
import type { CompiledDomain } from './domain.ts';
import { FAULT, hasReplacement, type Sorted, Sorter } from './format/format.ts';
import { readRadix, writeRadix } from './format/radix.ts';
import { readMembers, writeMembers } from './format/ranked.ts';

export interface NormalForms extends Sorted {
  /** The good rows' normal forms, in order. */
  readonly column: Column;
}

/** Reads values and writes their normal forms: separators dropped, case and spelling folded as
 *  the format says. Equal normal forms are one value. Idempotent. */
export function normalForms(domain: CompiledDomain, values: Column): NormalForms {
  const { format } = domain;
  if (format.family === 'opaque') return opaqueForms(domain, values);
  if (format.family === 'radix') {
    const read = readRadix(format, format.value, values, true);
    const column = writeRadix(format, format.value, read.rows, undefined);
    return { column, good: read.good, faults: read.faults };
  }
  const read = readMembers(format, values);
  const column = writeMembers(format, format.valid, read.ranks, read.shapes, undefined);
  return { column, good: read.good, faults: read.faults };
}

function opaqueForms(domain: CompiledDomain, values: Column): NormalForms {
  const { format } = domain;
  if (format.family !== 'opaque') throw new TypeError('not an opaque format');
  const { bytes, ends } = values;
  const rows = ends.length;
  const sorter = new Sorter(rows);
  const out = new ColumnWriter(rows, rows === 0 ? 0 : ends[rows - 1]!);
  // One search of the whole column, so that undamaged batches pay once.
  const damaged = hasReplacement(bytes, 0, rows === 0 ? 0 : ends[rows - 1]!);
  for (let row = 0; row < rows; row++) {
    const start = rowStart(values, row);
    const end = ends[row]!;
    const fault =
      end === start
        ? FAULT.empty
        : end - start > format.bytesMax
          ? FAULT.tooLong
          : damaged && hasReplacement(bytes, start, end)
            ? FAULT.malformed
            : format.judge(bytes, start, end);
    if (fault !== FAULT.none) sorter.fail(row, fault);
    else {
      format.normalise(out, bytes, start, end);
      out.endRow();
    }
  }
  return { column: out.finish(), ...sorter.finish() };
}
