import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { expect, test } from 'vitest';

const CHILD = join(import.meta.dirname, 'backup-memory.ts');

interface Measured {
  readonly rows: number;
  readonly bytes: number;
  /** MiB. */
  readonly before: number;
  readonly most: number;
}

/** A fresh process for each: what one leaves behind would be the other's. */
function measure(rows: number): Measured {
  const output = execFileSync(process.execPath, [CHILD, String(rows)], { encoding: 'utf8' });
  return JSON.parse(output) as Measured;
}

test('memory is flat: a backup of 160 MiB takes no more than one of 20', () => {
  for (const rows of [5_000, 40_000]) {
    const measured = measure(rows);
    expect(measured.rows).toBe(rows);
    expect(measured.bytes).toBeGreaterThan(rows * 4_096);
    // Two heaps with what waits to be collected in them; a fraction of the larger file.
    expect(measured.most - measured.before).toBeLessThan(128);
  }
}, 120_000);
