import { type Io, Refusal, write } from './frame.ts';

export interface StepTime {
  readonly title: string;
  readonly seconds: number;
}

const WIDTH_MIN = 80;
const WIDTH_MAX = 100;

/** What the demo says, step by step: a numbered title, its time, and a few lines below. Quiet, it
 *  only takes the times. */
export class Script {
  /** Columns of the terminal, 80 to 100; 100 where the output is none. */
  readonly width: number;
  readonly steps: StepTime[] = [];
  readonly #io: Io;
  readonly #quiet: boolean;
  readonly #signal: AbortSignal;
  #lines: string[] = [];

  constructor(io: Io, signal: AbortSignal, quiet: boolean) {
    const columns = 'columns' in io.stdout ? Number(io.stdout.columns) : WIDTH_MAX;
    this.width = Math.min(WIDTH_MAX, Math.max(WIDTH_MIN, columns || WIDTH_MAX));
    this.#io = io;
    this.#signal = signal;
    this.#quiet = quiet;
  }

  /** Runs one step. The title shows while it runs, its time and lines when it is over. */
  async step<T>(title: string, work: () => Promise<T>): Promise<T> {
    this.#signal.throwIfAborted();
    const head = `${String(this.steps.length + 1).padStart(2)}. ${title} `;
    await this.print(head);
    const startMs = performance.now();
    try {
      const done = await work();
      const seconds = (performance.now() - startMs) / 1_000;
      this.steps.push({ title, seconds });
      const time = ` ${seconds.toFixed(1)} s`;
      await this.print(`${time.padStart(this.width - head.length, '.')}\n`);
      return done;
    } catch (cause) {
      await this.print('failed\n');
      throw cause;
    } finally {
      const lines = this.#lines.splice(0);
      await this.print(lines.map((line) => (line === '' ? '\n' : `    ${line}\n`)).join(''));
    }
  }

  /** One line below the step that runs. */
  say(line: string): void {
    this.#lines.push(line);
  }

  /** Rows in columns of these widths; what is longer ends in `…`. */
  table(widths: readonly number[], rows: readonly (readonly string[])[]): void {
    for (const row of rows) {
      this.say(
        row
          .map((cell, i) => clip(cell, widths[i] ?? cell.length))
          .join('  ')
          .trimEnd(),
      );
    }
  }

  async print(text: string): Promise<void> {
    if (!this.#quiet) await write(this.#io.stdout, text);
  }

  /** What does not hold fails the demo. `what` never quotes a value. */
  expect(holds: boolean, what: string): void {
    if (!holds) throw new Refusal(`step ${this.steps.length + 1}: ${what}`);
  }
}

/** Characters, not UTF-16 units; none of the demo's is wider than one column. */
function clip(cell: string, width: number): string {
  const chars = [...cell];
  if (chars.length > width) return `${chars.slice(0, width - 1).join('')}…`;
  return cell + ' '.repeat(width - chars.length);
}

export const grouped = (count: number): string => Math.round(count).toLocaleString('en-US');
