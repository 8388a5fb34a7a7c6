/** Time as the engine sees it, so that tests can hold it still. */
export interface Clock {
  /** Milliseconds since 1970, UTC; may jump. */
  nowMs(): number;
}

export const systemClock: Clock = { nowMs: () => Date.now() };
