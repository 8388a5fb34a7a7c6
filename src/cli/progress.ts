import { Presets, SingleBar } from 'cli-progress';
import type { Io } from './frame.ts';

export interface Progress {
  /** Items done so far, and bytes read of those expected. */
  at(items: number, bytes: number): void;
  stop(): void;
}

const APPEARS_AFTER_MS = 1_000;
const REDRAWS_PER_S = 5;

/** A bar on stderr, on a terminal only and not in the first second. `bytesTotal` is undefined for
 *  a pipe: then the count alone is shown. */
export function openProgress(io: Io, bytesTotal: number | undefined): Progress {
  if (!io.stderrIsTerminal) return { at() {}, stop() {} };
  const known = bytesTotal !== undefined && bytesTotal > 0;
  const bar = new SingleBar(
    {
      stream: io.stderr as NodeJS.WriteStream,
      format: known ? ' {bar} {percentage} % | {items} items | {eta} s left' : ' {items} items',
      fps: REDRAWS_PER_S,
      clearOnComplete: true,
      hideCursor: true,
    },
    Presets.shades_classic,
  );
  const startMs = performance.now();
  let shown = false;
  return {
    at(items, bytes) {
      if (!shown) {
        if (performance.now() - startMs < APPEARS_AFTER_MS) return;
        shown = true;
        bar.start(known ? bytesTotal : 1, 0, { items: 0 });
      }
      bar.update(known ? Math.min(bytes, bytesTotal) : 0, { items });
    },
    stop() {
      if (shown) bar.stop();
    },
  };
}
