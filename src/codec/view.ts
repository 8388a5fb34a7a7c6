import { type Column, ColumnWriter, rowStart } from '../base/column.ts';
import type { View } from '../base/domain.ts';
import type { CompiledDomain } from './domain.ts';
import { fixedStars } from './format/masks.ts';
import { normalForms } from './normal.ts';

/** Values as a view shows them, row for row; an empty row stays empty. `masked`: what the format
 *  lets through (last four of an SSN or phone, initials, the year), stars for the rest; a value
 *  outside the format is eight stars. `redacted`: always `[redacted]`. */
export function applyView(domain: CompiledDomain, values: Column, view: View): Column {
  if (view === 'plain') return values;
  const rows = values.ends.length;
  const out = new ColumnWriter(rows, values.bytes.length + rows);
  const faults = view === 'masked' ? normalForms(domain, values).faults : null;
  for (let row = 0; row < rows; row++) {
    const start = rowStart(values, row);
    const end = values.ends[row]!;
    if (end > start) {
      if (view === 'redacted') out.append(REDACTED);
      else if ((faults?.[row] ?? 0) !== 0) fixedStars(out);
      else domain.format.mask(out, values.bytes, start, end);
    }
    out.endRow();
  }
  return out.finish();
}

const REDACTED = Buffer.from('[redacted]');
