/** What a bench says about one thing, in the shape that `--json` prints. */
export interface Figure {
  readonly id: string;
  readonly value: number;
  readonly unit: string;
  /** Undefined where the figure is only reported. */
  readonly goal: number | null;
  readonly higherIsBetter: boolean;
  /** What the value was made of, in the same run. */
  readonly parts: Parts;
  /** Of a goal missed, or where one was asked for. */
  readonly profile?: readonly ThreadProfile[];
}

export type Parts = Readonly<Record<string, number | string | readonly number[]>>;

export interface Measured {
  readonly value: number;
  readonly parts: Parts;
}

/** Self time of one thread of the server, by function. */
export interface ThreadProfile {
  readonly thread: string;
  /** Of the time sampled, how much the thread was not idle; 0 to 1. */
  readonly busy: number;
  /** The longest first; shares are of the busy time. */
  readonly functions: readonly {
    readonly name: string;
    readonly place: string;
    readonly share: number;
  }[];
}

/** A figure before it is measured. */
export interface FigureSpec<Bench> {
  readonly id: string;
  /** One line for `--help`. */
  readonly what: string;
  readonly unit: string;
  readonly goal: number | null;
  readonly higherIsBetter: boolean;
  /** Too long to be part of a run that names no figures. */
  readonly byNameAlone?: boolean;
  measure(bench: Bench): Promise<Measured>;
  /** Runs what the figure measures on a server under the profiler. */
  profile?(bench: Bench): Promise<readonly ThreadProfile[]>;
}

export function isMissed({ value, goal, higherIsBetter }: Figure): boolean {
  if (goal === null) return false;
  return Number.isNaN(value) || (higherIsBetter ? value < goal : value > goal);
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const half = sorted.length >> 1;
  if (sorted.length === 0) return Number.NaN;
  return sorted.length % 2 === 1 ? sorted[half]! : (sorted[half - 1]! + sorted[half]!) / 2;
}

/** To so many significant digits, for people and for JSON. */
export const rounded = (value: number, digits = 3): number => Number(value.toPrecision(digits));
